/**
 * The keys of a table in order, for scans by prefix.
 *
 * Keys are added unsorted and sorted only when somebody asks: tables are written far more often
 * than they are scanned. Removed keys stay until the next sort; whoever scans skips them.
 */
export class SortedKeys {
  #sorted: string[] = [];
  #added: string[] = [];
  #goneCount = 0;

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
      if (keys[middle]! < prefix) low = middle + 1;
      else high = middle;
    }
    const start = low;
    while (low < keys.length && keys[low]!.startsWith(prefix)) low++;
    return keys.slice(start, low);
  }

  #settle(isThere: (key: string) => boolean): void {
    if (this.#added.length === 0 && this.#goneCount * 2 <= this.#sorted.length) return;
    const added = this.#added.sort();
    const old = this.#sorted;
    const merged: string[] = [];
    let o = 0;
    let a = 0;
    let last: string | undefined;
    while (o < old.length || a < added.length) {
      const takeOld = a >= added.length || (o < old.length && old[o]! <= added[a]!);
      const key = takeOld ? old[o++]! : added[a++]!;
      if (key !== last && isThere(key)) merged.push(key);
      last = key;
    }
    this.#sorted = merged;
    this.#added = [];
    this.#goneCount = 0;
  }
}
