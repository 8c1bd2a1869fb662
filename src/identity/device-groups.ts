/**
 * Lists of a group's devices, page by page, and how many there are.
 *
 * A group is counted once, by a walk through its rows, and from then on remembered as a number for
 * each bucket. A change makes its bucket be counted again when somebody asks, no other. A page by
 * number finds its bucket from the counts; a page by token begins after the last one's client.
 */
import type { Table } from '#ports';

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

interface Group {
  readonly counts: Uint32Array;
  /** Buckets to be counted again. */
  readonly changed: Set<number>;
  total: number;
  /** The counting under way, or the last one; the next waits for it. */
  counting: Promise<void>;
}

/** Keys are `<group prefix><bucket>/<client id>`; a group prefix holds two slashes. */
export class DeviceGroups {
  readonly #table: Table;
  /** By prefix, the one used longest ago first. */
  readonly #groups = new Map<string, Group>();

  constructor(table: Table) {
    this.#table = table;
  }

  /** To be told of every change of a row. */
  changed(key: string): void {
    const end = key.indexOf('/', key.indexOf('/') + 1) + 1;
    const group = this.#groups.get(key.slice(0, end));
    group?.changed.add(Number.parseInt(key.slice(end, end + BUCKET_DIGITS), 16));
  }

  async page(prefix: string, start: PageStart, countMax: number): Promise<GroupPage> {
    const group = this.#group(prefix);
    group.counting = group.counting.then(() => this.#recount(prefix, group));
    await group.counting;
    const clientIds: string[] = [];
    let { bucket, skip } = this.#seek(group, start);
    let more = false;
    for (; bucket < BUCKET_COUNT && !more; bucket++) {
      if (group.counts[bucket] === 0) continue;
      let members = await this.#members(prefix, bucket);
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
        changed: new Set(),
        total: 0,
        counting: Promise.resolve(),
      };
      // Known before its rows are walked: changes meanwhile are heard of.
      const fresh = group;
      group.counting = this.#count(prefix, fresh);
      for (const oldest of this.#groups.keys()) {
        if (this.#groups.size < GROUPS_REMEMBERED_MAX) break;
        this.#groups.delete(oldest);
      }
    }
    this.#groups.set(prefix, group);
    return group;
  }

  async #count(prefix: string, group: Group): Promise<void> {
    try {
      for await (const rows of this.#table.scan(prefix)) {
        for (const { key } of rows) {
          const name = key.slice(prefix.length, prefix.length + BUCKET_DIGITS);
          group.counts[Number.parseInt(name, 16)]!++;
          group.total++;
        }
      }
    } catch (error) {
      this.#groups.delete(prefix);
      throw error;
    }
  }

  async #recount(prefix: string, group: Group): Promise<void> {
    // Those that change from here on are for the next time.
    const changed = Array.from(group.changed);
    for (const bucket of changed) {
      group.changed.delete(bucket);
      try {
        const count = (await this.#members(prefix, bucket)).length;
        group.total += count - group.counts[bucket]!;
        group.counts[bucket] = count;
      } catch (error) {
        this.#groups.delete(prefix);
        throw error;
      }
    }
  }

  /** The bucket to begin in, and how many of its clients to leave out. */
  #seek(group: Group, start: PageStart): { bucket: number; skip: number } {
    if ('afterBucket' in start) return { bucket: Number.parseInt(start.afterBucket, 16), skip: 0 };
    let bucket = 0;
    let { skip } = start;
    while (bucket < BUCKET_COUNT && skip >= group.counts[bucket]!) {
      skip -= group.counts[bucket]!;
      bucket++;
    }
    return { bucket, skip };
  }

  async #members(prefix: string, bucket: number): Promise<string[]> {
    const bucketPrefix = `${prefix}${bucketName(bucket)}/`;
    const members: string[] = [];
    for await (const rows of this.#table.scan(bucketPrefix)) {
      for (const { key } of rows) members.push(key.slice(bucketPrefix.length));
    }
    return members.sort();
  }
}

function bucketName(bucket: number): string {
  return bucket.toString(16).padStart(BUCKET_DIGITS, '0');
}
