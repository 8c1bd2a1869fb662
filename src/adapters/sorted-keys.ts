/**
 * The keys of a table in the order of their bytes, for scans by prefix [ST6].
 *
 * Keys are added unsorted and sorted only when somebody asks: tables are written far more often
 * than they are scanned. Removed keys stay until the next sort; whoever scans skips them.
 */
export class SortedKeys {
  #sorted: string[] = [];
  #added: string[] = [];
  #goneCount = 0;
  /** How the language compares texts, while no key is known that it would misplace. */
  #before: (one: string, other: string) => boolean = lessByUnits;

  add(key: string): void {
    this.#added.push(key);
  }

  /** Says that one key is gone; `isThere` of a later `from` decides which. */
  remove(): void {
    this.#goneCount++;
  }

  clear(): void {
    this.#sorted = [];
    this.#added = [];
    this.#goneCount = 0;
  }

  /** All keys that begin with `prefix`, ascending; keys no longer there may be among them. */
  withPrefix(prefix: string, isThere: (key: string) => boolean): string[] {
    this.#settle(isThere);
    const keys = this.#sorted;
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#before(keys[middle]!, prefix)) low = middle + 1;
      else high = middle;
    }
    const start = low;
    while (low < keys.length && keys[low]!.startsWith(prefix)) low++;
    return keys.slice(start, low);
  }

  #settle(isThere: (key: string) => boolean): void {
    if (this.#added.length === 0 && this.#goneCount * 2 <= this.#sorted.length) return;
    if (this.#before === lessByUnits && this.#added.some(holdsSurrogates))
      this.#before = lessByBytes;
    const before = this.#before;
    const added = before === lessByUnits ? this.#added.sort() : this.#added.sort(compareBytes);
    const old = this.#sorted;
    const merged: string[] = [];
    let o = 0;
    let a = 0;
    let last: string | undefined;
    while (o < old.length || a < added.length) {
      const takeOld = a >= added.length || (o < old.length && !before(added[a]!, old[o]!));
      const key = takeOld ? old[o++]! : added[a++]!;
      if (key !== last && isThere(key)) merged.push(key);
      last = key;
    }
    this.#sorted = merged;
    this.#added = [];
    this.#goneCount = 0;
  }
}

/** Texts by the bytes of their UTF-8: code points beyond 16 bits come last. */
export function compareBytes(one: string, other: string): number {
  const size = Math.min(one.length, other.length);
  for (let i = 0; i < size; i++) {
    const a = one.charCodeAt(i);
    const b = other.charCodeAt(i);
    if (a === b) continue;
    const high = isSurrogate(a);
    if (high === isSurrogate(b)) return a - b;
    return high ? 1 : -1;
  }
  return one.length - other.length;
}

function lessByBytes(one: string, other: string): boolean {
  return compareBytes(one, other) < 0;
}

function lessByUnits(one: string, other: string): boolean {
  return one < other;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

function holdsSurrogates(key: string): boolean {
  return SURROGATES.test(key);
}

const SURROGATES = /[\ud800-\udfff]/;
