/**
 * What every part of a running workload shares: the plan, the clock all processes agree on, one
 * read buffer for all sockets, and the first failure, which ends the run.
 */
import { type Clock, Fault } from '#base';
import type { LoadPlan, Share } from './plan.ts';

/** Large reads are few reads; one buffer serves every socket because nothing of it is kept. */
const READ_BYTES = 256 * 1024;

export class LoadContext {
  readonly plan: LoadPlan;
  readonly share: Share;
  readonly clock: Clock;
  readonly readBuffer: Buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  /** Rejects with the first failure; every wait of a workload races against it. */
  readonly failed: Promise<never>;
  /** Closed connections are failures until the workload itself ends. */
  closing = false;
  refused = 0;
  redelivered = 0;
  readonly #offsetMs: number;
  readonly #reject: (error: Error) => void;

  constructor(plan: LoadPlan, share: Share, clock: Clock) {
    this.plan = plan;
    this.share = share;
    this.clock = clock;
    this.#offsetMs = clock.nowMs() - clock.monotonicMs();
    const { promise, reject } = Promise.withResolvers<never>();
    this.failed = promise;
    this.#reject = reject;
    promise.catch(() => undefined); // nobody may be waiting when it happens
  }

  /**
   * Milliseconds that never run backwards. Processes agree on them to a millisecond or two, which
   * does for phases; latencies are measured within one process.
   */
  nowMs(): number {
    return this.clock.monotonicMs() + this.#offsetMs;
  }

  fail(text: string): void {
    this.#reject(new Fault('serverUnavailable', text));
  }

  /** `promise`, unless something fails first. */
  race<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.failed]);
  }

  pause(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.clock.after(delayMs, resolve);
    return this.race(promise);
  }

  /** Waits until `isDone`; fails when `progress` has not moved for the plan's stall time. */
  async until(what: string, isDone: () => boolean, progress: () => number): Promise<void> {
    let last = progress();
    let sinceMs = this.nowMs();
    while (!isDone()) {
      await this.pause(5);
      const current = progress();
      if (current !== last) {
        last = current;
        sinceMs = this.nowMs();
      } else if (this.nowMs() - sinceMs > this.plan.stallMs) {
        throw new Fault('serverUnavailable', `${what} stalled at ${current}`);
      }
    }
  }
}
