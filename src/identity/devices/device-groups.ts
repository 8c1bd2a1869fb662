/**
 * Lists of a group's devices, page by page, and how many there are.
 *
 * Each bucket of a group has a row with the number of its clients, made durable together with the
 * change that makes it so. A list adds up a group's rows once and follows them from then on. A
 * page by number finds its bucket from them, a page by token begins after the last one's client.
 */
import type { Row, Table, Version } from '#ports';

/** Hexadecimal digits of a bucket's name. */
export const BUCKET_DIGITS = 3;

const BUCKET_COUNT = 16 ** BUCKET_DIGITS;
const GROUPS_REMEMBERED_MAX = 64;

/** Begin after so many clients, or after that one. */
export type PageStart =
  | { readonly skip: number }
  | { readonly afterBucket: string; readonly afterClientId: string };

export interface GroupPage {
  readonly clientIds: readonly string[];
  readonly more: boolean;
  readonly total: number;
}

/** A change of one row, on its way. */
export interface Issued<Outcome> {
  /** So many clients more. */
  readonly by: -1 | 0 | 1;
  /** False or `undefined` where the row was not as expected and stays as it is. */
  readonly writing: Promise<Outcome>;
}

interface Group {
  readonly counts: Uint32Array;
  /** Of the rows that the counts come from; news may come in any order. */
  readonly versions: Float64Array;
  total: number;
  loading: Promise<void>;
}

/** Keys are `<group prefix><bucket>/<client id>`; a group prefix holds two slashes. */
export class DeviceGroups {
  readonly #table: Table;
  /** `<group prefix><bucket>` -> number of clients; no row is none. */
  readonly #counts: Table;
  /** By prefix, the one used longest ago first. */
  readonly #groups = new Map<string, Group>();
  /** By bucket: the last of those that wait to change it. */
  readonly #turns = new Map<string, Promise<void>>();
  readonly #stopWatching: () => void;

