/**
 * Walks the journal record by record, from a position to the newest durable one.
 */
import type { Position } from '#ports';
import type { JournalReader } from './journal-reader.ts';
import { BATCH_HEADER_BYTES, offsetOf, type Place, placeOf, segmentOf } from './record.ts';
import type { Segments } from './segments.ts';

/** A record of a batch, from which a scan can go on. */
export interface ScanPoint {
  readonly next: Place;
  readonly batchEnd: Place;
}

/** What a step came to. */
export type ScanStep = 'record' | 'load' | 'end';

export class JournalScan {
  /** Where the current record lies. */
  place: Place = 0;
  readonly #segments: Segments;
  readonly #reader: JournalReader;
  #next: Place;
  #batchEnd: Place;

  /** Starts at `place`, where a batch begins, or where another scan stood. */
  constructor(segments: Segments, reader: JournalReader, from: Place | ScanPoint) {
    this.#segments = segments;
    this.#reader = reader;
    this.#next = typeof from === 'number' ? from : from.next;
    this.#batchEnd = typeof from === 'number' ? from : from.batchEnd;
  }

  /** Where it stands: before the record that `step` moves to. */
  get point(): ScanPoint {
    return { next: this.#next, batchEnd: this.#batchEnd };
  }

  /** Moves to the next record, which is then at the reader's `start`. */
  step(): ScanStep {
    const reader = this.#reader;
    for (;;) {
      if (this.#next < this.#batchEnd) {
        if (!reader.record(this.#next)) return this.#missing();
        this.place = this.#next;
        this.#next += reader.view.getUint32(reader.start, true);
        return 'record';
      }
      const segment = this.#segments.find(segmentOf(this.#next));
      if (segment === undefined || offsetOf(this.#next) >= segment.end) {
        const following = this.#segments.after(segmentOf(this.#next));
        if (following === undefined || following.end === 0) return 'end';
        this.#next = placeOf(following.number, 0);
        this.#batchEnd = this.#next;
        continue;
      }
      if (!reader.ready(this.#next, BATCH_HEADER_BYTES)) return this.#missing();
      this.#batchEnd = this.#next + reader.view.getUint32(reader.start + 4, true);
      this.#next += BATCH_HEADER_BYTES;
    }
  }

  #missing(): ScanStep {
    if (!this.#reader.gone) return 'load';
    const following = this.#segments.after(segmentOf(this.#next));
    if (following === undefined) return 'end';
    this.#next = placeOf(following.number, 0);
    this.#batchEnd = this.#next;
    return this.step();
  }
}

/** The newest noted batch start that has everything after `position` behind it. */
export function placeAfter(segments: Segments, position: Position): Place {
  const { list } = segments;
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const first = list[middle]!.marks[0];
    if (first !== undefined && first <= position) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return placeOf(list[0]?.number ?? 1, 0);
  const segment = list[low - 1]!;
  const { marks } = segment;
  low = 0;
  high = marks.length >> 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (marks[middle * 2]! <= position) low = middle + 1;
    else high = middle;
  }
  return placeOf(segment.number, marks[low * 2 - 1]!);
}
