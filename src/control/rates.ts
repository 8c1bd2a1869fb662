/**
 * How often somebody may call: a token bucket for each, a second's worth deep.
 *
 * A bucket that was left alone for a second is full, as a new one is: forgetting it costs nothing.
 */
import type { Clock } from '#base';
import { CONTROL_LIMITS, type ControlLimits } from './limits.ts';

interface Bucket {
  calls: number;
  filledMs: number;
}

export class Rates {
  /** In the order of use: the first was used longest ago. */
  readonly #buckets: Map<string, Bucket> = new Map();
  readonly #clock: Clock;
  readonly #countMax: number;

  constructor(clock: Clock, limits: Pick<ControlLimits, 'bucketCountMax'> = CONTROL_LIMITS) {
    this.#clock = clock;
    this.#countMax = limits.bucketCountMax;
  }

  /** How many are remembered. */
  get count(): number {
    return this.#buckets.size;
  }

  /** False where `key` has called too often. */
  take(key: string, callsPerSecondMax: number): boolean {
    const nowMs = this.#clock.monotonicMs();
    const bucket = this.#buckets.get(key) ?? { calls: callsPerSecondMax, filledMs: nowMs };
    const gained = ((nowMs - bucket.filledMs) / 1_000) * callsPerSecondMax;
    bucket.calls = Math.min(callsPerSecondMax, bucket.calls + gained);
    bucket.filledMs = nowMs;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    this.#forget(nowMs);
    if (bucket.calls < 1) return false;
    bucket.calls--;
    return true;
  }

  /** Whether `take` would answer true; takes nothing. */
  has(key: string, callsPerSecondMax: number): boolean {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return true;
    const gained = ((this.#clock.monotonicMs() - bucket.filledMs) / 1_000) * callsPerSecondMax;
    return bucket.calls + gained >= 1;
  }

  /** Forgets what is full again, a little at each call, and more where there are too many. */
  #forget(nowMs: number): void {
    let looked = 0;
    for (const [key, bucket] of this.#buckets) {
      const idle = nowMs - bucket.filledMs >= 1_000;
      if (this.#buckets.size <= this.#countMax && (!idle || looked++ === 2)) return;
      this.#buckets.delete(key);
    }
  }
}
