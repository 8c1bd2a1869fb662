/**
 * `Store` in memory.
 *
 * A write is visible to `get` at once [ST1] and undone if its turn is refused [ST9].
 */
import { assert, type Fault } from '#base';
import type { Row, RowChange, Settled, Store, Table, Version } from '#ports';
import { own, PAGE_ROW_BYTES, PAGE_ROWS } from '../page.ts';
import { compareBytes, SortedKeys } from '../sorted-keys.ts';
import { type Effect, type MemoryTurn, nextTurn } from './memory-turn.ts';

const ROW_OVERHEAD_BYTES = 120; // what a row costs beside its bytes, roughly

export class MemoryStore implements Store {
  readonly #tables = new Map<string, MemoryTable>();
  readonly #turn: MemoryTurn;

  constructor(turn: MemoryTurn) {
    this.#turn = turn;
  }

  table(name: string): Table {
    assert(/^[A-Za-z0-9_-]+$/.test(name), 'letters, digits, _ and - name a table');
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = new MemoryTable(this.#turn);
      this.#tables.set(name, table);
    }
    return table;
  }
}

class MemoryRow {
  readonly key: string;
  readonly value: Uint8Array;
  readonly version: Version;
  readonly bytes: number;

  constructor(key: string, value: Uint8Array, version: Version) {
    this.key = key;
    this.value = value;
    this.version = version;
    this.bytes = key.length + value.length + ROW_OVERHEAD_BYTES;
  }

  read(): Row {
    return { key: this.key, value: own(this.value), version: this.version };
  }
}

class Change implements Effect {
  readonly key: string;
  readonly previous: MemoryRow | undefined;
  readonly current: MemoryRow | undefined;
  readonly version: Version;
  readonly #table: MemoryTable;
  readonly #settled: Settled | undefined;

  constructor(
    table: MemoryTable,
    key: string,
    rows: readonly [previous: MemoryRow | undefined, current: MemoryRow | undefined],
    version: Version,
    settled: Settled | undefined,
  ) {
    this.#table = table;
    this.key = key;
    this.previous = rows[0];
    this.current = rows[1];
    this.version = version;
    this.#settled = settled;
  }

  admit(): void {
    this.#table.admit(this);
  }

  undo(): void {
    this.#table.undo(this);
  }

  settle(fault: Fault | undefined): void {
    if (fault === undefined) this.#table.tell(this);
    this.#settled?.settled(fault);
  }
}

/** A claim that did not hold: it changes nothing, yet answers in its turn. */
class Nothing implements Effect {
  readonly #settled: Settled;

  constructor(settled: Settled) {
    this.#settled = settled;
  }

  admit(): void {}

  undo(): void {}

  settle(fault: Fault | undefined): void {
    this.#settled.settled(fault);
  }
}

interface Watcher {
  readonly prefix: string;
  readonly listener: (change: RowChange) => void;
}

class MemoryTable implements Table {
  readonly #turn: MemoryTurn;
  readonly #rows = new Map<string, MemoryRow>();
  readonly #keys = new SortedKeys();
  readonly #watchers = new Set<Watcher>();
  #version: Version = 0;

  constructor(turn: MemoryTurn) {
    this.#turn = turn;
  }

  async get(key: string): Promise<Row | undefined> {
    const row = this.#rows.get(key);
    await nextTurn();
    return row?.read();
  }

  put(key: string, value: Uint8Array, expected?: Version | 'absent'): Promise<Version | undefined> {
    const row = this.#rows.get(key);
    const holds =
      expected === undefined ||
      (expected === 'absent' ? row === undefined : row?.version === expected);
    return new Promise((resolve, reject) => {
      if (!holds) {
        this.#turn.issue(new Nothing(answer(resolve, reject, undefined)), 0);
        return;
      }
      const settled = answer<Version | undefined>(resolve, reject, this.#version + 1);
      this.write(key, value, settled);
    });
  }

  remove(key: string, expected?: Version): Promise<boolean> {
    const row = this.#rows.get(key);
    const holds = row !== undefined && (expected === undefined || row.version === expected);
    return new Promise((resolve, reject) => {
      const settled = answer(resolve, reject, holds);
      if (holds) this.write(key, undefined, settled);
      else this.#turn.issue(new Nothing(settled), 0);
    });
  }

  write(key: string, value: Uint8Array | undefined, settled?: Settled): void {
    assert(key.length > 0, 'a key is not empty');
    this.#version++;
    const previous = this.#rows.get(key);
    const current = value === undefined ? undefined : new MemoryRow(key, own(value), this.#version);
    this.#place(key, previous, current);
    const change = new Change(this, key, [previous, current], this.#version, settled);
    this.#turn.issue(change, Math.max(0, (current?.bytes ?? 0) - (previous?.bytes ?? 0)));
  }

  async *scan(prefix: string, after?: string): AsyncIterable<readonly Row[]> {
    const keys = this.#keys.withPrefix(prefix, this.#isThere);
    let next = after === undefined ? 0 : countUpTo(keys, after);
    while (next < keys.length) {
      await nextTurn();
      const page: Row[] = [];
      let bytes = 0;
      while (next < keys.length && page.length < PAGE_ROWS && bytes < PAGE_ROW_BYTES) {
        const row = this.#rows.get(keys[next++]!);
        if (row === undefined) continue;
        page.push(row.read());
        bytes += row.bytes;
      }
      if (page.length > 0) yield page;
    }
  }

  newest(): Version {
    return this.#version;
  }

  watch(prefix: string, listener: (change: RowChange) => void): () => void {
    const watcher = { prefix, listener };
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  admit(change: Change): void {
    this.#turn.heldBytes += (change.current?.bytes ?? 0) - (change.previous?.bytes ?? 0);
  }

  tell(change: Change): void {
    if (change.previous === undefined && change.current === undefined) return;
    for (const watcher of this.#watchers) {
      if (!change.key.startsWith(watcher.prefix)) continue;
      const value = change.current === undefined ? undefined : own(change.current.value);
      watcher.listener({ key: change.key, value, version: change.version });
    }
  }

  undo(change: Change): void {
    this.#place(change.key, change.current, change.previous);
  }

  #place(key: string, before: MemoryRow | undefined, after: MemoryRow | undefined): void {
    if (after !== undefined) {
      this.#rows.set(key, after);
      if (before === undefined) this.#keys.add(key);
    } else if (before !== undefined) {
      this.#rows.delete(key);
      this.#keys.remove();
    }
  }

  readonly #isThere = (key: string): boolean => this.#rows.has(key);
}

/** How many of the keys are not behind `after`. */
function countUpTo(keys: readonly string[], after: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(keys[middle]!, after) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function answer<T>(resolve: (value: T) => void, reject: (fault: Fault) => void, value: T): Settled {
  return {
    settled: (fault) => {
      if (fault === undefined) resolve(value);
      else reject(fault);
    },
  };
}
