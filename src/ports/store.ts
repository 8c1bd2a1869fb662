/**
 * `Store`: tables of small rows. The latest value per key, compare-and-set on a version,
 * scan by prefix, watch.
 *
 * Rules, each shown by `test/contracts/store-contract.ts`:
 *
 * - [ST1] `get` answers the value of the newest write issued before it, durable or not.
 * - [ST2] Of two claims on one row, one wins and the other changes nothing.
 * - [ST3] A version is a positive number that grows with every change of its table, removals
 *   included: no change issued so far has a larger one than `newest` says, every later one has.
 * - [ST4] `put`, `remove` and `settled` answer only once the change is durable.
 * - [ST5] `write` puts or removes without looking at the version; its writes settle in the
 *   order of the calls. One that nobody waits for (no `settled`, or a patient one) may become
 *   durable a little later, with others.
 * - [ST6] `scan` yields every row of the prefix that existed from its start to its end, once, in
 *   pages of bounded size, in the order of their keys' bytes (keys alike in their first 1,000
 *   bytes in a fixed order of the engine's own); rows written before the call are seen. Given
 *   `after`, it begins with what comes behind that key, which need not be there.
 * - [ST7] A key is 1 to 65,535 bytes of UTF-8 without U+0000; a value up to 16 MiB.
 * - [ST8] A watcher hears every later change of its prefix once, in order, after it is durable.
 * - [ST9] A change that cannot be made durable is refused with a Fault (`storeFull`,
 *   `storeUnavailable`) and leaves no trace; the store works again once its cause is gone.
 * - [ST10] Writes and appends issued in one synchronous run on one engine become durable
 *   together or not at all.
 * - [ST11] What was durable is there after the process was killed and the store opened again.
 * - [ST12] Values handed in may be changed by the caller afterwards; values handed out are the
 *   caller's own.
 */
import type { Fault } from '#base';

/** Opaque: compare, store, hand back. */
export type Version = number;

export interface Row {
  readonly key: string;
  readonly value: Uint8Array;
  readonly version: Version;
}

/** Told once, when a write is durable (`undefined`) or was refused. */
export interface Settled {
  settled(fault: Fault | undefined): void;
  /** Wants to know, and is in no hurry. */
  readonly patient?: true;
}

export interface RowChange {
  readonly key: string;
  /** `undefined`: the row was removed. */
  readonly value: Uint8Array | undefined;
  readonly version: Version;
}

export interface Table {
  get(key: string): Promise<Row | undefined>;

  /** The row's new version, or `undefined` where `expected` does not hold. Default: any. */
  put(key: string, value: Uint8Array, expected?: Version | 'absent'): Promise<Version | undefined>;

  /** False where the row is not there or its version is not `expected`. */
  remove(key: string, expected?: Version): Promise<boolean>;

  /** The hot way: no promise. `undefined` removes. */
  write(key: string, value: Uint8Array | undefined, settled?: Settled): void;

  scan(prefix: string, after?: string): AsyncIterable<readonly Row[]>;

  newest(): Version;

  /** Returns the way to stop watching. */
  watch(prefix: string, listener: (change: RowChange) => void): () => void;
}

export interface Store {
  /** The table of that name (`[A-Za-z0-9_-]+`), made on first use; the same object each time. */
  table(name: string): Table;
}
