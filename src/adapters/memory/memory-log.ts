/**
 * `MessageLog` in memory: a list of entries in order, and one list per topic.
 *
 * Positions skip on purpose: nobody may count on neighbours. Only the front of a list is ever
 * removed, so a list is an array with a head that moves.
 */
import type { Clock, Fault } from '#base';
import {
  type Appended,
  type FilterSet,
  type InstanceLog,
  type LogEntry,
  type LogMessage,
  type LogPage,
  type LogRead,
  type LogRetention,
  type MessageLog,
  NEVER,
  type Position,
} from '#ports';
import { CursorHeap } from '../cursor-heap.ts';
import { Page } from '../page.ts';
import { type Effect, type MemoryTurn, nextTurn } from './memory-turn.ts';

const LOOKED_AT_MAX = 10_000; // entries a wildcard read looks at before it hands back its page
const ENTRY_OVERHEAD_BYTES = 160; // what an entry costs beside its bytes, roughly

/** The messages of all instances; `enforceAge` is called now and then. */
export class MemoryMessageLog implements MessageLog {
  readonly #logs = new Map<string, MemoryInstanceLog>();
  readonly #turn: MemoryTurn;
  readonly #clock: Clock;

  constructor(turn: MemoryTurn, clock: Clock) {
    this.#turn = turn;
    this.#clock = clock;
  }

