/**
 * Two bounds on newcomers: how many sockets are held at once, and how many may connect a second.
 *
 * Over the first a socket is closed unheard. The second the broker asks when it has read a CONNECT,
 * so that it can answer with a reason (0x9F, connection rate exceeded).
 */
import type { Clock } from '#base';

/** Sockets held at once, shared by all listeners of a process. */
export class SocketLimit {
  readonly countMax: number;
  #count = 0;

  constructor(countMax: number) {
    this.countMax = countMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Claims a place; false where all are taken. */
  take(): boolean {
    if (this.#count >= this.countMax) return false;
    this.#count++;
    return true;
  }

  give(): void {
    this.#count--;
  }
}

/** A token bucket for CONNECTs. */
export class ConnectRate {
  readonly perSecond: number;
  readonly burst: number;
  readonly #clock: Clock;
  #tokens: number;
  #filledMs: number;

  constructor(options: {
    readonly clock: Clock;
    readonly perSecond?: number;
    readonly burst?: number;
  }) {
    this.perSecond = options.perSecond ?? 10_000;
    this.burst = options.burst ?? 2_000;
    this.#clock = options.clock;
    this.#tokens = this.burst;
    this.#filledMs = options.clock.monotonicMs();
  }

  /** May one more connect now? */
  admit(): boolean {
    const nowMs = this.#clock.monotonicMs();
    const earned = ((nowMs - this.#filledMs) * this.perSecond) / 1_000;
    this.#tokens = Math.min(this.burst, this.#tokens + earned);
    this.#filledMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
