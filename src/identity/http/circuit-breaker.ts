/**
 * Keeps calls away from a service that is down: after so many failures in a row nobody calls for
 * a while, then one caller tries, and what it meets decides for all.
 */
import type { Clock } from '#base';

export interface CircuitBreakerOptions {
  readonly clock: Clock;
  /** Failures in a row that open it. */
  readonly failureCountMax: number;
  /** How long it stays open before somebody may try. */
  readonly openMs: number;
}

/** The right to make one call; its end must be told, once. */
export interface Passage {
  ended(succeeded: boolean): void;
}

export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  #failureCount = 0;
  /** On the monotonic clock; `undefined`: closed. */
  #openUntilMs: number | undefined = undefined;
  #trying = false;

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
  }

  /** True where `enter` would refuse. */
  get open(): boolean {
    if (this.#openUntilMs === undefined) return false;
    return this.#trying || this.#options.clock.monotonicMs() < this.#openUntilMs;
  }

  /** `undefined`: do not call. */
  enter(): Passage | undefined {
    if (this.open) return undefined;
    const trial = this.#openUntilMs !== undefined;
    this.#trying = trial;
    return { ended: (succeeded) => this.#ended(succeeded, trial) };
  }

  #ended(succeeded: boolean, trial: boolean): void {
    // A call from before it opened says nothing about now.
    if (!trial && this.#openUntilMs !== undefined) return;
    if (trial) this.#trying = false;
    if (succeeded) {
      this.#failureCount = 0;
      this.#openUntilMs = undefined;
      return;
    }
    this.#failureCount++;
    const { clock, failureCountMax, openMs } = this.#options;
    if (!trial && this.#failureCount < failureCountMax) return;
    this.#openUntilMs = clock.monotonicMs() + openMs;
  }
}
