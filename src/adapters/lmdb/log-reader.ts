/**
 * Reads pages: by merging the entries of the wanted topics, or by walking along the journal.
 *
 * A topic costs a search in the index, a stretch of journal costs a look at every message in it:
 * the cheaper of both is taken. Where neither is cheap the journal is walked for a slice first,
 * and the index asked only if nothing was found there. Work per call is bounded; a page may come
 * back empty.
 */
import {
  type FilterSet,
  type LogEntry,
  type LogPage,
  type LogRead,
  NEVER,
  type Position,
} from '#ports';
import { CursorHeap } from '../cursor-heap.ts';
import { Page } from '../page.ts';
import type { LmdbInstanceLog, LogShared } from './instance-log.ts';
import { JournalReader } from './journal-reader.ts';
import { JournalScan, placeAfter } from './journal-scan.ts';
import { KIND_MESSAGE, offsetOf, segmentOf } from './record.ts';
import { Mark } from './retention.ts';
import { TopicCursor, topicsInIndex } from './topic-index.ts';

const BYTES_PER_TOPIC = 12 * 1024; // of journal are walked in the time a topic is searched
const RECORDS_PER_TOPIC = 48; // the same, in records
const TOPICS_LISTED_MAX = 512;
const TOPICS_FEW = 8; // are all looked for where they most likely are
const SEARCHES_MAX = 20_000;
const SEARCHES_FEW = 128; // take no longer than a slice
const POINTS_MAX = 256;
const RECORDS_PER_LOOK = 64; // at the clock

export async function readPage(log: LmdbInstanceLog, request: LogRead): Promise<LogPage> {
  // Whoever reads page after page from the cache must not keep the event loop from turning.
  await new Promise(setImmediate);
  const end = log.end();
  const { filters } = request;
  const page = new Page(request);
  const from = Math.max(request.after, log.floor(), filters.lowest);
  const next = from >= end ? end : await fill(log, filters, page, { from, end });
  const reached = Math.max(next, request.after);
  return { entries: page.entries, next: reached, complete: reached >= log.end() };
}

interface Stretch {
  readonly from: Position;
  readonly end: Position;
}

/** Answers up to where it looked. */
async function fill(
  log: LmdbInstanceLog,
  filters: FilterSet,
  page: Page,
  { from, end }: Stretch,
): Promise<Position> {
  let next = from;
  const spanMax = log.dense.get(filters);
  // Who asks for much mostly finds some of it nearby.
  if (spanMax !== undefined || filters.exact.size + filters.prefixes.length > SEARCHES_FEW) {
    next = await walk(log, filters, page, { from, end });
    if (!page.full || next - from > (spanMax ?? 0)) log.dense.delete(filters);
    if (page.entries.length > 0 || next >= end) return next;
    await new Promise(setImmediate);
  }
  const topics = await wantedTopics(log, filters, next);
  if (topics === undefined) {
    // The next page need not find out again, where that meant to list topics.
    if (filters.prefixes.length > 0) {
      log.dense.set(filters, TOPICS_LISTED_MAX * RECORDS_PER_TOPIC);
    }
    return walk(log, filters, page, { from: next, end });
  }
  const reached = await merge(log, topics, page, { from: next, end });
  const cost = topics.size * RECORDS_PER_TOPIC;
  if (page.full && reached - next <= cost) log.dense.set(filters, cost);
  return reached;
}

/** The topics to merge, each with the position it counts after; `undefined`: walk instead. */
async function wantedTopics(
  log: LmdbInstanceLog,
  filters: FilterSet,
  from: Position,
): Promise<ReadonlyMap<string, Position> | undefined> {
  const { segments, databases } = log.shared;
  const { exact, prefixes } = filters;
  const worth = distance(log, from) / BYTES_PER_TOPIC;
  if (exact.size + prefixes.length > Math.min(worth, SEARCHES_MAX)) return undefined;
  if (prefixes.length === 0 || segments.list.length === 0) return exact;
  const topics = new Map(exact);
  const countMax = Math.min(worth, TOPICS_LISTED_MAX);
  const slice = new Slice(log.shared);
  for (const prefix of prefixes) {
    const known = log.topicsInMemory(prefix);
    if (known.length > countMax) return undefined;
    const stored = topicsInIndex(databases.index, log.number, prefix, countMax);
    if (stored === undefined) return undefined;
    for (const topic of new Set([...known, ...stored])) {
      const after = filters.afterOf(topic);
      if (after !== NEVER) topics.set(topic, after);
      if (slice.isOver) await slice.giveWay();
    }
    if (topics.size - exact.size > countMax) return undefined;
    if (slice.isOver) await slice.giveWay();
  }
  return topics;
}

/** Work that gives way to others once it has had the loop for a slice of time. */
class Slice {
  readonly #shared: LogShared;
  #startMs: number;

  constructor(shared: LogShared) {
    this.#shared = shared;
    this.#startMs = shared.clock.monotonicMs();
  }

  get isOver(): boolean {
    const { clock, limits } = this.#shared;
    return clock.monotonicMs() - this.#startMs >= limits.sliceMs;
  }

  async giveWay(): Promise<void> {
    await new Promise(setImmediate);
    this.#startMs = this.#shared.clock.monotonicMs();
  }
}

/** Bytes of journal after `from`. */
function distance(log: LmdbInstanceLog, from: Position): number {
  const { segments, journal, limits } = log.shared;
  const start = placeAfter(segments, from);
  const { place } = journal.mark;
  const files = segmentOf(place) - segmentOf(start);
  return files * limits.segmentBytes + offsetOf(place) - offsetOf(start);
}

