/**
 * How fast an instance may go: token buckets that hold one second's worth.
 *
 * A message is let through while anything is left, even if it weighs more: the debt is paid
 * before the next one. So a bound of 1 a second slows heavy messages and stops none for ever.
 *
 * @hot
 */
import type { Clock } from '#base';
import type { Instance } from './instance.ts';

const MINUTE_SECONDS = 60;

/** What a message counts: its QoS, and whether it is kept for one who is away. */
export function messageWeight(qos: 0 | 1 | 2, cleanSession: boolean): 1 | 2 | 5 {
  if (qos === 0) return 1;
  return qos === 1 && cleanSession ? 2 : 5;
}

class Bucket {
  #left: number;
  #filledMs: number;

  constructor(perSecond: number, nowMs: number) {
    this.#left = perSecond;
    this.#filledMs = nowMs;
  }

  /** Pours in what the time since has earned; answers whether anything is there. */
  hasAny(perSecond: number, nowMs: number): boolean {
    if (perSecond === Number.POSITIVE_INFINITY) {
      // Whoever sets a bound later begins with a full bucket.
      this.#left = perSecond;
      this.#filledMs = nowMs;
      return true;
    }
    const earned = ((nowMs - this.#filledMs) * perSecond) / 1000;
    this.#left = Math.min(perSecond, this.#left + earned);
    this.#filledMs = nowMs;
    return perSecond > 0 && this.#left >= Math.min(1, perSecond);
  }

  /** Debt is bounded by a second's worth, so that it is paid within two. */
  spend(weight: number, perSecond: number): void {
    const floor = -Math.max(perSecond, weight);
    this.#left = Math.max(floor, this.#left - weight);
  }
}

/** Messages a second of one instance, weighed, both ways. */
export class MessageRate {
  /** Weight that was refused so far. */
  refused = 0;
  readonly #instance: Instance;
  readonly #clock: Clock;
  readonly #bucket: Bucket;
  readonly #seconds = new Float64Array(MINUTE_SECONDS);
  #second: number;

  constructor(instance: Instance, clock: Clock) {
    this.#instance = instance;
    this.#clock = clock;
    const nowMs = clock.monotonicMs();
    this.#bucket = new Bucket(instance.limits.messagesPerSecondMax, nowMs);
    this.#second = Math.floor(nowMs / 1000);
  }

  /** Whether a message of that weight may go now; if so, it has been counted. */
  take(weight: number): boolean {
    const perSecond = this.#instance.limits.messagesPerSecondMax;
    const nowMs = this.#clock.monotonicMs();
    if (!this.#bucket.hasAny(perSecond, nowMs)) {
      this.refused += weight;
      return false;
    }
    this.#count(weight, perSecond, nowMs);
    return true;
  }

  /** Counts a message that goes in any case; those after it wait for it. */
  charge(weight: number): void {
    const perSecond = this.#instance.limits.messagesPerSecondMax;
    const nowMs = this.#clock.monotonicMs();
    this.#bucket.hasAny(perSecond, nowMs);
    this.#count(weight, perSecond, nowMs);
  }

  /** The heaviest of the last 60 full seconds. */
  peakPerSecond(): number {
    this.#advance(this.#clock.monotonicMs());
    let peak = 0;
    for (let back = 1; back < MINUTE_SECONDS; back++) peak = Math.max(peak, this.#at(back));
    return peak;
  }

  /** The mean weight a second over the last minute. */
  averagePerSecond(): number {
    this.#advance(this.#clock.monotonicMs());
    let sum = 0;
    for (let back = 0; back < MINUTE_SECONDS; back++) sum += this.#at(back);
    return sum / MINUTE_SECONDS;
  }

  #count(weight: number, perSecond: number, nowMs: number): void {
    this.#bucket.spend(weight, perSecond);
    this.#advance(nowMs);
    this.#seconds[this.#second % MINUTE_SECONDS]! += weight;
  }

  #at(back: number): number {
    const slot = (this.#second - back) % MINUTE_SECONDS;
    return this.#seconds[slot < 0 ? slot + MINUTE_SECONDS : slot]!;
  }

  #advance(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    if (second === this.#second) return;
    if (second - this.#second >= MINUTE_SECONDS) this.#seconds.fill(0);
    else {
      for (let past = this.#second + 1; past <= second; past++) {
        this.#seconds[past % MINUTE_SECONDS] = 0;
      }
    }
    this.#second = second;
  }
}

/** New connections a second of one instance. */
export class ConnectRate {
  readonly #instance: Instance;
  readonly #clock: Clock;
  readonly #bucket: Bucket;

  constructor(instance: Instance, clock: Clock) {
    this.#instance = instance;
    this.#clock = clock;
    this.#bucket = new Bucket(instance.limits.connectsPerSecondMax, clock.monotonicMs());
  }

  /** Whether one more may connect now; if so, it has been counted. */
  take(): boolean {
    const perSecond = this.#instance.limits.connectsPerSecondMax;
    if (!this.#bucket.hasAny(perSecond, this.#clock.monotonicMs())) return false;
    this.#bucket.spend(1, perSecond);
    return true;
  }
}
