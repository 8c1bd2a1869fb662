/**
 * `Store`: tables whose newest rows lie in memory until LMDB has them.
 *
 * Reads look in the overlay first. A row knows the one it covers until it is durable, so that a
 * refused write can be undone.
 */
import { assert, type Fault } from '#base';
import type { Row, RowChange, Settled, Store, Table, Version } from '#ports';
import { own } from '../page.ts';
import { SortedKeys } from '../sorted-keys.ts';
import { type Bytes, type Databases, prefixRange, rowKeyIsLong, textKey } from './database.ts';
import type { Journal } from './journal.ts';
import { KIND_TABLE } from './record.ts';

const PAGE_ROWS = 100;
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
    const current = this.#current(key);
    return current && { key, value: own(current.value), version: current.version };
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

  async *scan(prefix: string): AsyncIterable<readonly Row[]> {
    const left = new Set(this.#keys.withPrefix(prefix, this.#isCovered));
    const range = prefixRange(this.number, Buffer.from(prefix));
    let { start } = range;
    for (;;) {
      let looked = 0;
      const page: Row[] = [];
      for (const { key, value } of this.#rows.getRange({
        start,
        end: range.end,
        limit: PAGE_ROWS,
      })) {
        looked++;
        start = Buffer.concat([key, NUL]); // the next key after this one
        const text = rowText(key, value);
        left.delete(text);
        if (!text.startsWith(prefix)) continue;
        const row = this.#seen(text, value);
        if (row !== undefined) page.push(row);
      }
      if (page.length > 0) yield page;
      if (looked < PAGE_ROWS) break;
      await new Promise(setImmediate);
    }
    yield* this.#scanOverlay(left);
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
    const stored = this.#rows.get(textKey(this.number, Buffer.from(key)));
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

  async *#scanOverlay(keys: Iterable<string>): AsyncIterable<readonly Row[]> {
    let page: Row[] = [];
    for (const key of keys) {
      const current = this.#current(key);
      if (current !== undefined)
        page.push({ key, value: own(current.value), version: current.version });
      if (page.length < PAGE_ROWS) continue;
      yield page;
      page = [];
    }
    if (page.length > 0) yield page;
  }

  readonly #isCovered = (key: string): boolean => this.#overlay.has(key);
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
