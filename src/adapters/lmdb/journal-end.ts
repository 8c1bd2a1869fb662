/**
 * The end of the journal: the place of the next batch, and whether what lies there is known.
 *
 * It is not known after a write that failed, which may have landed all the same, whole or in
 * part; nor at start. Then an empty batch takes that number at that very place, before anything
 * else is written there or in the next segment: recovery believes the first batch that has the
 * number it expects, so what was refused must not stay the first.
 *
 * @hot
 */
import { write } from 'node:fs';
import { assert } from '#base';
import type { Position } from '#ports';
import { Batch } from './batch.ts';
import type { BlockCache } from './block-cache.ts';
import type { LmdbLimits } from './limits.ts';
import { type Place, placeOf } from './record.ts';
import type { Segment, Segments } from './segments.ts';

export interface JournalEndOptions {
  readonly segments: Segments;
  readonly cache: BlockCache;
  readonly limits: LmdbLimits;
  readonly salt: number;
}

/** Told once: `undefined` when the batch is on the disk, else why it cannot be said to be. */
export type Written = (error: unknown) => void;

export class JournalEnd {
  /** What lies at the place is not known: only `clear` may write. */
  doubtful = true;
  readonly #options: JournalEndOptions;
  readonly #empty = new Batch();
  #segment!: Segment;
  #offset = 0;
  #number = 0;
  #batch: Batch = this.#empty;
  #position: Position = 0;
  #bytes = 0;
  #told: Written = () => {};

  constructor(options: JournalEndOptions) {
    this.#options = options;
  }

  /** Goes on where the batches of `segment` end. */
  resume(segment: Segment, number: number): void {
    this.#segment = segment;
    this.#offset = segment.end;
    this.#number = number;
  }

  get place(): Place {
    return placeOf(this.#segment.number, this.#offset);
  }

  /** The next batch's number. */
  get number(): number {
    return this.#number;
  }

  /** Puts `batch` behind the others; `position` is the newest one given out before it. */
  write(batch: Batch, position: Position, told: Written): void {
    assert(!this.doubtful, 'a place in doubt is cleared first');
    this.#take(batch, position, told);
    const { segments, limits } = this.#options;
    if (this.#offset === 0 || this.#offset + batch.length <= limits.segmentBytes) {
      this.#start();
      return;
    }
    segments.next(this.#segment.number).then((segment) => {
      this.#segment = segment;
      this.#offset = 0;
      this.#start();
    }, told);
  }

  /** Voids what may lie at the place, however full the segment is. */
  clear(position: Position, told: Written): void {
    this.#take(this.#empty, position, told);
    this.#start();
  }

  /** Keeps prepared space ahead. */
  prepare(): void {
    this.#options.segments.prepare(this.#segment, this.#offset);
  }

  #take(batch: Batch, position: Position, told: Written): void {
    this.#batch = batch;
    this.#position = position;
    this.#told = told;
  }

  readonly #start = (): void => {
    const { segments, salt } = this.#options;
    const batch = this.#batch;
    const waiting = segments.claim(this.#segment, this.#offset + batch.length);
    if (waiting !== undefined) {
      waiting.then(this.#start, this.#start);
      return;
    }
    batch.seal({
      salt,
      segment: this.#segment.number,
      offset: this.#offset,
      number: this.#number,
      position: this.#position,
    });
    this.doubtful = true;
    this.#bytes = 0;
    write(this.#segment.fd, batch.buffer, 0, batch.length, this.#offset, this.#done);
  };

  readonly #done = (error: Error | null, bytes: number): void => {
    const batch = this.#batch;
    if (error !== null) {
      this.#told(error);
      return;
    }
    this.#bytes += bytes;
    if (this.#bytes < batch.length) {
      const from = this.#bytes;
      const { fd } = this.#segment;
      write(fd, batch.buffer, from, batch.length - from, this.#offset + from, this.#done);
      return;
    }
    const { segments, cache } = this.#options;
    segments.mark(this.#segment, this.#position, this.#offset);
    this.#offset += batch.length;
    this.#segment.end = this.#offset;
    this.#number++;
    this.doubtful = false;
    cache.keep(batch.segment, batch.offset, batch.buffer, batch.length);
    this.#told(undefined);
  };
}