async function merge(
  log: LmdbInstanceLog,
  topics: ReadonlyMap<string, Position>,
  page: Page,
  { from, end }: Stretch,
): Promise<Position> {
  const { segments, cache, databases } = log.shared;
  const heap = new CursorHeap<TopicCursor>();
  const slice = new Slice(log.shared);
  const isNear = topics.size <= TOPICS_FEW;
  for (const [topic, after] of topics) {
    const cursor = new TopicCursor(log, databases.index, topic, Math.max(after, from), isNear);
    if (cursor.advance()) heap.add(cursor);
    if (slice.isOver) await slice.giveWay();
  }
  const reader = new JournalReader(segments, cache);
  while (!addCached(log, heap, reader, page, end)) await reader.load(false);
  const { top } = heap;
  return top === undefined || top.position > end ? end : page.next;
}

/** Adds what is in the cache, oldest first; false: the record on top must be loaded first. */
function addCached(
  log: LmdbInstanceLog,
  heap: CursorHeap<TopicCursor>,
  reader: JournalReader,
  page: Page,
  end: Position,
): boolean {
  for (let top = heap.top; top !== undefined; top = heap.top) {
    if (page.full || top.position > end) return true;
    const found = reader.record(top.place);
    if (!found && !reader.gone) return false;
    if (found && top.position > log.floor()) page.add(reader.message(top.topic), reader.size);
    page.next = top.position;
    heap.advanceTop();
  }
  return true;
}

async function walk(
  log: LmdbInstanceLog,
  filters: FilterSet,
  page: Page,
  range: Stretch,
): Promise<Position> {
  const { segments, cache } = log.shared;
  const slice = new Slice(log.shared);
  const reader = new JournalReader(segments, cache);
  const start = log.points.get(range.from) ?? placeAfter(segments, range.from);
  const scan = new JournalScan(segments, reader, start);
  const judged = new Map<string, Position>();
  let next = range.from;
  let judges = false; // which may take a while
  for (let looked = 1; ; looked++) {
    const late = (judges || looked % RECORDS_PER_LOOK === 0) && slice.isOver;
    judges = false;
    if (page.full || late) {
      keepPoint(log, next, scan);
      return next;
    }
    const step = scan.step();
    if (step === 'end') return Math.max(next, range.end);
    if (step === 'load') {
      await reader.load(true);
      continue;
    }
    const { view, start: at } = reader;
    const position = view.getFloat64(at + 8, true);
    if (position <= range.from) continue;
    if (position > range.end) return Math.max(next, range.end);
    next = position;
    if (view.getUint8(at + 4) !== KIND_MESSAGE) continue;
    if (view.getUint32(at + 16, true) !== log.number) continue;
    const { topic } = reader;
    let after = judged.get(topic);
    if (after === undefined) {
      after = filters.afterOf(topic);
      judged.set(topic, after);
      judges = true;
    }
    if (position <= after || position <= log.floor()) continue;
    page.add(reader.message(topic), reader.size);
  }
}

/** Remembers where a walk stopped: whoever reads on need not search the place. */
function keepPoint(log: LmdbInstanceLog, position: Position, scan: JournalScan): void {
  const { points } = log;
  points.delete(position);
  points.set(position, scan.point);
  if (points.size <= POINTS_MAX) return;
  const oldest = points.keys().next();
  if (oldest.done !== true) points.delete(oldest.value);
}

/** The messages at these positions [ML10]. */
export async function getMessages(
  log: LmdbInstanceLog,
  positions: readonly Position[],
): Promise<readonly (LogEntry | undefined)[]> {
  const { segments, cache } = log.shared;
  const found = new Map<Position, LogEntry>();
  const wanted = [...new Set(positions)].sort((a, b) => a - b);
  const reader = new JournalReader(segments, cache);
  let scan: JournalScan | undefined;
  let at: Position = 0;
  for (const position of wanted) {
    if (position <= log.floor() || position > log.end()) continue;
    const place = placeAfter(segments, position - 1);
    if (scan === undefined || place > scan.place) scan = new JournalScan(segments, reader, place);
    else if (at >= position) continue;
    while (at < position) {
      const step = scan.step();
      if (step === 'end') break;
      if (step === 'load') {
        await reader.load(false);
        continue;
      }
      const { view, start } = reader;
      if (view.getUint8(start + 4) !== KIND_MESSAGE) continue;
      at = view.getFloat64(start + 8, true);
      if (at !== position) continue;
      if (view.getUint32(start + 16, true) !== log.number) continue;
      found.set(position, reader.message(reader.topic));
    }
  }
  return positions.map((position) => (position > log.floor() ? found.get(position) : undefined));
}

/** One mark for each message of a coarse one. */
export async function readMarks(log: LmdbInstanceLog, coarse: Mark): Promise<readonly Mark[]> {
  const { segments, cache } = log.shared;
  const reader = new JournalReader(segments, cache);
  const scan = new JournalScan(segments, reader, placeAfter(segments, coarse.firstPosition - 1));
  const fine: Mark[] = [];
  for (;;) {
    const step = scan.step();
    if (step === 'end') return fine;
    if (step === 'load') {
      await reader.load(true);
      continue;
    }
    const { view, start } = reader;
    const position = view.getFloat64(start + 8, true);
    if (position > coarse.lastPosition) return fine;
    if (view.getUint8(start + 4) !== KIND_MESSAGE || position < coarse.firstPosition) continue;
    if (view.getUint32(start + 16, true) !== log.number) continue;
    const acceptedMs = view.getFloat64(start + 24, true);
    fine.push(new Mark(position, scan.place, reader.size, acceptedMs));
  }
}
