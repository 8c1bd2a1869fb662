/**
 * A table held in memory: read at start, kept current by watching.
 *
 * A change made here answers once it is durable and has come back through the watch, so whoever
 * made it finds it in memory, and all nodes hear of all changes in one way.
 */
import { Fault } from '#base';
import type { RowChange, Table, Version } from '#ports';

const ATTEMPTS_MAX = 20;

/** Told of each row as it is now; `undefined`: it is gone. */
export type OnRow = (key: string, value: Uint8Array | undefined) => void;

/** A change of ours that has not come back yet. */
interface Awaited {
  newest: Version;
  needed: Version | undefined;
  resolve: () => void;
}

export class Mirror {
  readonly #table: Table;
  readonly #onRow: OnRow;
  readonly #awaited = new Map<string, Set<Awaited>>();
  /** Rows that changed while the table was being read: what was read of them is old. */
  #changed: Map<string, Version> | undefined = new Map();
  readonly #stop: () => void;

  private constructor(table: Table, onRow: OnRow) {
    this.#table = table;
    this.#onRow = onRow;
    this.#stop = table.watch('', (change) => this.#hear(change));
  }

  static async open(table: Table, onRow: OnRow): Promise<Mirror> {
    const mirror = new Mirror(table, onRow);
    for await (const rows of table.scan('')) {
      for (const row of rows) {
        const heard = mirror.#changed?.get(row.key) ?? 0;
        if (row.version > heard) onRow(row.key, row.value);
      }
    }
    mirror.#changed = undefined;
    return mirror;
  }

  close(): void {
    this.#stop();
  }

  /** False: the row is there already. */
  async add(key: string, value: Uint8Array): Promise<boolean> {
    return this.#visible(key, () => this.#table.put(key, value, 'absent'));
  }

  /** False: the row is not there. */
  async remove(key: string): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const row = await this.#table.get(key);
      if (row === undefined) return false;
      const { version } = row;
      const done = await this.#visible(key, async () =>
        // The removal has a higher version, whichever it is.
        (await this.#table.remove(key, version)) ? version + 1 : undefined,
      );
      if (done) return true;
    }
    throw new Fault('unspecified', 'the row keeps changing');
  }

  /**
   * Replaces the row by what `change` makes of it; `change` may throw, and is asked again where
   * someone else was faster. False: the row is not there.
   */
  async update(key: string, change: (value: Uint8Array) => Uint8Array): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const row = await this.#table.get(key);
      if (row === undefined) return false;
      const value = change(row.value);
      if (await this.#visible(key, () => this.#table.put(key, value, row.version))) return true;
    }
    throw new Fault('unspecified', 'the row keeps changing');
  }

  /** Makes the change and waits until it has come back; false: its claim did not hold. */
  async #visible(key: string, change: () => Promise<Version | undefined>): Promise<boolean> {
    const awaited: Awaited = { newest: 0, needed: undefined, resolve: () => {} };
    const others = this.#awaited.get(key) ?? new Set();
    this.#awaited.set(key, others.add(awaited));
    try {
      const version = await change();
      if (version === undefined) return false;
      if (awaited.newest < version) {
        await new Promise<void>((resolve) => {
          awaited.needed = version;
          awaited.resolve = resolve;
        });
      }
      return true;
    } finally {
      others.delete(awaited);
      if (others.size === 0) this.#awaited.delete(key);
    }
  }

  #hear(change: RowChange): void {
    this.#changed?.set(change.key, change.version);
    this.#onRow(change.key, change.value);
    for (const awaited of this.#awaited.get(change.key) ?? []) {
      awaited.newest = change.version;
      if (awaited.needed !== undefined && awaited.needed <= change.version) awaited.resolve();
    }
  }
}
