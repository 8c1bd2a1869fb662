/**
 * `Store`: tables whose newest rows lie in memory until LMDB has them.
 *
 * Reads look in the overlay first. A row knows the one it covers until it is durable, so that a
 * refused write can be undone.
 */
import { assert, type Fault } from '#base';
import type { Row, RowChange, Settled, Store, Table, Version } from '#ports';
import { own, PAGE_ROW_BYTES, PAGE_ROWS } from '../page.ts';
import { SortedKeys } from '../sorted-keys.ts';
import { type Bytes, type Databases, prefixRange, rowKeyIsLong, textKey } from './database.ts';
import type { Journal } from './journal.ts';
import { KIND_TABLE } from './record.ts';

/** A text of so many UTF-16 units is stored whole in any case; a longer one may not be. */
const WHOLE_UNITS = 599;
const ROW_OVERHEAD_BYTES = 150;

/** A row not yet in LMDB. */
export class OverlayRow {
  readonly table: LmdbTable;
  readonly key: string;
  readonly value: Uint8Array | undefined;
  readonly version: Version;
  /** What it covers, until it is durable. */
  previous: OverlayRow | undefined;
  /** A newer one of its key is durable: it need not be applied. */
  superseded = false;
  /** LMDB has it. */
  applied = false;

  constructor(
    table: LmdbTable,
    key: string,
    value: Uint8Array | undefined,
    version: Version,
    previous: OverlayRow | undefined,
  ) {
    this.table = table;
    this.key = key;
    this.value = value;
    this.version = version;
    this.previous = previous;
  }

  get bytes(): number {
    return ROW_OVERHEAD_BYTES + this.key.length + (this.value?.length ?? 0);
  }
}

export class LmdbStore implements Store {
  readonly databases: Databases;
  journal!: Journal;
  /** Durable rows that LMDB does not have, in order. */
  dirty: OverlayRow[] = [];
  overlayRows = 0;
  overlayBytes = 0;
  readonly #tables = new Map<string, LmdbTable>();
  readonly #byNumber = new Map<number, LmdbTable>();
  #highest = 0;

  constructor(databases: Databases) {
    this.databases = databases;
  }

  table(name: string): Table {
    return this.#tables.get(name) ?? this.restore(name, this.#highest + 1, false);
  }

  /** A table known from before (`named`) or new. */
  restore(name: string, number: number, named: boolean): LmdbTable {
    assert(/^[A-Za-z0-9_-]+$/.test(name), 'letters, digits, _ and - name a table');
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = new LmdbTable(this, name, number);
      this.#tables.set(name, table);
      this.#byNumber.set(number, table);
      this.#highest = Math.max(this.#highest, number);
    }
    if (named) table.named = true;
    return table;
  }

  byNumber(number: number): LmdbTable {
    const table = this.#byNumber.get(number);
    assert(table !== undefined, 'a table is named before its first row');
    return table;
  }

  tables(): Iterable<LmdbTable> {
    return this.#tables.values();
  }
}

interface Watcher {
  readonly prefix: string;
  readonly listener: (change: RowChange) => void;
}

interface Current {
  readonly value: Uint8Array;
  readonly version: Version;
}

export class LmdbTable implements Table {
  readonly name: string;
  readonly number: number;
  /** The journal says what its number means. */
  named = false;
  readonly #store: LmdbStore;
  readonly #rows: Bytes;
  readonly #overlay = new Map<string, OverlayRow>();
  readonly #keys = new SortedKeys();
  readonly #watchers = new Set<Watcher>();

  constructor(store: LmdbStore, name: string, number: number) {
    this.#store = store;
    this.#rows = store.databases.rows;
    this.name = name;
    this.number = number;
  }

  async get(key: string): Promise<Row | undefined> {
    return this.#newest(key);
  }

  put(key: string, value: Uint8Array, expected?: Version | 'absent'): Promise<Version | undefined> {
    return new Promise((resolve, reject) => {
      const holds = expected === undefined || this.#holds(key, expected);
      const version = holds ? this.#store.journal.nextPosition() : undefined;
      const settled = answer(resolve, reject, version);
      if (version === undefined) this.#store.journal.open().nothing(settled);
      else this.#write(key, own(value), version, settled);
    });
  }

