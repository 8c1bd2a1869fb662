/** Chance from a seed: the same seed makes the same choices. */

export interface Chance {
  /** An integer from 0 to `count - 1`. */
  below(count: number): number;
  /** True in that share of cases. */
  happens(share: number): boolean;
  pick<T>(list: readonly T[]): T;
}

export function chanceOf(seed: number): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  return {
    below: (count) => Math.floor(next() * count),
    happens: (share) => next() < share,
    pick: (list) => list[Math.floor(next() * list.length)]!,
  };
}
