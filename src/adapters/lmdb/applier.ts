/**
 * Brings what the journal holds into LMDB, in the background: index chunks, rows, marks, and
 * last of all the place up to which that is true.
 *
 * Until LMDB has it on disk everything stays in memory too, so a failure loses nothing and is
 * tried again. All of it may be applied twice: after a crash the journal is replayed from the
 * last place noted.
 */
import { Fault } from '#base';
import { diskFault } from './faults.ts';
import { type Bytes, commitCause, markKey } from './database.ts';
import type { LmdbInstanceLog, LogShared } from './instance-log.ts';
import type { JournalMark } from './journal.ts';
import { sweepIndex } from './sweep.ts';
import { segmentOf } from './record.ts';
import type { Mark } from './retention.ts';
import type { Segment } from './segments.ts';
import { type LmdbStore, type OverlayRow, storeRow } from './tables.ts';
import { chunksOf } from './topic-index.ts';
import type { TopicTail } from './topic-tail.ts';

const LOOK_EVERY = 32; // operations between looks at the clock
const MARK_NUMBERS = 7;

export interface ApplierOptions {
  readonly shared: LogShared;
  readonly store: LmdbStore;
  readonly logs: () => Iterable<LmdbInstanceLog>;
}

/** What one round took over, to be released when it is on disk or put back. */
interface Round {
  readonly mark: JournalMark;
  readonly topics: readonly TopicTail[];
  readonly lengths: number[];
  readonly rows: readonly OverlayRow[];
  readonly marks: { readonly log: LmdbInstanceLog; changed: Mark[]; gone: Mark[] }[];
  readonly floors: Map<number, number>;
  readonly segments: Segment[];
}

export class Applier {
  readonly #options: ApplierOptions;
  #running: Promise<void> | undefined = undefined;
  #stopTimer: (() => void) | undefined = undefined;
  #callsSince = 0;
  #bytesSince = 0;
  #fault: Fault | undefined = undefined;
  #closed = false;
  #pending: Promise<unknown>[] = [];
  #sliceMs = 0;
  #operations = 0;

  constructor(options: ApplierOptions) {
    this.#options = options;
  }

  /** Why no more may be taken: memory for what is not applied is used up. */
  obstacle(): Fault | undefined {
    const { shared, store } = this.#options;
    const { limits } = shared;
    if (
      shared.tailEntries < limits.tailEntriesMax &&
      store.overlayRows < limits.overlayRowsMax &&
      store.overlayBytes < limits.overlayBytesMax
    ) {
      return undefined;
    }
    return this.#fault ?? new Fault('storeUnavailable', 'the store cannot keep up');
  }

  /** Something was committed: applies it now or soon. */
  committed(calls: number, bytes: number): void {
    this.#callsSince += calls;
    this.#bytesSince += bytes;
    const { limits, clock } = this.#options.shared;
    if (this.#callsSince >= limits.applyEntries || this.#bytesSince >= limits.applyBytes) {
      if (this.#fault === undefined) this.start();
    }
    if (this.#stopTimer !== undefined || this.#closed) return;
    const delayMs = this.#fault === undefined ? limits.applyDelayMs : limits.retryMs;
    this.#stopTimer = clock.after(delayMs, () => {
      this.#stopTimer = undefined;
      this.start();
    });
  }

