/**
 * The write side of the journal: what every call of a turn waits for.
 *
 * One batch is on its way to the disk while calls fill the next; when the write is done, the
 * next goes out at once, before the callers of the first are told. Nothing ever waits on
 * purpose. A batch that fails takes along what was issued behind it, since that may build on it;
 * its place is voided before anything else is taken, so no trace remains.
 */
import type { Clock, Fault, Log } from '#base';
import type { Appended, Position, Settled } from '#ports';
import { Batch } from './batch.ts';
import type { BlockCache } from './block-cache.ts';
import { diskFault } from './faults.ts';
import type { LmdbLimits } from './limits.ts';
import { JournalEnd } from './journal-end.ts';
import { BATCH_HEADER_BYTES, messageBytes, type Place, placeOf, segmentOf } from './record.ts';
import type { Segments } from './segments.ts';
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
  readonly #end: JournalEnd;
  readonly #stock: Batch[] = [];
  #filling = new Batch();
  #writing: Batch | undefined = undefined;
  /** A place in doubt is being voided. */
  #mending = false;
  #scheduled = false;
  /** Somebody waits for what is being filled. */
  #awaited = false;
  #timed = false;
  #position: Position = 0;
  #durablePosition: Position = 0;
  #filledFrom: Position = 0;
  #broken: Fault | undefined = undefined;
  #retryAtMs = 0;
  #stopRetry: (() => void) | undefined = undefined;
  #idle: (() => void)[] = [];
  #closed = false;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#end = new JournalEnd(options);
  }

  /** Where it goes on, as far as recovery knows. */
  resume(mark: JournalMark): void {
    this.#end.resume(this.#options.segments.find(segmentOf(mark.place))!, mark.batch);
    this.#position = mark.position;
    this.#durablePosition = mark.position;
    this.#filledFrom = mark.position;
  }

  /** Makes sure of the place it goes on at; where the disk refuses that, calls are refused. */
  async begin(): Promise<void> {
    await this.idle();
    this.#end.prepare();
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
      place: this.#end.place,
      batch: this.#end.number,
      position: this.#durablePosition,
    };
  }

  get pendingBytes(): number {
    const writing = this.#writing === undefined ? 0 : this.#writing.length;
    return writing + this.#filling.length - BATCH_HEADER_BYTES;
  }

  /** Settles once nothing is under way; a place in doubt is given one more try. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      this.#mend();
      this.open();
    });
  }

  close(): void {
    this.#closed = true;
    this.#stopRetry?.();
  }

  readonly #handOver = (): void => {
    this.#scheduled = false;
    if (this.#writing !== undefined) return;
    if (this.#filling.count === 0 && this.#filling.length === BATCH_HEADER_BYTES) {
      this.#awaited = false;
      this.#tellIdle();
      return;
    }
    const obstacle = this.#obstacle();
    if (obstacle === undefined) this.#send();
    else this.#refuse(obstacle);
  };

  #obstacle(): Fault | undefined {
    const { clock, obstacle } = this.#options;
    if (this.#broken === undefined) return obstacle();
    const early = this.#end.doubtful || clock.monotonicMs() < this.#retryAtMs;
    return early ? this.#broken : obstacle();
  }

  /** Puts the filled batch on its way. */
  #send(): void {
    const batch = this.#filling;
    const position = this.#filledFrom;
    this.#awaited = false;
    this.#filling = this.#stock.pop() ?? new Batch();
    this.#filledFrom = this.#position;
    this.#writing = batch;
    this.#end.write(batch, position, this.#done);
  }

  readonly #done = (error: unknown): void => {
    const batch = this.#writing!;
    if (error !== undefined) {
      this.#fail(error);
      return;
    }
    this.#durablePosition = this.#filledFrom;
    this.#writing = undefined;
    if (this.#broken !== undefined) this.#options.log.info('the disk takes writes again');
    this.#broken = undefined;
    if (this.#awaited) this.#handOver();
    else if (this.#filling.count > 0) this.#handOverSoon();
    this.#admit(batch);
    this.#options.committed(batch.count, batch.length);
    this.#settle(batch);
    this.#end.prepare();
    this.#tellIdle();
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

  /** Whoever is told of a refusal can count on it: what may have landed is voided before. */
  #fail(error: unknown): void {
    const fault = this.#breakOff(error);
    if (this.#end.doubtful) this.#void(() => this.#refuse(fault));
    else this.#refuse(fault);
  }

  /** The disk is not asked again for a while. */
  #breakOff(error: unknown): Fault {
    const { clock, limits, log } = this.#options;
    const fault = diskFault('the journal cannot be written', error);
    if (this.#broken === undefined) log.error('writes are refused', { cause: fault.message });
    this.#broken = fault;
    this.#retryAtMs = clock.monotonicMs() + limits.retryMs;
    return fault;
  }

  /** Voids what could not be voided before; nothing is taken until that is done. */
  readonly #mend = (): void => {
    if (!this.#end.doubtful || this.#writing !== undefined || this.#mending) return;
    this.#void(() => this.#tellIdle());
  };

  #void(then: () => void): void {
    this.#mending = true;
    this.#stopRetry?.();
    const position = this.#filledFrom;
    this.#end.clear(position, (error) => {
      this.#mending = false;
      if (error === undefined) this.#durablePosition = position;
      else this.#mendLater(error);
      then();
    });
  }

  #mendLater(error: unknown): void {
    const { clock, limits } = this.#options;
    this.#breakOff(error);
    if (!this.#closed) this.#stopRetry = clock.after(limits.retryMs, this.#mend);
  }

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
    this.#tellIdle();
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
    if (idle.length === 0 || this.#mending) return;
    if (this.#writing !== undefined || this.#filling.count > 0) return;
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
