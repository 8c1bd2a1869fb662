/**
 * A clock that stands still until a test moves it.
 *
 * `advance` lets time pass as it does in an idle process: each action runs at its moment, in order.
 * `stall` lets it pass as in a process that is held up: nothing runs until the next `advance`,
 * and then an overdue period runs once, as the system's does.
 */
import type { Clock } from '#base';

interface Action {
  dueMs: number;
  /** `undefined`: once. */
  readonly periodMs: number | undefined;
  readonly run: () => void;
}

export class ManualClock implements Clock {
  readonly #actions = new Set<Action>();
  readonly #wallAheadMs: number;
  #nowMs: number;

  /** Begins at `startMs` of the wall clock; the other one begins elsewhere, as it may. */
  constructor(startMs = 1_700_000_000_000) {
    this.#nowMs = 5_000;
    this.#wallAheadMs = startMs - this.#nowMs;
  }

  nowMs(): number {
    return this.#nowMs + this.#wallAheadMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  every(periodMs: number, run: () => void): () => void {
    return this.#add({ dueMs: this.#nowMs + periodMs, periodMs, run });
  }

  after(delayMs: number, run: () => void): () => void {
    return this.#add({ dueMs: this.#nowMs + delayMs, periodMs: undefined, run });
  }

  /** Time passes, and what is due happens when it is due. */
  advance(durationMs: number): void {
    const endMs = this.#nowMs + durationMs;
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.dueMs > endMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      if (next.periodMs === undefined) this.#actions.delete(next);
      else next.dueMs = this.#nowMs + next.periodMs;
      next.run();
    }
    this.#nowMs = endMs;
  }

  /** Time passes, and nothing happens. */
  stall(durationMs: number): void {
    this.#nowMs += durationMs;
  }

  /** How many actions are waiting: 0 once everybody has stopped theirs. */
  get waitingCount(): number {
    return this.#actions.size;
  }

  #add(action: Action): () => void {
    this.#actions.add(action);
    return () => void this.#actions.delete(action);
  }

  #next(): Action | undefined {
    let next: Action | undefined;
    for (const action of this.#actions) {
      if (next === undefined || action.dueMs < next.dueMs) next = action;
    }
    return next;
  }
}
