/**
 * The write side of the journal: what every call of a turn waits for.
 *
 * One batch is on its way to the disk while calls fill the next; when the write is done, the
 * next goes out at once, before the callers of the first are told. Nothing ever waits on
 * purpose. A batch that fails takes along what was issued behind it, since that may build on it;
 * the next good batch overwrites its place, so no trace remains.
 */
import { write } from 'node:fs';
import type { Clock, Fault, Log } from '#base';
import type { Appended, Position, Settled } from '#ports';
import { Batch } from './batch.ts';
import type { BlockCache } from './block-cache.ts';
import { diskFault } from './faults.ts';
import type { LmdbLimits } from './limits.ts';
import { BATCH_HEADER_BYTES, messageBytes, type Place, placeOf, segmentOf } from './record.ts';
import type { Segment, Segments } from './segments.ts';
import { OverlayRow } from './tables.ts';
import { TopicTail } from './topic-tail.ts';

/** Where the journal stands: what lies before is durable. */
export interface JournalMark {
  readonly place: Place;
  /** The next batch's number. */
  readonly batch: number;
  /** The newest position given out. */
  readonly position: Position;
}

/** How long a call that nobody waits for may wait for company. */
const UNAWAITED_MS = 50;

export interface JournalOptions {
  readonly segments: Segments;
  readonly cache: BlockCache;
  readonly limits: LmdbLimits;
  readonly clock: Clock;
  readonly log: Log;
  readonly salt: number;
  /** Why nothing may be taken now although the journal could. */
  readonly obstacle: () => Fault | undefined;
  /** Told after each commit. */
  readonly committed: (calls: number, bytes: number) => void;
  /** A batch failed: names written with it are unknown again. */
  readonly lost: () => void;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #stock: Batch[] = [];
  #filling = new Batch();
  #writing: Batch | undefined = undefined;
  #written = 0;
  #scheduled = false;
  /** Somebody waits for what is being filled. */
  #awaited = false;
  #timed = false;
  #segment!: Segment;
  #offset = 0;
  #batchNumber = 0;
  #position: Position = 0;
  #durablePosition: Position = 0;
  #filledFrom: Position = 0;
  #broken: Fault | undefined = undefined;
  #retryAtMs = 0;
  #stopProbe: (() => void) | undefined = undefined;
  #idle: (() => void)[] = [];
  #closed = false;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** Where it goes on, as far as recovery knows. */
  resume(mark: JournalMark): void {
    this.#segment = this.#options.segments.find(segmentOf(mark.place))!;
    this.#offset = this.#segment.end;
    this.#batchNumber = mark.batch;
    this.#position = mark.position;
    this.#durablePosition = mark.position;
    this.#filledFrom = mark.position;
  }

  /** The batch that calls of this turn go into; it is handed over when the turn ends. */
  open(): Batch {
    this.#awaited = true;
    if (!this.#scheduled && this.#writing === undefined) {
      this.#scheduled = true;
      setImmediate(this.#handOver);
    }
    return this.#filling;
  }

  /** The same for a call that nobody waits for: it may share the commit of one that is. */
  openUnawaited(): Batch {
    if (!this.#awaited && this.#writing === undefined) this.#handOverSoon();
    return this.#filling;
  }

  #handOverSoon(): void {
    if (this.#timed) return;
    this.#timed = true;
    this.#options.clock.after(UNAWAITED_MS, () => {
      this.#timed = false;
      this.#handOver();
    });
  }

  nextPosition(): Position {
    return ++this.#position;
  }

