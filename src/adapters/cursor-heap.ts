/**
 * Merges many ascending lists of positions into one: a binary heap of cursors, the one that
 * stands lowest on top.
 *
 * @hot
 */
import type { Position } from '#ports';

/** A place in an ascending list. */
export interface Cursor {
  /** Where it stands. */
  readonly position: Position;
  /** Moves to the next position; false where there is none. */
  advance(): boolean;
}

export class CursorHeap<C extends Cursor> {
  readonly #cursors: C[] = [];

  get top(): C | undefined {
    return this.#cursors[0];
  }

  add(cursor: C): void {
    const cursors = this.#cursors;
    let index = cursors.push(cursor) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (cursors[parent]!.position <= cursor.position) break;
      cursors[index] = cursors[parent]!;
      index = parent;
    }
    cursors[index] = cursor;
  }

  /** Moves the top cursor on, or drops it at its end, and restores the order. */
  advanceTop(): void {
    const cursors = this.#cursors;
    if (cursors[0]!.advance()) {
      this.#sink(cursors[0]!);
      return;
    }
    const last = cursors.pop()!;
    if (cursors.length > 0) this.#sink(last);
  }

  #sink(cursor: C): void {
    const cursors = this.#cursors;
    const half = cursors.length >> 1;
    let index = 0;
    while (index < half) {
      let child = index * 2 + 1;
      const right = child + 1;
      if (right < cursors.length && cursors[right]!.position < cursors[child]!.position) {
        child = right;
      }
      if (cursors[child]!.position >= cursor.position) break;
      cursors[index] = cursors[child]!;
      index = child;
    }
    cursors[index] = cursor;
  }
}