  remove(key: string, expected?: Version): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const current = this.#current(key);
      const holds =
        current !== undefined && (expected === undefined || current.version === expected);
      const settled = answer(resolve, reject, holds);
      if (holds) this.write(key, undefined, settled);
      else this.#store.journal.open().nothing(settled);
    });
  }

  write(key: string, value: Uint8Array | undefined, settled?: Settled): void {
    const version = this.#store.journal.nextPosition();
    this.#write(key, value === undefined ? undefined : own(value), version, settled);
  }

  async *scan(prefix: string, after?: string): AsyncIterable<readonly Row[]> {
    const range = prefixRange(this.number, Buffer.from(prefix));
    let { start } = range;
    if (after !== undefined) {
      const next = keyAfter(this.#keyOf(after));
      if (Buffer.compare(next, start) > 0) start = next;
    }
    // In memory, and perhaps nowhere else: they come in between the stored ones, in their order.
    const covered = this.#coveredFrom(prefix, start);
    let at = 0;
    for (let more = true; more; ) {
      const page = new RowPage();
      let looked = 0;
      const options = { start, end: range.end, limit: PAGE_ROWS };
      for (const { key, value } of this.#rows.getRange(options)) {
        for (; !page.full && at < covered.length; at++) {
          if (Buffer.compare(this.#keyOf(covered[at]!), key) >= 0) break;
          page.add(this.#newest(covered[at]!));
        }
        if (page.full) break;
        looked++;
        start = keyAfter(key);
        const text = rowText(key, value);
        if (covered[at] === text) at++;
        if (text.startsWith(prefix)) page.add(this.#seen(text, value));
      }
      more = page.full || looked === PAGE_ROWS;
      if (page.rows.length > 0) yield page.rows;
      if (more) await new Promise(setImmediate);
    }
    yield* this.#scanCovered(covered.slice(at));
  }

  newest(): Version {
    return this.#store.journal.nextPosition(); // which no change has
  }

  watch(prefix: string, listener: (change: RowChange) => void): () => void {
    const watcher = { prefix, listener };
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  /** The row is durable. */
  admit(row: OverlayRow): void {
    if (row.previous !== undefined) {
      row.previous.superseded = true;
      row.previous = undefined;
    }
    this.#store.dirty.push(row);
  }

  /** The row was refused: what it covered is back. */
  undo(row: OverlayRow): void {
    const { previous } = row;
    this.#account(row, -1);
    if (previous === undefined) {
      this.#overlay.delete(row.key);
      this.#keys.remove();
      return;
    }
    this.#account(previous, 1);
    this.#overlay.set(row.key, previous);
    if (!previous.applied) return;
    previous.applied = false;
    this.#store.dirty.push(previous);
  }

  /** A row from the journal, at start. */
  replay(key: string, value: Uint8Array | undefined, version: Version): void {
    this.admit(this.#cover(key, value, version));
  }

  /** LMDB has the row. */
  release(row: OverlayRow): void {
    row.applied = true;
    if (this.#overlay.get(row.key) !== row) return;
    this.#overlay.delete(row.key);
    this.#keys.remove();
    this.#account(row, -1);
  }

  /** Tells the watchers. */
  tell(row: OverlayRow): void {
    if (this.#watchers.size === 0) return;
    for (const watcher of this.#watchers) {
      if (!row.key.startsWith(watcher.prefix)) continue;
      const value = row.value === undefined ? undefined : own(row.value);
      watcher.listener({ key: row.key, value, version: row.version });
    }
  }

  #write(
    key: string,
    value: Uint8Array | undefined,
    version: Version,
    settled: Settled | undefined,
  ): void {
    const { journal } = this.#store;
    const awaited = settled !== undefined && settled.patient !== true;
    const batch = awaited ? journal.open() : journal.openUnawaited();
    if (!this.named) {
      this.named = true;
      batch.name(KIND_TABLE, this.number, this.name, version);
    }
    batch.row(this.#cover(key, value, version), settled);
  }

  #cover(key: string, value: Uint8Array | undefined, version: Version): OverlayRow {
    const previous = this.#overlay.get(key);
    const row = new OverlayRow(this, key, value, version, previous);
    if (previous === undefined) this.#keys.add(key);
    else this.#account(previous, -1);
    this.#account(row, 1);
    this.#overlay.set(key, row);
    return row;
  }

  #account(row: OverlayRow, sign: 1 | -1): void {
    this.#store.overlayRows += sign;
    this.#store.overlayBytes += sign * row.bytes;
  }

  #holds(key: string, expected: Version | 'absent'): boolean {
    const current = this.#current(key);
    return expected === 'absent' ? current === undefined : current?.version === expected;
  }

  /** The newest value issued; not owned. */
  #current(key: string): Current | undefined {
    const row = this.#overlay.get(key);
    if (row !== undefined) {
      return row.value === undefined ? undefined : { value: row.value, version: row.version };
    }
    const stored = this.#rows.get(this.#keyOf(key));
    return stored && storedValue(stored);
  }

  #seen(key: string, stored: Buffer): Row | undefined {
    const row = this.#overlay.get(key);
    if (row === undefined) {
      const { value, version } = storedValue(stored);
      return { key, value: own(value), version };
    }
    return row.value && { key, value: own(row.value), version: row.version };
  }

  /** Texts of the rows in memory that a scan from `start` on meets, in the order of LMDB. */
  #coveredFrom(prefix: string, start: Buffer): readonly string[] {
    const texts = this.#keys.withPrefix(prefix, this.#isCovered);
    if (texts.some((text) => text.length > WHOLE_UNITS)) {
      const keyed = texts.map((text) => ({ text, key: this.#keyOf(text) }));
      keyed.sort((one, other) => Buffer.compare(one.key, other.key));
      for (const [index, { text }] of keyed.entries()) texts[index] = text;
    }
    let low = 0;
    let high = texts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(this.#keyOf(texts[middle]!), start) < 0) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? texts : texts.slice(low);
  }

  async *#scanCovered(keys: Iterable<string>): AsyncIterable<readonly Row[]> {
    let page = new RowPage();
    for (const key of keys) {
      page.add(this.#newest(key));
      if (!page.full) continue;
      yield page.rows;
      page = new RowPage();
    }
    if (page.rows.length > 0) yield page.rows;
  }

  #newest(key: string): Row | undefined {
    const current = this.#current(key);
    return current && { key, value: own(current.value), version: current.version };
  }

  #keyOf(key: string): Buffer {
    return textKey(this.number, Buffer.from(key));
  }

  readonly #isCovered = (key: string): boolean => this.#overlay.has(key);
}

/** A page of rows being filled [ST6]. */
class RowPage {
  readonly rows: Row[] = [];
  #bytes = 0;

  get full(): boolean {
    return this.rows.length >= PAGE_ROWS || this.#bytes >= PAGE_ROW_BYTES;
  }

  add(row: Row | undefined): void {
    if (row === undefined) return;
    this.rows.push(row);
    this.#bytes += row.value.length;
  }
}

/** The first key behind this one. */
function keyAfter(key: Buffer): Buffer {
  return Buffer.concat([key, NUL]);
}

/** How LMDB holds a row. */
export function storeRow(row: OverlayRow): { readonly key: Buffer; readonly value: Buffer } {
  const text = Buffer.from(row.key);
  const key = textKey(row.table.number, text);
  const value = row.value ?? NUL;
  const textBytes = rowKeyIsLong(key) ? text.length : 0;
  const stored = Buffer.allocUnsafe(12 + textBytes + value.length);
  stored.writeDoubleLE(row.version, 0);
  stored.writeUInt32LE(textBytes, 8);
  if (textBytes > 0) stored.set(text, 12);
  stored.set(value, 12 + textBytes);
  return { key, value: stored };
}

function storedValue(stored: Buffer): Current {
  const start = 12 + stored.readUInt32LE(8);
  return { value: stored.subarray(start), version: stored.readDoubleLE(0) };
}

function rowText(key: Buffer, stored: Buffer): string {
  if (!rowKeyIsLong(key)) return key.toString('utf8', 4);
  return stored.toString('utf8', 12, 12 + stored.readUInt32LE(8));
}

function answer<T>(resolve: (value: T) => void, reject: (fault: Fault) => void, value: T): Settled {
  return {
    settled: (fault) => {
      if (fault === undefined) resolve(value);
      else reject(fault);
    },
  };
}

const NUL: Buffer = Buffer.from([0]);
