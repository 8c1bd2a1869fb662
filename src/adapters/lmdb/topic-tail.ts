/**
 * The newest messages of one topic: durable, and not yet in the index on disk.
 *
 * @hot
 */
import type { Position } from '#ports';
import type { LmdbInstanceLog } from './instance-log.ts';
import type { Place } from './record.ts';

export class TopicTail {
  readonly log: LmdbInstanceLog;
  readonly topic: string;
  readonly bytes: Buffer;
  /** Position and place by turns, ascending. */
  entries: number[] = [];
  /** In the list of topics to apply. */
  listed = false;
  /** The newest position that went from here to the index; not known before the first one. */
  #indexedTo: Position = Number.POSITIVE_INFINITY;
  /** Messages issued and not yet settled: it must not be forgotten meanwhile. */
  pendingCount = 0;

  constructor(log: LmdbInstanceLog, topic: string) {
    this.log = log;
    this.topic = topic;
    this.bytes = Buffer.from(topic);
  }

  push(position: Position, place: Place): void {
    this.entries.push(position, place);
  }

  /** How many numbers of `entries` belong to messages up to `position`. */
  lengthUpTo(position: Position): number {
    const { entries } = this;
    let low = 0;
    let high = entries.length >> 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (entries[middle * 2]! <= position) low = middle + 1;
      else high = middle;
    }
    return low * 2;
  }

  /** True where what follows `position` can only be here. */
  covers(position: Position): boolean {
    if (position >= this.#indexedTo) return true;
    return this.entries.length > 0 && this.entries[0]! <= position;
  }

  /** Forgets the first `length` numbers: they are on disk. */
  drop(length: number): void {
    if (length > 0) this.#indexedTo = this.entries[length - 2]!;
    this.entries = length === this.entries.length ? [] : this.entries.slice(length);
  }
}
