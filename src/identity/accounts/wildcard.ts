/**
 * Patterns in which `*` stands for any text, slashes too, against one text or against the many
 * that an MQTT filter stands for.
 *
 * A filter is read as units: characters as they are, `+` (anything without a slash) and, for its
 * `#`, a tail (anything at all).
 */

const STAR = 42;
const SLASH = 47;
/** Negative: no character has these codes. */
const PLUS = -1;
const TAIL = -2;

/** Whether the pattern stands for `text`. */
export function matches(pattern: string, text: string): boolean {
  let at = 0;
  let textAt = 0;
  let starAt = -1;
  let starTextAt = 0;
  while (textAt < text.length) {
    const unit = at < pattern.length ? pattern.charCodeAt(at) : undefined;
    if (unit === STAR) {
      starAt = at++;
      starTextAt = textAt;
    } else if (unit === text.charCodeAt(textAt)) {
      at++;
      textAt++;
    } else if (starAt >= 0) {
      at = starAt + 1; // the latest star takes one more character
      textAt = ++starTextAt;
    } else return false;
  }
  while (pattern.charCodeAt(at) === STAR) at++;
  return at === pattern.length;
}

/** A set of texts: characters, `+` and a tail, in order. */
export type Units = readonly number[];

/**
 * The topics of a filter: two sets where it ends in `/#`, since `a/#` stands for `a` as well as
 * for what is below it.
 */
export function unitsOfFilter(filter: string): readonly Units[] {
  if (filter === '#') return [[TAIL]];
  if (!filter.endsWith('/#')) return [topicUnits(filter)];
  const parent = topicUnits(filter.slice(0, -2));
  return [parent, [...parent, SLASH, TAIL]];
}

function topicUnits(filter: string): number[] {
  const units: number[] = [];
  for (let i = 0; i < filter.length; i++) {
    units.push(filter[i] === '+' ? PLUS : filter.charCodeAt(i));
  }
  return units;
}

/** Whether the pattern stands for every text of the set. Exact but for patterns side by side. */
export function covers(pattern: string, units: Units): boolean {
  // Only a star of the pattern takes `+` or a tail, so this is `matches` over units.
  let reach = new Uint8Array(units.length + 1);
  reach[0] = 1;
  for (let at = 0; at < pattern.length; at++) {
    const unit = pattern.charCodeAt(at);
    const next = new Uint8Array(units.length + 1);
    let some = false;
    for (let i = 0; i <= units.length; i++) {
      const taken = unit === STAR ? reach[i] === 1 || (i > 0 && next[i - 1] === 1) : false;
      if (taken || (unit !== STAR && i > 0 && reach[i - 1] === 1 && units[i - 1] === unit)) {
        next[i] = 1;
        some = true;
      }
    }
    if (!some) return false;
    reach = next;
  }
  return reach[units.length] === 1;
}

/** Whether the pattern and the set have a text in common. */
export function overlaps(pattern: string, units: Units): boolean {
  let reach = new Uint8Array(units.length + 1);
  reach[0] = 1;
  emptyOut(reach, units);
  for (let at = 0; at < pattern.length; at++) {
    const unit = pattern.charCodeAt(at);
    const next = new Uint8Array(units.length + 1);
    let some = false;
    for (let i = 0; i <= units.length; i++) {
      if (steps(unit, i, reach, next, units)) {
        next[i] = 1;
        some = true;
      }
    }
    if (!some) return false;
    emptyOut(next, units);
    reach = next;
  }
  return reach[units.length] === 1;
}

/** Whether one more unit of the pattern can end where `i` units of the set were read. */
function steps(
  unit: number,
  i: number,
  reach: Uint8Array,
  next: Uint8Array,
  units: Units,
): boolean {
  if (unit === STAR) return reach[i] === 1 || (i > 0 && next[i - 1] === 1);
  if (i > 0 && reach[i - 1] === 1 && units[i - 1] === unit) return true;
  if (reach[i] !== 1 || i === 0) return false;
  // The set's wildcard before `i` takes this character too.
  const wildcard = units[i - 1];
  return wildcard === TAIL || (wildcard === PLUS && unit !== SLASH);
}

/** A wildcard may stand for nothing. */
function emptyOut(reach: Uint8Array, units: Units): void {
  for (let i = 0; i < units.length; i++) {
    if (reach[i] === 1 && units[i]! < 0) reach[i + 1] = 1;
  }
}