  start(): void {
    if (this.#running === undefined && !this.#closed) void this.#begin();
  }

  #begin(): Promise<void> {
    const running = this.#run().finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  /** Applies everything durable; throws where LMDB refuses. */
  async finish(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    await this.#begin();
    if (this.#fault !== undefined) throw this.#fault;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopTimer?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    this.#callsSince = 0;
    this.#bytesSince = 0;
    const round = this.#take();
    try {
      await this.#write(round);
    } catch (error) {
      this.#putBack(round);
      const fault = diskFault('LMDB cannot be written', await commitCause(error));
      if (this.#fault === undefined) {
        this.#options.shared.log.error('the journal cannot be applied', { cause: fault.message });
      }
      this.#fault = fault;
      this.committed(0, 0);
      return;
    }
    this.#fault = undefined;
    try {
      await this.#release(round);
    } catch (error) {
      // Only files and chunks nobody needs are left over; the next round tries again.
      this.#options.shared.log.warn('cannot clean up', { cause: String(error) });
    }
  }

  #take(): Round {
    const { shared, store, logs } = this.#options;
    const { mark } = shared.journal;
    const topics = shared.dirtyTopics;
    const rows = store.dirty;
    shared.dirtyTopics = [];
    store.dirty = [];
    const lengths: number[] = [];
    for (const topic of topics) {
      topic.listed = false;
      lengths.push(topic.lengthUpTo(mark.position));
    }
    const marks: Round['marks'] = [];
    const floors = new Map<number, number>();
    for (const log of logs()) {
      const { changed, gone } = log.retention;
      log.retention.changed = [];
      log.retention.gone = [];
      for (const one of changed) one.listed = false;
      marks.push({ log, changed, gone });
      floors.set(log.number, log.floor());
    }
    const segments = shared.segments.list.filter((segment) => segment.changed);
    for (const segment of segments) segment.changed = false;
    return { mark, topics, lengths, rows, marks, floors, segments };
  }

  async #write(round: Round): Promise<void> {
    const { shared } = this.#options;
    const { databases } = shared;
    this.#sliceMs = shared.clock.monotonicMs();
    // Noted before the first await: what they say must not be newer than the mark.
    const meta = this.#metaOf(round);
    const marks = marksOf(round);
    for (let i = 0; i < round.topics.length; i++) {
      const topic = round.topics[i]!;
      const range = { length: round.lengths[i]!, floor: topic.log.floor() };
      for (const { key, value } of chunksOf(topic.bytes, topic.log.number, topic.entries, range)) {
        this.#put(databases.index, key, value);
        if (this.#shouldYield()) await this.#yield();
      }
    }
    for (const row of round.rows) {
      if (row.superseded) continue;
      const { key, value } = storeRow(row);
      this.#put(databases.rows, key, row.value === undefined ? undefined : value);
      if (this.#shouldYield()) await this.#yield();
    }
    await this.#settled();
    // In one turn, so in one transaction: replay would count messages twice whose marks are here
    // already. Everything above may be there twice.
    for (const { key, value } of marks) this.#put(databases.marks, key, value);
    for (const [key, value] of meta)
      this.#put(databases.meta, Buffer.from(key), Buffer.from(value));
    await this.#settled();
  }

  async #release(round: Round): Promise<void> {
    const { shared } = this.#options;
    shared.databases.renew();
    this.#sliceMs = shared.clock.monotonicMs();
    for (let i = 0; i < round.topics.length; i++) {
      const topic = round.topics[i]!;
      topic.log.release(topic, round.lengths[i]!);
      if (this.#shouldYield()) await this.#yield();
    }
    for (const row of round.rows) {
      row.table.release(row);
      if (this.#shouldYield()) await this.#yield();
    }
    await this.#removeSegments(round);
    for (const log of this.#options.logs()) {
      if (log.removedCount > Math.max(10_000, log.retention.count / 2)) {
        log.removedCount = 0;
        await sweepIndex(log);
      }
    }
  }

  #putBack(round: Round): void {
    const { shared, store } = this.#options;
    for (const topic of round.topics) {
      if (!topic.listed) {
        topic.listed = true;
        shared.dirtyTopics.push(topic);
      }
    }
    store.dirty = [...round.rows.filter((row) => !row.superseded), ...store.dirty];
    for (const { log, changed, gone } of round.marks) {
      log.retention.changed = [...changed, ...log.retention.changed];
      log.retention.gone = [...gone, ...log.retention.gone];
    }
    for (const segment of round.segments) segment.changed = true;
  }

  /** Journal files that nobody needs any more: applied, and every message below its floor. */
  async #removeSegments(round: Round): Promise<void> {
    const { shared } = this.#options;
    const applied = segmentOf(round.mark.place);
    const old = shared.segments.list.filter((segment) => segment.number < applied);
    for (const segment of old) {
      let needed = false;
      for (const [instance, newest] of segment.newest) {
        if (newest > (round.floors.get(instance) ?? 0)) needed = true;
      }
      if (needed) continue;
      const { meta } = shared.databases;
      await shared.databases.put(meta, Buffer.from(`segment/${segment.number}`), undefined);
      await shared.segments.remove(segment);
    }
  }

  #metaOf(round: Round): [string, string][] {
    const { store, logs } = this.#options;
    const meta: [string, string][] = [];
    for (const log of logs()) {
      const state = { id: log.id, floor: log.floor(), end: log.end() };
      meta.push([`instance/${log.number}`, JSON.stringify(state)]);
    }
    for (const table of store.tables()) {
      meta.push([`table/${table.number}`, JSON.stringify({ name: table.name })]);
    }
    for (const { number, end, marks, newest } of round.segments) {
      const state = { end, marks, newest: [...newest] };
      meta.push([`segment/${number}`, JSON.stringify(state)]);
    }
    meta.push(['mark', JSON.stringify(round.mark)]);
    return meta;
  }

  #put(database: Bytes, key: Buffer, value: Buffer | undefined): void {
    const done = this.#options.shared.databases.put(database, key, value);
    const { length } = this.#pending;
    if (length === 0 || this.#pending[length - 1] !== done) this.#pending.push(done);
  }

  async #settled(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    for (const one of pending) await one;
  }

  #shouldYield(): boolean {
    this.#operations++;
    if (this.#operations % LOOK_EVERY !== 0) return false;
    const { clock, limits } = this.#options.shared;
    return clock.monotonicMs() - this.#sliceMs > limits.sliceMs;
  }

  async #yield(): Promise<void> {
    await new Promise(setImmediate);
    this.#sliceMs = this.#options.shared.clock.monotonicMs();
  }
}

interface MarkWrite {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
}

function marksOf(round: Round): MarkWrite[] {
  const writes: MarkWrite[] = [];
  for (const { log, changed, gone } of round.marks) {
    for (const mark of gone) {
      writes.push({ key: markKey(log.number, mark.firstPosition), value: undefined });
    }
    for (const mark of changed) {
      if (mark.lastPosition <= log.floor()) continue;
      writes.push({ key: markKey(log.number, mark.firstPosition), value: packMark(mark) });
    }
  }
  return writes;
}

function packMark(mark: Mark): Buffer {
  const value = Buffer.allocUnsafe(MARK_NUMBERS * 8);
  value.writeDoubleLE(mark.firstPosition, 0);
  value.writeDoubleLE(mark.firstPlace, 8);
  value.writeDoubleLE(mark.lastPosition, 16);
  value.writeDoubleLE(mark.firstMs, 24);
  value.writeDoubleLE(mark.lastMs, 32);
  value.writeDoubleLE(mark.count, 40);
  value.writeDoubleLE(mark.bytes, 48);
  return value;
}
