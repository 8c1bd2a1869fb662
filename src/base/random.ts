/** Chance, passed in: the system's in production, a seeded one in tests and simulations. */
import { randomBytes } from 'node:crypto';

export interface Random {
  /** A whole number from 0 to `limit - 1`. Not for secrets. */
  below(limit: number): number;
  /** `size` bytes fit for secrets and identifiers. */
  bytes(size: number): Uint8Array;
}

export const systemRandom: Random = {
  below: (limit) => Math.floor(Math.random() * limit),
  bytes: (size) => randomBytes(size),
};

/** The same numbers for the same seed (mulberry32); for tests and simulations only. */
export function createSeededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    below: (limit) => Math.floor(next() * limit),
    bytes: (size) => Uint8Array.from({ length: size }, () => Math.floor(next() * 256)),
  };
}