  instance(id: string): InstanceLog {
    let log = this.#logs.get(id);
    if (log === undefined) {
      log = new MemoryInstanceLog(this.#turn, this.#clock);
      this.#logs.set(id, log);
    }
    return log;
  }

  enforceAge(): void {
    for (const log of this.#logs.values()) log.enforce();
  }
}

class MemoryEntry implements Effect {
  readonly message: LogEntry;
  readonly bytes: number;
  readonly #log: MemoryInstanceLog;
  #listener: Appended | undefined;

  constructor(log: MemoryInstanceLog, position: Position, message: LogMessage, listener: Appended) {
    this.#log = log;
    this.message = entryOf(position, message);
    const { payload, properties } = this.message;
    this.bytes = payload.length + properties.length + textBytes(message.topic);
    this.#listener = listener;
  }

  get position(): Position {
    return this.message.position;
  }

  admit(): void {
    this.#log.admit(this);
  }

  undo(): void {}

  settle(fault: Fault | undefined): void {
    const listener = this.#listener!;
    this.#listener = undefined;
    if (fault === undefined) listener.appended(this.position);
    else listener.refused(fault);
  }

  read(): LogEntry {
    return entryOf(this.position, this.message);
  }
}

/** The message with its bytes copied [ML13]. */
function entryOf(position: Position, message: LogMessage): LogEntry {
  const payload = message.payload.subarray(message.payloadStart, message.payloadEnd);
  const properties = message.properties.subarray(message.propertiesStart, message.propertiesEnd);
  const { topic, qos, retain, publisher, acceptedMs, expiresMs } = message;
  return {
    position,
    topic,
    payload: Buffer.from(payload),
    payloadStart: 0,
    payloadEnd: payload.length,
    properties: Buffer.from(properties),
    propertiesStart: 0,
    propertiesEnd: properties.length,
    qos,
    retain,
    publisher,
    acceptedMs,
    expiresMs,
  };
}

/** Entries in order; the front can be taken off. */
class EntryList {
  entries: MemoryEntry[] = [];
  head = 0;

  get count(): number {
    return this.entries.length - this.head;
  }

  shift(): void {
    this.head++;
    if (this.head < 1024 || this.head * 2 < this.entries.length) return;
    this.entries = this.entries.slice(this.head);
    this.head = 0;
  }

  /** Index of the first entry after `position`. */
  after(position: Position): number {
    let low = this.head;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.entries[middle]!.position <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

class ListCursor {
  readonly #entries: readonly MemoryEntry[];
  #index: number;

  constructor(entries: readonly MemoryEntry[], index: number) {
    this.#entries = entries;
    this.#index = index;
  }

  get entry(): MemoryEntry {
    return this.#entries[this.#index]!;
  }

  get position(): Position {
    return this.entry.position;
  }

  advance(): boolean {
    return ++this.#index < this.#entries.length;
  }
}

class MemoryInstanceLog implements InstanceLog {
  readonly #turn: MemoryTurn;
  readonly #clock: Clock;
  readonly #all = new EntryList();
  readonly #topics = new Map<string, EntryList>();
  #issued: Position = 0;
  #end: Position = 0;
  #floor: Position = 0;
  #bytes = 0;
  #limits: LogRetention = { ageMs: NEVER, bytesMax: NEVER, countMax: NEVER };

  constructor(turn: MemoryTurn, clock: Clock) {
    this.#turn = turn;
    this.#clock = clock;
  }

  append(message: LogMessage, appended: Appended): void {
    this.#issued += 1 + (this.#issued % 3);
    const entry = new MemoryEntry(this, this.#issued, message, appended);
    this.#turn.issue(entry, entry.bytes + ENTRY_OVERHEAD_BYTES);
  }

  admit(entry: MemoryEntry): void {
    this.#all.entries.push(entry);
    let list = this.#topics.get(entry.message.topic);
    if (list === undefined) {
      list = new EntryList();
      this.#topics.set(entry.message.topic, list);
    }
    list.entries.push(entry);
    this.#bytes += entry.bytes;
    this.#turn.heldBytes += entry.bytes + ENTRY_OVERHEAD_BYTES;
    this.#end = entry.position;
    this.enforce();
  }

  async read(request: LogRead): Promise<LogPage> {
    await nextTurn();
    const { filters } = request;
    const page = new Page(request);
    const lowest = Math.max(request.after, filters.lowest);
    const from = Math.min(lowest, Math.max(request.after, this.#end));
    const next =
      filters.prefixes.length === 0
        ? this.#readTopics(filters, page, from)
        : this.#readAll(filters, page, from);
    const reached = Math.max(next, request.after);
    return { entries: page.entries, next: reached, complete: reached >= this.#end };
  }

  async get(positions: readonly Position[]): Promise<readonly (LogEntry | undefined)[]> {
    await nextTurn();
    return positions.map((position) => {
      const entry = this.#all.entries[this.#all.after(position - 1)];
      return entry?.position === position ? entry.read() : undefined;
    });
  }

  end(): Position {
    return this.#end;
  }

  issued(): Position {
    return this.#issued;
  }

  floor(): Position {
    return this.#floor;
  }

  retain(limits: LogRetention): void {
    this.#limits = { ...limits };
    this.enforce();
  }

  size(): { readonly count: number; readonly bytes: number } {
    return { count: this.#all.count, bytes: this.#bytes };
  }

  /** Removes what retention no longer allows, oldest first. */
  enforce(): void {
    const { ageMs, bytesMax, countMax } = this.#limits;
    const oldestMs = ageMs === NEVER ? 0 : this.#clock.nowMs() - ageMs;
    while (this.#all.count > 0) {
      const oldest = this.#all.entries[this.#all.head]!;
      const kept =
        this.#all.count <= countMax &&
        this.#bytes <= bytesMax &&
        oldest.message.acceptedMs >= oldestMs;
      if (kept) return;
      this.#removeOldest(oldest);
    }
  }

  #removeOldest(oldest: MemoryEntry): void {
    this.#all.shift();
    const list = this.#topics.get(oldest.message.topic)!;
    list.shift();
    if (list.count === 0) this.#topics.delete(oldest.message.topic);
    this.#bytes -= oldest.bytes;
    this.#turn.heldBytes -= oldest.bytes + ENTRY_OVERHEAD_BYTES;
    this.#floor = oldest.position;
  }

  /** Merges the lists of the named topics. */
  #readTopics(filters: FilterSet, page: Page, from: Position): Position {
    const heap = new CursorHeap<ListCursor>();
    for (const [topic, after] of filters.exact) {
      const list = this.#topics.get(topic);
      if (list === undefined) continue;
      const index = list.after(Math.max(from, after));
      if (index < list.entries.length) heap.add(new ListCursor(list.entries, index));
    }
    let next = 0;
    for (let top = heap.top; top !== undefined; top = heap.top) {
      if (page.full) return next;
      page.add(top.entry.read(), top.entry.bytes);
      next = top.position;
      heap.advanceTop();
    }
    return this.#end;
  }

  /** Walks the log and judges each topic once. */
  #readAll(filters: FilterSet, page: Page, from: Position): Position {
    const judged = new Map<string, Position>();
    const entries = this.#all.entries;
    let index = this.#all.after(from);
    let next = from;
    const stop = Math.min(entries.length, index + LOOKED_AT_MAX);
    for (; index < stop; index++) {
      if (page.full) return next;
      const entry = entries[index]!;
      let after = judged.get(entry.message.topic);
      if (after === undefined) {
        after = filters.afterOf(entry.message.topic);
        judged.set(entry.message.topic, after);
      }
      if (entry.position > after) page.add(entry.read(), entry.bytes);
      next = entry.position;
    }
    return index === entries.length ? this.#end : next;
  }
}

function textBytes(text: string): number {
  return Buffer.byteLength(text);
}
