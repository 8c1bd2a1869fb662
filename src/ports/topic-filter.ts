/**
 * What a topic filter means, for everyone who has to match one (MQTT 5.0 section 4.7).
 *
 * Part of the ports because a `MessageLog` reads by filter and must match exactly as the
 * router does. Filters reach these functions validated.
 */

/**
 * True where `filter` matches `topic`.
 *
 * `a/#` also matches `a`; a filter that begins with a wildcard does not match a topic that
 * begins with `$` [MQTT-4.7.2-1]; nothing is normalised [MQTT-4.7.3-4].
 */
export function matchesFilter(filter: string, topic: string): boolean {
  const first = filter.charCodeAt(0);
  if (topic.charCodeAt(0) === DOLLAR && (first === HASH || first === PLUS)) return false;
  let f = 0;
  let t = 0;
  while (f < filter.length) {
    const code = filter.charCodeAt(f);
    if (code === HASH) return true;
    if (code === PLUS) {
      while (t < topic.length && topic.charCodeAt(t) !== SLASH) t++;
      f++;
    } else {
      while (f < filter.length && filter.charCodeAt(f) !== SLASH) {
        if (t >= topic.length || topic.charCodeAt(t) !== filter.charCodeAt(f)) return false;
        f++;
        t++;
      }
      if (t < topic.length && topic.charCodeAt(t) !== SLASH) return false;
    }
    // Both stand at a level's end: `/` or the end of the text.
    if (f === filter.length) return t === topic.length;
    if (t === topic.length) return filter.length === f + 2 && filter.charCodeAt(f + 1) === HASH;
    f++;
    t++;
  }
  return t === topic.length; // the filter's last level is empty
}

/** True where `filter` holds a wildcard. */
export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}

/** The text every matching topic begins with: all levels before the first wildcard. */
export function literalPrefix(filter: string): string {
  const plus = filter.indexOf('+');
  const hash = filter.indexOf('#');
  if (plus < 0 && hash < 0) return filter;
  if (hash >= 0 && (plus < 0 || hash < plus)) return filter.slice(0, Math.max(0, hash - 1));
  return filter.slice(0, plus);
}

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;
const DOLLAR = 0x24;
