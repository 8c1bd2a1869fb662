/**
 * How a topic filter must be written (MQTT 5.0 sections 4.7 and 4.8.2); what it matches is told
 * elsewhere.
 */

/** A shared subscription's two halves. */
export interface Share {
  readonly group: string;
  readonly filter: string;
}

/** True where the filter is not empty and its wildcards stand where they may. */
export function isValidFilter(filter: string): boolean {
  if (filter === '') return false; // [MQTT-4.7.3-1]
  const last = filter.length - 1;
  for (let i = 0; i <= last; i++) {
    const code = filter.charCodeAt(i);
    if (code !== PLUS && code !== HASH) continue;
    if (i > 0 && filter.charCodeAt(i - 1) !== SLASH) return false;
    // [MQTT-4.7.1-1] `#` is the last character; [MQTT-4.7.1-2] `+` fills its level.
    if (i < last && (code === HASH || filter.charCodeAt(i + 1) !== SLASH)) return false;
  }
  return true;
}

/** Splits `$share/group/filter`; `undefined`: not shared, `'invalid'`: badly written. */
export function parseShare(filter: string): Share | undefined | 'invalid' {
  if (!filter.startsWith(SHARE)) return undefined;
  const slash = filter.indexOf('/', SHARE.length);
  if (slash <= SHARE.length) return 'invalid'; // [MQTT-4.8.2-1]
  const group = filter.slice(SHARE.length, slash);
  if (group.includes('+') || group.includes('#')) return 'invalid'; // [MQTT-4.8.2-2]
  const inner = filter.slice(slash + 1);
  return isValidFilter(inner) ? { group, filter: inner } : 'invalid';
}

const SHARE = '$share/';
const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;
