/**
 * What reading found among the retained messages, piece by piece, until the next write: many who
 * come back at once ask for the same.
 */
import type { RetainedPiece } from './retained.ts';

const BYTES_MAX = 16 * 1024 * 1024;
/** What a message costs in memory beside its bytes. */
const MESSAGE_BYTES = 640;
/** What was found without looking at more rows than this is found again as fast. */
const WORTH_ROWS_MIN = 50;

export class RetainedSnapshots {
  readonly #pieces = new Map<string, RetainedPiece>();
  #bytes = 0;

  /** A retained message changes: nothing found so far is to be given out again. */
  changed(): void {
    if (this.#pieces.size === 0) return;
    this.#pieces.clear();
    this.#bytes = 0;
  }

  get(key: string): RetainedPiece | undefined {
    return this.#pieces.get(key);
  }

  /** Remembers what is current now; `lookedAt`: how many rows it took to find it. */
  add(key: string, piece: RetainedPiece, lookedAt: number): void {
    if (lookedAt < WORTH_ROWS_MIN || this.#pieces.has(key)) return;
    const bytes = key.length + piece.bytes + piece.rows.length * MESSAGE_BYTES;
    if (this.#bytes + bytes > BYTES_MAX) return;
    this.#bytes += bytes;
    this.#pieces.set(key, piece);
  }
}
