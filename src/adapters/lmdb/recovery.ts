/**
 * Opening a journal: what LMDB says, then what the journal holds behind that.
 *
 * The last batch may be torn; nobody was told of it, so it is dropped without a word. A broken
 * batch with good ones behind it cannot come from a crash: that is damage, and is said.
 *
 * A batch is written only once the one before it is on the disk. So the last whole one alone may
 * be known to the kernel and not to the disk: it is written once more before anything builds on
 * it. What lies behind it is the journal's to void.
 */
import { readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { Fault } from '#base';
import type { Position } from '#ports';
import type { Databases } from './database.ts';
import type { LmdbInstanceLog } from './instance-log.ts';
import type { JournalMark } from './journal.ts';
import {
  ALIGNMENT,
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  KIND_INSTANCE,
  KIND_MESSAGE,
  KIND_TABLE,
  messageBytes,
  messageTopic,
  offsetOf,
  parseName,
  parseRow,
  placeOf,
  segmentOf,
} from './record.ts';
import { Mark } from './retention.ts';
import type { Segment, Segments } from './segments.ts';
import type { LmdbStore } from './tables.ts';

export interface Recovery {
  readonly databases: Databases;
  readonly segments: Segments;
  readonly journalDirectory: string;
  readonly salt: number;
  readonly store: LmdbStore;
  readonly instance: (id: string, number: number) => LmdbInstanceLog;
  readonly byNumber: (number: number) => LmdbInstanceLog;
  /** Called between batches while a lot is replayed, so that it can be applied. */
  readonly relieve: (mark: JournalMark) => Promise<void>;
}

/** Answers where the journal goes on. */
export async function recover(options: Recovery): Promise<JournalMark> {
  const known = readMeta(options);
  const numbers = readdirSync(options.journalDirectory)
    .map((name) => /^(\d{8,})\.seg$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
  for (const number of numbers) await openKnown(options, known, number);
  requireAll(options, known);
  const replay = new Replay(options, known.mark);
  const { list } = options.segments;
  const from = segmentOf(known.mark.place);
  for (const segment of list.slice()) {
    if (segment.number >= from && !replay.ended) await replay.segment(segment);
    else if (segment.number > from) await replay.expectNothing(segment);
  }
  await replay.makeDurable();
  const current = segmentOf(replay.mark.place);
  for (const segment of list.slice()) {
    if (segment.number > current) await options.segments.remove(segment);
  }
  const segment = options.segments.find(current) ?? (await options.segments.next(current - 1));
  segment.end = offsetOf(replay.mark.place);
  return replay.mark;
}

interface Known {
  readonly mark: JournalMark;
  readonly segments: Map<number, KnownSegment>;
}

interface KnownSegment {
  readonly end: number;
  readonly marks: number[];
  readonly newest: [number, Position][];
}

function readMeta(options: Recovery): Known {
  let mark: JournalMark = { place: placeOf(1, 0), batch: 1, position: 0 };
  const segments = new Map<number, KnownSegment>();
  for (const { key, value } of options.databases.meta.getRange({})) {
    const [kind, digits] = key.toString().split('/');
    const number = Number(digits);
    const state: unknown = JSON.parse(value.toString());
    if (kind === 'mark') {
      mark = state as JournalMark;
    } else if (kind === 'instance') {
      const { id, floor, end } = state as { id: string; floor: Position; end: Position };
      options.instance(id, number).restore(floor, end);
    } else if (kind === 'table') {
      options.store.restore((state as { name: string }).name, number, true);
    } else if (kind === 'segment') {
      segments.set(number, state as KnownSegment);
    }
  }
  for (const { key, value } of options.databases.marks.getRange({})) {
    const log = options.byNumber(key.readUInt32BE(0));
    const numbers = (index: number): number => value.readDoubleLE(index * 8);
    const one = new Mark(numbers(0), numbers(1), numbers(6), numbers(3));
    one.lastPosition = numbers(2);
    one.lastMs = numbers(4);
    one.count = numbers(5);
    log.retention.restore(one);
  }
  return { mark, segments };
}

async function openKnown(options: Recovery, known: Known, number: number): Promise<void> {
  const path = options.segments.path(number);
  const { size } = statSync(path);
  const segment = await options.segments.open(number, size);
  const state = known.segments.get(number);
  if (state !== undefined) {
    segment.end = state.end;
    segment.marks = state.marks;
    for (const [instance, newest] of state.newest) segment.newest.set(instance, newest);
  } else if (number < segmentOf(known.mark.place)) {
    // Applied, and nothing noted: it was about to be removed.
    options.segments.list.push(segment);
    await options.segments.remove(segment);
    return;
  }
  options.segments.list.push(segment);
}

/** What LMDB knows of and has not given up must be there, as long as it was. */
function requireAll(options: Recovery, known: Known): void {
  const from = segmentOf(known.mark.place);
  const numbers = known.mark.batch > 1 ? [...known.segments.keys(), from] : known.segments.keys();
  for (const number of numbers) {
    if (options.segments.find(number) !== undefined) continue;
    throw new Fault('storeUnavailable', `${options.segments.path(number)} is missing`);
  }
  const segment = options.segments.find(from);
  if (segment !== undefined) segment.end = Math.max(segment.end, offsetOf(known.mark.place));
  for (const { path, end, prepared } of options.segments.list) {
    if (end <= prepared) continue;
    const detail = `${path} is damaged: it ends at byte ${prepared} and had ${end}`;
    throw new Fault('storeUnavailable', detail);
  }
}

const RELIEVE_RECORDS = 100_000;

/** A batch where it lies. */
interface Found {
  readonly segment: Segment;
  readonly offset: number;
  readonly length: number;
}

class Replay {
  mark: JournalMark;
  ended = false;
  #last: { readonly found: Found; readonly bytes: Buffer } | undefined = undefined;
  readonly #options: Recovery;
  #records = 0;

  constructor(options: Recovery, mark: JournalMark) {
    this.#options = options;
    this.mark = mark;
  }

  /** Takes over the batches of one segment, from the mark on. */
  async segment(segment: Segment): Promise<void> {
    const bytes = await readFile(segment.path);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const inMark = segment.number === segmentOf(this.mark.place);
    let offset = inMark ? offsetOf(this.mark.place) : 0;
    for (;;) {
      const length = this.#batchLength(bytes, view, offset, segment.number);
      if (length === 0) break;
      if (view.getFloat64(offset + 16, true) !== this.mark.batch) break;
      await this.#relieve();
      const found = { segment, offset, length };
      this.#batch(bytes, view, found);
      this.#last = { found, bytes };
      offset += length;
      segment.end = offset;
    }
    if (this.#hasBatchBehind(bytes, view, offset, segment.number)) throw damaged(segment, offset);
    // The segment is full where the next one goes on; that one is asked next.
    if (offset === 0) this.ended = true;
  }

  /** Applies a lot of batches, once the next one shows that all of them are on the disk. */
  async #relieve(): Promise<void> {
    if (this.#records < RELIEVE_RECORDS) return;
    this.#records = 0;
    await this.#options.relieve(this.mark);
  }

  /** Writes the last batch once more. */
  async makeDurable(): Promise<void> {
    if (this.#last === undefined) return;
    const { segment, offset, length } = this.#last.found;
    const bytes = this.#last.bytes.subarray(offset, offset + length);
    await this.#options.segments.rewrite(segment, offset, bytes);
  }

  /** Behind the end of the journal there may be prepared space, and nothing else. */
  async expectNothing(segment: Segment): Promise<void> {
    const bytes = await readFile(segment.path);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.#hasBatchBehind(bytes, view, 0, segment.number)) throw damaged(segment, 0);
  }

  #batch(bytes: Buffer, view: DataView, found: Found): void {
    const { segment, offset, length } = found;
    const { store, instance, byNumber, segments } = this.#options;
    let position = view.getFloat64(offset + 24, true);
    segments.mark(segment, position, offset);
    const end = offset + length;
    for (let start = offset + BATCH_HEADER_BYTES; start < end; ) {
      const kind = view.getUint8(start + 4);
      position = view.getFloat64(start + 8, true);
      if (kind === KIND_MESSAGE) {
        const log = byNumber(view.getUint32(start + 16, true));
        const topic = messageTopic(bytes, view, start);
        const place = placeOf(segment.number, start);
        const acceptedMs = view.getFloat64(start + 24, true);
        log.replay(topic, position, place, messageBytes(view, start), acceptedMs);
        segment.newest.set(log.number, position);
        segment.changed = true;
      } else if (kind === KIND_INSTANCE) {
        const { number, name } = parseName(bytes, view, start);
        instance(name, number).named = true;
      } else if (kind === KIND_TABLE) {
        const { number, name } = parseName(bytes, view, start);
        store.restore(name, number, true);
      } else {
        const row = parseRow(bytes, view, start);
        store.byNumber(row.table).replay(row.key, row.value, row.version);
      }
      start += view.getUint32(start, true);
      this.#records++;
    }
    this.mark = {
      place: placeOf(segment.number, end),
      batch: this.mark.batch + 1,
      position: Math.max(position, this.mark.position),
    };
  }

  /** The length of the whole batch at `offset`, or 0 where there is none. */
  #batchLength(bytes: Buffer, view: DataView, offset: number, segment: number): number {
    if (offset + BATCH_HEADER_BYTES > bytes.length) return 0;
    if (view.getUint32(offset, true) !== BATCH_MAGIC) return 0;
    if (view.getUint32(offset + 12, true) !== segment) return 0;
    const length = view.getUint32(offset + 4, true);
    if (length < BATCH_HEADER_BYTES || offset + length > bytes.length) return 0;
    const found = crc32(bytes.subarray(offset + 12, offset + length), this.#options.salt);
    return found === view.getUint32(offset + 8, true) ? length : 0;
  }

  /** A whole batch from later than where the journal breaks off. */
  #hasBatchBehind(bytes: Buffer, view: DataView, from: number, segment: number): boolean {
    const last = bytes.length - BATCH_HEADER_BYTES;
    for (let offset = from; offset <= last; offset += ALIGNMENT) {
      if (view.getUint32(offset, true) !== BATCH_MAGIC) continue;
      if (this.#batchLength(bytes, view, offset, segment) === 0) continue;
      if (view.getFloat64(offset + 16, true) > this.mark.batch) return true;
    }
    return false;
  }
}

function damaged(segment: Segment, offset: number): Fault {
  const where = `${segment.path} is damaged at byte ${offset}`;
  return new Fault('storeUnavailable', `${where}: good batches follow a broken one`);
}