  constructor(table: Table, counts: Table) {
    this.#table = table;
    this.#counts = counts;
    this.#stopWatching = counts.watch('', ({ key, value, version }) => {
      this.#set(key, readCount(value), version);
    });
  }

  close(): void {
    this.#stopWatching();
  }

  /**
   * Changes a row together with the count of its bucket: `issue` writes, at once, given the row as
   * it is. In one bucket one change is issued after the other, but they become durable together.
   */
  async change<Outcome>(
    key: string,
    issue: (row: Row | undefined) => Issued<Outcome>,
  ): Promise<Outcome> {
    const bucketKey = bucketKeyOf(key);
    const { by, writing, counting } = await this.#inTurn(bucketKey, async () => {
      const [row, counted] = await Promise.all([this.#table.get(key), this.#counts.get(bucketKey)]);
      let before = readCount(counted?.value);
      // A bucket that has clients and a count of none would be passed over.
      if (row !== undefined && before < 2) before = (await this.#members(bucketKey)).length;
      const issued = issue(row);
      const now = Math.max(0, before + issued.by);
      return { ...issued, counting: this.#putCount(bucketKey, now, counted) };
    });
    const [outcome, isCounted] = await Promise.all([writing, counting]);
    const isChanged = outcome !== undefined && (outcome as unknown) !== false;
    if (!isCounted || (!isChanged && by !== 0)) await this.#recount(bucketKey);
    return outcome;
  }

  async page(prefix: string, start: PageStart, countMax: number): Promise<GroupPage> {
    const group = this.#group(prefix);
    await group.loading;
    const clientIds: string[] = [];
    let { bucket, skip } = seek(group, start);
    let more = false;
    for (; bucket < BUCKET_COUNT && !more; bucket++) {
      const count = group.counts[bucket];
      if (count === 0) continue;
      const bucketKey = prefix + bucketName(bucket);
      let members = await this.#members(bucketKey);
      if (members.length !== count) await this.#recount(bucketKey);
      if ('afterClientId' in start && bucketName(bucket) === start.afterBucket) {
        members = members.filter((clientId) => clientId > start.afterClientId);
      }
      const room = countMax - clientIds.length;
      clientIds.push(...members.slice(skip, skip + room));
      more = members.length > skip + room;
      skip = 0;
    }
    return { clientIds, more, total: group.total };
  }

  #group(prefix: string): Group {
    let group = this.#groups.get(prefix);
    this.#groups.delete(prefix);
    if (group === undefined) {
      group = {
        counts: new Uint32Array(BUCKET_COUNT),
        versions: new Float64Array(BUCKET_COUNT),
        total: 0,
        loading: Promise.resolve(),
      };
      // Known before its rows are read: changes meanwhile are heard of.
      const fresh = group;
      group.loading = this.#load(prefix, fresh);
      for (const oldest of this.#groups.keys()) {
        if (this.#groups.size < GROUPS_REMEMBERED_MAX) break;
        this.#groups.delete(oldest);
      }
    }
    this.#groups.set(prefix, group);
    return group;
  }

  async #load(prefix: string, group: Group): Promise<void> {
    try {
      for await (const rows of this.#counts.scan(prefix)) {
        for (const { key, value, version } of rows) {
          setCount(group, bucketOf(key, prefix), readCount(value), version);
        }
      }
    } catch (error) {
      this.#groups.delete(prefix);
      throw error;
    }
  }

  /** Counts a bucket anew: two have changed it at once, or a count was lost. */
  async #recount(bucketKey: string): Promise<void> {
    await this.#inTurn(bucketKey, async () => {
      for (;;) {
        const counted = await this.#counts.get(bucketKey);
        const { length: count } = await this.#members(bucketKey);
        if (await this.#putCount(bucketKey, count, counted)) return;
      }
    });
  }

  /** False where another was faster. */
  async #putCount(bucketKey: string, count: number, before: Row | undefined): Promise<boolean> {
    if (count === readCount(before?.value)) {
      if (before !== undefined) this.#set(bucketKey, count, before.version);
      return true;
    }
    if (count === 0 && before !== undefined) {
      if (!(await this.#counts.remove(bucketKey, before.version))) return false;
      // The version of what is no more: newer than it was, older than what may come.
      this.#set(bucketKey, 0, before.version + 0.5);
      return true;
    }
    const value = Buffer.alloc(4);
    value.writeUInt32BE(count);
    const version = await this.#counts.put(bucketKey, value, before?.version ?? 'absent');
    if (version === undefined) return false;
    this.#set(bucketKey, count, version);
    return true;
  }

  /** Runs `task` when those before it in the same bucket are done. */
  async #inTurn<Result>(bucketKey: string, task: () => Promise<Result>): Promise<Result> {
    const before = this.#turns.get(bucketKey);
    const { promise: turn, resolve: end } = Promise.withResolvers<void>();
    this.#turns.set(bucketKey, turn);
    try {
      await before;
      return await task();
    } finally {
      end();
      if (this.#turns.get(bucketKey) === turn) this.#turns.delete(bucketKey);
    }
  }

  #set(bucketKey: string, count: number, version: Version): void {
    const prefix = bucketKey.slice(0, bucketKey.lastIndexOf('/') + 1);
    const group = this.#groups.get(prefix);
    if (group !== undefined) setCount(group, bucketOf(bucketKey, prefix), count, version);
  }

  async #members(bucketKey: string): Promise<string[]> {
    const prefix = `${bucketKey}/`;
    const members: string[] = [];
    for await (const rows of this.#table.scan(prefix)) {
      for (const { key } of rows) members.push(key.slice(prefix.length));
    }
    return members.sort();
  }
}

/** The bucket to begin in, and how many of its clients to leave out. */
function seek(group: Group, start: PageStart): { bucket: number; skip: number } {
  if ('afterBucket' in start) return { bucket: Number.parseInt(start.afterBucket, 16), skip: 0 };
  let bucket = 0;
  let { skip } = start;
  while (bucket < BUCKET_COUNT && skip >= group.counts[bucket]!) {
    skip -= group.counts[bucket]!;
    bucket++;
  }
  return { bucket, skip };
}

function setCount(group: Group, bucket: number, count: number, version: Version): void {
  if (version < group.versions[bucket]!) return;
  group.versions[bucket] = version;
  group.total += count - group.counts[bucket]!;
  group.counts[bucket] = count;
}

function bucketKeyOf(key: string): string {
  const end = key.indexOf('/', key.indexOf('/') + 1) + 1;
  return key.slice(0, end + BUCKET_DIGITS);
}

function bucketOf(bucketKey: string, prefix: string): number {
  return Number.parseInt(bucketKey.slice(prefix.length), 16);
}

function readCount(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : Buffer.from(value).readUInt32BE();
}

function bucketName(bucket: number): string {
  return bucket.toString(16).padStart(BUCKET_DIGITS, '0');
}
