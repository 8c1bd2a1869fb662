/**
 * Who may read retained messages now: a few at a time, each a piece, in the order they asked. What
 * they do in one go ends with a slice of time, so that everybody else has theirs.
 */
import type { Clock } from '#base';

/** Reads one piece and goes on by itself; it never rejects. */
export interface RetainedReader {
  readPiece(): Promise<void>;
}

const SLICE_MS = 2;

export class RetainedReads {
  readonly #clock: Clock;
  readonly #countMax: number;
  readonly #waiting = new Set<RetainedReader>();
  #running = 0;
  #scheduled = false;
  #untilMs = 0;

  constructor(clock: Clock, countMax: number) {
    this.#clock = clock;
    this.#countMax = countMax;
  }

  /** `reader` is asked for its next piece when its turn has come. */
  want(reader: RetainedReader): void {
    this.#waiting.add(reader);
    this.#schedule();
  }

  forget(reader: RetainedReader): void {
    this.#waiting.delete(reader);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#untilMs = this.#clock.monotonicMs() + SLICE_MS;
      this.#go();
    });
  }

  #go(): void {
    for (const reader of this.#waiting) {
      if (this.#running >= this.#countMax) return;
      if (this.#clock.monotonicMs() > this.#untilMs) {
        this.#schedule();
        return;
      }
      this.#waiting.delete(reader);
      this.#running++;
      void reader.readPiece().finally(() => {
        this.#running--;
        this.#go();
      });
    }
  }
}
