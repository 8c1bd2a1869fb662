/**
 * So many at a time, so many waiting, and nobody waits longer than it can use.
 *
 * Whoever was told `go` says `leave` when it is done; its place goes to the one who waits longest.
 */
import type { Clock } from '#base';

export interface DeadlineQueueOptions {
  readonly clock: Clock;
  readonly runningMax: number;
  readonly waitingMax: number;
}

/** `full`: there is no room to wait; `late`: the time was up before its turn came. */
export type Turn = 'go' | 'full' | 'late';

export class DeadlineQueue {
  readonly #options: DeadlineQueueOptions;
  /** In order of arrival. */
  readonly #waiting = new Set<() => void>();
  #runningCount = 0;

  constructor(options: DeadlineQueueOptions) {
    this.#options = options;
  }

  get runningCount(): number {
    return this.#runningCount;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  enter(waitMsMax: number): Promise<Turn> {
    const { clock, runningMax, waitingMax } = this.#options;
    if (this.#runningCount < runningMax) {
      this.#runningCount++;
      return Promise.resolve('go');
    }
    if (this.#waiting.size >= waitingMax) return Promise.resolve('full');
    return new Promise((resolve) => {
      const go = (): void => {
        stopTimer();
        resolve('go');
      };
      const stopTimer = clock.after(waitMsMax, () => {
        this.#waiting.delete(go);
        resolve('late');
      });
      this.#waiting.add(go);
    });
  }

  leave(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      next(); // it takes the place over, so the count stays
      return;
    }
    this.#runningCount--;
  }
}