  /** Everything before it is durable and admitted. */
  get mark(): JournalMark {
    return {
      place: placeOf(this.#segment.number, this.#segment.end),
      batch: this.#batchNumber,
      position: this.#durablePosition,
    };
  }

  get pendingBytes(): number {
    const writing = this.#writing === undefined ? 0 : this.#writing.length;
    return writing + this.#filling.length - BATCH_HEADER_BYTES;
  }

  /** Settles once nothing is under way. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      this.open();
    });
  }

  close(): void {
    this.#closed = true;
    this.#stopProbe?.();
  }

  readonly #handOver = (): void => {
    this.#scheduled = false;
    if (this.#writing !== undefined) return;
    if (this.#filling.count === 0 && this.#filling.length === BATCH_HEADER_BYTES) {
      this.#tellIdle();
      return;
    }
    const { clock } = this.#options;
    const obstacle = this.#options.obstacle();
    if (obstacle !== undefined) {
      this.#refuse(obstacle);
      return;
    }
    if (this.#broken !== undefined && clock.monotonicMs() < this.#retryAtMs) {
      this.#refuse(this.#broken);
      return;
    }
    this.#send();
  };

  /** Puts the filled batch on its way. */
  #send(): void {
    const batch = this.#filling;
    const position = this.#filledFrom;
    this.#awaited = false;
    this.#filling = this.#stock.pop() ?? new Batch();
    this.#filledFrom = this.#position;
    this.#writing = batch;
    const { segmentBytes } = this.#options.limits;
    if (this.#offset > 0 && this.#offset + batch.length > segmentBytes) {
      this.#options.segments.next(this.#segment.number).then(
        (segment) => {
          this.#segment = segment;
          this.#offset = 0;
          this.#write(batch, position);
        },
        (error: unknown) => this.#fail(error),
      );
      return;
    }
    this.#write(batch, position);
  }

  #write(batch: Batch, position: Position): void {
    const { segments, salt } = this.#options;
    const waiting = segments.claim(this.#segment, this.#offset + batch.length);
    if (waiting !== undefined) {
      const again = (): void => this.#write(batch, position);
      waiting.then(again, again);
      return;
    }
    batch.seal({
      salt,
      segment: this.#segment.number,
      offset: this.#offset,
      number: this.#batchNumber,
      position,
    });
    this.#written = 0;
    write(this.#segment.fd, batch.buffer, 0, batch.length, this.#offset, this.#done);
  }

  readonly #done = (error: Error | null, bytes: number): void => {
    const batch = this.#writing!;
    if (error !== null) {
      this.#fail(error);
      return;
    }
    this.#written += bytes;
    if (this.#written < batch.length) {
      const from = this.#written;
      const { fd } = this.#segment;
      write(fd, batch.buffer, from, batch.length - from, this.#offset + from, this.#done);
      return;
    }
    const position = this.#durablePosition;
    this.#options.segments.mark(this.#segment, position, batch.offset);
    this.#offset += batch.length;
    this.#segment.end = this.#offset;
    this.#durablePosition = this.#filledFrom;
    this.#batchNumber++;
    this.#writing = undefined;
    if (this.#broken !== undefined) this.#options.log.info('the disk takes writes again');
    this.#broken = undefined;
    this.#options.cache.keep(batch.segment, batch.offset, batch.buffer, batch.length);
    if (this.#awaited) this.#handOver();
    else if (this.#filling.count > 0) this.#handOverSoon();
    this.#admit(batch);
    this.#options.committed(batch.count, batch.length);
    this.#settle(batch);
    this.#options.segments.prepare(this.#segment, this.#offset);
    if (this.#writing === undefined && this.#filling.count === 0) this.#tellIdle();
  };

  /** Makes the batch visible to readers; nobody is told before all of it is. */
  #admit(batch: Batch): void {
    const { subjects, offsets, view } = batch;
    const base = placeOf(batch.segment, batch.offset);
    const segment = this.#options.segments.find(batch.segment)!;
    for (let i = 0; i < batch.count; i++) {
      const subject = subjects[i];
      if (subject instanceof TopicTail) {
        const start = offsets[i]!;
        const position = view.getFloat64(start + 8, true);
        subject.pendingCount--;
        const bytes = messageBytes(view, start);
        const acceptedMs = view.getFloat64(start + 24, true);
        subject.log.admit(subject, position, base + start, bytes, acceptedMs);
        segment.newest.set(subject.log.number, position);
        segment.changed = true;
      } else if (subject instanceof OverlayRow) {
        subject.table.admit(subject);
      }
    }
  }

  #settle(batch: Batch): void {
    const { subjects, listeners, offsets, view } = batch;
    for (let i = 0; i < batch.count; i++) {
      const subject = subjects[i];
      const listener = listeners[i];
      subjects[i] = undefined;
      listeners[i] = undefined;
      try {
        if (subject instanceof TopicTail) {
          (listener as Appended).appended(view.getFloat64(offsets[i]! + 8, true));
        } else {
          if (subject !== undefined) subject.table.tell(subject);
          if (listener !== undefined) (listener as Settled).settled(undefined);
        }
      } catch (error) {
        rethrowLater(error);
      }
    }
    this.#recycle(batch);
  }

  #fail(error: unknown): void {
    const { clock, limits, log } = this.#options;
    const fault = diskFault('the journal cannot be written', error);
    if (this.#broken === undefined) log.error('writes are refused', { cause: fault.message });
    this.#broken = fault;
    this.#retryAtMs = clock.monotonicMs() + limits.retryMs;
    this.#refuse(fault);
    this.#stopProbe?.();
    if (!this.#closed) this.#stopProbe = clock.after(limits.retryMs, this.#probe);
  }

  /** An empty batch: does the disk take writes again? It also overwrites what is left. */
  readonly #probe = (): void => {
    if (this.#broken !== undefined && this.#writing === undefined && !this.#closed) this.#send();
  };

  /** Refuses all that is under way: the batch being written and the calls behind it. */
  #refuse(fault: Fault): void {
    const first = this.#writing;
    const second = this.#filling;
    this.#writing = undefined;
    this.#awaited = false;
    this.#filling = this.#stock.pop() ?? new Batch();
    this.#filledFrom = this.#position;
    undo(second);
    if (first !== undefined) undo(first);
    this.#options.lost();
    if (first !== undefined) this.#tellRefused(first, fault);
    this.#tellRefused(second, fault);
    if (this.#filling.count === 0) this.#tellIdle();
  }

  #tellRefused(batch: Batch, fault: Fault): void {
    for (let i = 0; i < batch.count; i++) {
      const listener = batch.listeners[i];
      const subject = batch.subjects[i];
      batch.listeners[i] = undefined;
      batch.subjects[i] = undefined;
      try {
        if (subject instanceof TopicTail) (listener as Appended).refused(fault);
        else if (listener !== undefined) (listener as Settled).settled(fault);
      } catch (error) {
        rethrowLater(error);
      }
    }
    this.#recycle(batch);
  }

  #recycle(batch: Batch): void {
    batch.reset(this.#options.limits.batchBytesKept);
    if (this.#stock.length < 2) this.#stock.push(batch);
  }

  #tellIdle(): void {
    const idle = this.#idle;
    if (idle.length === 0) return;
    this.#idle = [];
    for (let i = 0; i < idle.length; i++) idle[i]!();
  }
}

function undo(batch: Batch): void {
  for (let i = batch.count - 1; i >= 0; i--) {
    const subject = batch.subjects[i];
    if (subject instanceof OverlayRow) subject.table.undo(subject);
    else if (subject instanceof TopicTail) subject.pendingCount--;
  }
}

/** One caller's bug must not take the others' answers away. */
function rethrowLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
