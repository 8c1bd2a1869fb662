/**
 * LMDB as this engine uses it: four databases of bytes in one environment.
 *
 * LMDB limits keys to 1,978 bytes, ours go to 65,535. A longer text is stored under its
 * beginning and a hash; the whole text then stands in the value. The length of a key tells which.
 */
import { createHash } from 'node:crypto';
import { chmodSync, closeSync, existsSync, openSync, readSync } from 'node:fs';
import { type Database, open } from 'lmdb';
import type { Position } from '#ports';
import type { LmdbLimits } from './limits.ts';

export type Bytes = Database<Buffer, Buffer>;

export interface Databases {
  /** table u32 | key -> version f64 | key bytes u32 | whole key if it is long | value */
  readonly rows: Bytes;
  /** instance u32 | topic | 0 | first position u64 -> (whole topic) | position f64, place f64 ... */
  readonly index: Bytes;
  /** instance u32 | first position u64 -> one retention mark */
  readonly marks: Bytes;
  /** text -> JSON: the applied mark, instances, tables, segments */
  readonly meta: Bytes;
  /** Puts or removes; settles once it is on the disk. Those of one turn are one transaction. */
  put(database: Bytes, key: Buffer, value: Buffer | undefined): Promise<boolean>;
  /** Reads see what was committed last. */
  renew(): void;
  close(): Promise<void>;
}

const LONG_BYTES = 1800;
const HASH_BYTES = 16;
export const POSITION_BYTES = 8;
const HEAD_BYTES = 64;
const LMDB_MAGIC: Buffer = Buffer.from([0xde, 0xc0, 0xef, 0xbe]);

export async function openDatabases(path: string, limits: LmdbLimits): Promise<Databases> {
  requireLmdb(path);
  const root = open<Buffer, Buffer>({
    path,
    noSubdir: true,
    keyEncoding: 'binary',
    encoding: 'binary',
    mapSize: limits.mapBytesMax,
    maxDbs: 8,
    // A commit then settles once it is on the disk. With overlapping syncs one that fails never
    // settles `flushed`, and closing waits for it for ever.
    overlappingSync: false,
  });
  // The package makes them readable for everybody.
  for (const file of [path, `${path}-lock`]) chmodSync(file, 0o600);
  const openOne = (name: string): Bytes =>
    root.openDB<Buffer, Buffer>({ name, keyEncoding: 'binary', encoding: 'binary' });
  let guarded = false;
  let last: Promise<boolean> | undefined; // those of one turn mostly share one promise
  // The package makes one more promise for each turn's writes and keeps it to itself: when they
  // fail, it would count as a rejection nobody handles. It is reached here, once it exists.
  const guard = (): void => {
    if (guarded) return;
    guarded = true;
    setImmediate(() => {
      guarded = false;
      root.committed.then(() => {}, observeCause);
    });
  };
  return {
    rows: openOne('rows'),
    index: openOne('index'),
    marks: openOne('marks'),
    meta: openOne('meta'),
    put: (database, key, value) => {
      const done = value === undefined ? database.remove(key) : database.put(key, value);
      guard(); // after the package has queued its own end of the turn
      if (done !== last) done.catch(observeCause); // whoever waits still sees the error
      last = done;
      return done;
    },
    renew: () => {
      root.resetReadTxn();
    },
    // What was refused by a full disk is still in the journal; it must not keep us here.
    close: () => root.close().catch(() => {}),
  };
}

/** The promise inside the error counts as handled only if somebody listens at once. */
function observeCause(error: unknown): void {
  if (!(error instanceof Error) || !('commitError' in error)) return;
  Promise.resolve(error.commitError).catch(() => {});
}

/** LMDB's own error behind a commit that failed; it comes a little later, as a promise. */
export async function commitCause(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error;
  const known = Promise.resolve(error.commitError).catch((cause: unknown) => cause);
  const late = new Promise((resolve) => setImmediate(() => setImmediate(() => resolve(error))));
  return Promise.race([known, late]);
}

/** LMDB does not survive a file that is none of its own: it must be seen before. */
function requireLmdb(path: string): void {
  if (!existsSync(path)) return;
  const descriptor = openSync(path, 'r');
  const head = Buffer.alloc(HEAD_BYTES);
  try {
    const size = readSync(descriptor, head, 0, HEAD_BYTES, 0);
    if (size > 0 && !head.includes(LMDB_MAGIC)) throw new Error(`${path} is not an LMDB file`);
  } finally {
    closeSync(descriptor);
  }
}

/** `number`, then the text or its short form. */
export function textKey(number: number, text: Uint8Array, spare = 0): Buffer {
  // One of just that length as well: no key is then the beginning of another text's.
  const long = text.length >= LONG_BYTES;
  const length = 4 + (long ? LONG_BYTES + 1 + HASH_BYTES : text.length);
  const key = Buffer.allocUnsafe(length + spare);
  key.writeUInt32BE(number, 0);
  if (!long) {
    key.set(text, 4);
    return key;
  }
  key.set(text.subarray(0, LONG_BYTES), 4);
  key[4 + LONG_BYTES] = 0;
  const hash = createHash('sha256').update(text).digest();
  key.set(hash.subarray(0, HASH_BYTES), 4 + LONG_BYTES + 1);
  return key;
}

/** Where every key of `number` whose text begins with `prefix` lies: from `start` up to `end`. */
export function prefixRange(
  number: number,
  prefix: Uint8Array,
): { readonly start: Buffer; readonly end: Buffer } {
  const start = Buffer.allocUnsafe(4 + Math.min(prefix.length, LONG_BYTES));
  start.writeUInt32BE(number, 0);
  start.set(prefix.subarray(0, LONG_BYTES), 4);
  return { start, end: successor(start) };
}

/** The first key after all that begin with `key`. */
export function successor(key: Buffer): Buffer {
  const next = Buffer.from(key);
  let last = next.length - 1;
  while (last >= 0 && next[last] === 0xff) last--;
  next[last]!++;
  return next.subarray(0, last + 1);
}

export function rowKeyIsLong(key: Buffer): boolean {
  return key.length > 4 + LONG_BYTES;
}

/** The index key of a topic without its position: what all chunks of a topic begin with. */
export function topicKey(instance: number, topic: Uint8Array): Buffer {
  const key = textKey(instance, topic, 1);
  key[key.length - 1] = 0;
  return key;
}

export function chunkKey(topic: Buffer, position: Position): Buffer {
  const key = Buffer.allocUnsafe(topic.length + POSITION_BYTES);
  key.set(topic, 0);
  writePosition(key, topic.length, position);
  return key;
}

export function chunkIsLong(key: Buffer): boolean {
  return key.length > 4 + LONG_BYTES + 1 + POSITION_BYTES;
}

/** The topic part of a chunk's key, separator included. */
export function topicOfChunk(key: Buffer): Buffer {
  return key.subarray(0, key.length - POSITION_BYTES);
}

export function markKey(instance: number, position: Position): Buffer {
  const key = Buffer.allocUnsafe(4 + POSITION_BYTES);
  key.writeUInt32BE(instance, 0);
  writePosition(key, 4, position);
  return key;
}

export function readPosition(key: Buffer, at: number): Position {
  return key.readUInt32BE(at) * 4_294_967_296 + key.readUInt32BE(at + 4);
}

function writePosition(key: Buffer, at: number, position: Position): void {
  key.writeUInt32BE(Math.floor(position / 4_294_967_296), at);
  key.writeUInt32BE(position % 4_294_967_296, at + 4);
}
