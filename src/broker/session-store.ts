/**
 * What is kept of sessions on disk, and how it is written.
 *
 * | table | key | row |
 * |---|---|---|
 * | `sessions` | session | expiry and the first subscriptions (JSON) |
 * | `subscriptions` | session, page | the subscriptions that have no room there (JSON) |
 * | `cursors` | session | log position, walk through the retained messages, all that is in flight |
 * | `inbound` | session, packet id | a QoS 2 publish received and not released |
 * | `retained-inflight` | session, packet id | a message on its way that is not in the log |
 * | `wills` | session | the will of a connection, until it is sent or cancelled (JSON) |
 * | `expiries` | bucket of time, session | when an offline session ends |
 * | `groups-<instance>` | group | log position of a durable group, and what is not acknowledged |
 */
import type { Position, Settled, Store, Table } from '#ports';
import { decodeCursor, encodeCursor, type StoredCursor } from './cursor-row.ts';
import { ownTable } from './instance-remains.ts';
import type { KeptMessage } from './kept-message.ts';
import type { StoredLeases } from './leases.ts';
import { decodeRetained, encodeRetained } from './retained.ts';
import type { Session } from './session.ts';
import type { SharedGroup } from './shared-group.ts';
import { type StoredSubscription, stillOwed } from './subscription.ts';
import { OWN_ROW } from './subscription-pages.ts';

/** Expiries are found by their bucket, so that nothing of them is in memory. */
export const EXPIRY_BUCKET_MS = 10_000;
const NO_BYTES: Buffer = Buffer.alloc(0);
export const NEVER_EXPIRES = 0xffff_ffff;

export interface StoredSession {
  readonly expirySeconds: number;
  /** Wall clock; 0: online when this was written. */
  readonly disconnectedMs: number;
  /** It has, or had, rows of its own for packet ids. */
  readonly keepsIds: boolean;
  /** The session is over; its P2P messages are kept for the client's next one. */
  readonly mailboxOnly?: true;
  /** Rows beside this one that have subscriptions; left out: none. */
  readonly pages?: number | undefined;
  readonly subscriptions: readonly StoredSubscription[];
}

export interface StoredGroup extends StoredLeases {
  readonly next: Position;
}

export interface StoredIds {
  readonly inbound: Iterable<number>;
  readonly retained: Iterable<number>;
}

export class SessionStore {
  readonly inbound: Table;
  readonly #sessions: Table;
  readonly #subscriptions: Table;
  readonly #cursors: Table;
  readonly #expiries: Table;
  readonly #retained: Table;
  readonly #store: Store;

  constructor(store: Store) {
    this.inbound = store.table('inbound');
    this.#sessions = store.table('sessions');
    this.#subscriptions = store.table('subscriptions');
    this.#cursors = store.table('cursors');
    this.#retained = store.table('retained-inflight');
    this.#expiries = store.table('expiries');
    this.#store = store;
  }

  async read(key: string): Promise<StoredSession | undefined> {
    const row = await this.#sessions.get(key);
    return row === undefined
      ? undefined
      : await this.#withPages(key, parse<StoredSession>(row.value));
  }

  async #withPages(key: string, stored: StoredSession): Promise<StoredSession> {
    const subscriptions = stored.subscriptions.map((item) => ({ ...item, page: OWN_ROW }));
    for (let page = 1; page <= (stored.pages ?? 0); page++) {
      const row = await this.#subscriptions.get(rowKey(key, page));
      if (row === undefined) continue; // nothing is left in it
      for (const item of parse<StoredSubscription[]>(row.value))
        subscriptions.push({ ...item, page });
    }
    return { ...stored, subscriptions };
  }

  /** Writes the session as it is now; `disconnectedMs` 0: its client is online. */
  write(session: Session, disconnectedMs: number, settled?: Settled): void {
    const pages = Array.from({ length: session.pages?.count ?? 0 }, (_, index) => index + 1);
    this.#write(session, pages, disconnectedMs, settled);
  }

  /** The same, without the pages that have not changed since it was called last. */
  writeChanged(session: Session, settled: Settled): void {
    this.#write(session, session.pages?.takeChanged() ?? [], 0, settled);
  }

  #write(
    session: Session,
    changed: readonly number[],
    disconnectedMs: number,
    settled: Settled | undefined,
  ): void {
    const pages = new Map<number, StoredSubscription[]>([[OWN_ROW, []]]);
    for (const page of changed) pages.set(page, []);
    for (const item of session.subscriptions.values()) {
      const page = pages.get(item.page ?? OWN_ROW);
      if (page === undefined) continue;
      const { text, qos, noLocal, retainAsPublished, identifier, since, earlier, owed } = item;
      const kept = { text, qos, noLocal, retainAsPublished, identifier, since };
      page.push({ ...kept, earlier: stillOwed(earlier, session.reached), owed });
    }
    for (const [page, items] of pages) {
      if (page === OWN_ROW) continue;
      const row = items.length === 0 ? undefined : encode(items);
      this.#subscriptions.write(rowKey(session.key, page), row);
    }
    const stored: StoredSession = {
      expirySeconds: session.expirySeconds,
      disconnectedMs,
      keepsIds: session.keepsIds,
      pages: session.pages?.count,
      subscriptions: pages.get(OWN_ROW)!,
    };
    this.#sessions.write(session.key, encode(stored), settled);
  }

  /** The same row with other words about the session, its subscriptions staying where they are. */
  rewrite(key: string, stored: StoredSession, settled?: Settled): void {
    const own = stored.subscriptions.filter(({ page = OWN_ROW }) => page === OWN_ROW);
    const subscriptions = own.map((item) => ({ ...item, page: undefined }));
    this.#sessions.write(key, encode({ ...stored, subscriptions }), settled);
  }

  /** Removes all that is kept of a session; `ids` are those it has rows for. */
  remove(key: string, pages: number, ids: StoredIds, settled?: Settled): void {
    for (const id of ids.inbound) this.inbound.write(rowKey(key, id), undefined);
    for (const id of ids.retained) this.#retained.write(rowKey(key, id), undefined);
    for (let page = 1; page <= pages; page++) {
      this.#subscriptions.write(rowKey(key, page), undefined);
    }
    this.#cursors.write(key, undefined);
    this.#sessions.write(key, undefined, settled);
  }

  async readCursor(key: string): Promise<StoredCursor | undefined> {
    const row = await this.#cursors.get(key);
    return row === undefined ? undefined : decodeCursor(row.value);
  }

  writeCursor(session: Session, settled?: Settled): void {
    this.#cursors.write(session.key, encodeCursor(session), settled);
  }

  /** In the same commit as its first row: who resumes it must know to look. */
  #noteIds(session: Session): void {
    if (session.idsNoted) return;
    session.keepsIds = true;
    session.idsNoted = true;
    this.write(session, 0, {
      patient: true,
      settled: (fault) => {
        if (fault !== undefined) session.idsNoted = false; // again with the next one
      },
    });
  }

  /** A QoS 2 publish of a durable session was taken. */
  keepInbound(session: Session, packetId: number, settled: Settled): void {
    this.#noteIds(session);
    this.inbound.write(this.inboundKey(session, packetId), NO_BYTES, settled);
  }

  inboundKey(session: Session, packetId: number): string {
    return rowKey(session.key, packetId);
  }

  /** The packet ids of a session that have rows of their own. */
  async readIds(key: string): Promise<StoredIds> {
    return {
      inbound: await readIds(this.inbound, key),
      retained: await readIds(this.#retained, key),
    };
  }

  /** Keeps a retained message that is on its way to a durable session's client. */
  keepRetained(session: Session, id: number, message: KeptMessage, settled: Settled): void {
    const topic = message.topicBytes;
    const head = Buffer.of(topic.length >> 8, topic.length & 0xff);
    const row = Buffer.concat([head, topic, encodeRetained(message)]);
    this.#noteIds(session);
    this.#retained.write(rowKey(session.key, id), row, settled);
  }

  async readRetained(session: Session, id: number): Promise<KeptMessage | undefined> {
    const row = await this.#retained.get(rowKey(session.key, id));
    if (row === undefined) return undefined;
    const bytes = Buffer.from(row.value);
    const topicEnd = 2 + bytes.readUInt16BE(0);
    return decodeRetained(bytes.toString('utf8', 2, topicEnd), bytes.subarray(topicEnd));
  }

  forgetRetained(session: Session, id: number): void {
    this.#retained.write(rowKey(session.key, id), undefined);
  }

  /** Every stored session, page by page: for the start. */
  async *all(): AsyncGenerator<{ readonly key: string; readonly stored: StoredSession }> {
    for await (const rows of this.#sessions.scan('')) {
      for (const { key, value } of rows) {
        yield { key, stored: await this.#withPages(key, parse<StoredSession>(value)) };
      }
    }
  }

  setExpiry(key: string, atMs: number): void {
    this.#expiries.write(expiryKey(key, atMs), Buffer.from(String(atMs)));
  }

  clearExpiry(key: string, atMs: number): void {
    this.#expiries.write(expiryKey(key, atMs), undefined);
  }

  /** Sessions whose time is up by `nowMs`, in the bucket that begins at `bucketMs`. */
  async *expiring(bucketMs: number): AsyncGenerator<{ key: string; atMs: number }> {
    const prefix = `${String(bucketMs)}/`;
    for await (const rows of this.#expiries.scan(prefix)) {
      for (const row of rows) {
        const atMs = Number(Buffer.from(row.value).toString());
        yield { key: row.key.slice(prefix.length), atMs };
      }
    }
  }

  async readGroup(group: SharedGroup): Promise<StoredGroup | undefined> {
    const row = await this.#groups(group).get(group.key);
    return row === undefined ? undefined : parse<StoredGroup>(row.value);
  }

  /** As it stands with that commit. */
  writeGroup(group: SharedGroup, commit: number, settled: Settled): void {
    this.#groups(group).write(group.key, encode(group.stored(commit)), settled);
  }

  removeGroup(group: SharedGroup): void {
    this.#groups(group).write(group.key, undefined);
  }

  #groups(group: SharedGroup): Table {
    return this.#store.table(ownTable('groups', group.space.instance.id));
  }
}

/** When an offline session ends, or `undefined`: never. */
export function expiryMs(expirySeconds: number, disconnectedMs: number): number | undefined {
  if (expirySeconds === NEVER_EXPIRES) return undefined;
  return disconnectedMs + expirySeconds * 1000;
}

function expiryKey(key: string, atMs: number): string {
  return `${String(Math.floor(atMs / EXPIRY_BUCKET_MS) * EXPIRY_BUCKET_MS)}/${key}`;
}

async function readIds(table: Table, key: string): Promise<number[]> {
  const ids: number[] = [];
  const prefix = `${key}\u0001`;
  for await (const rows of table.scan(prefix)) {
    for (const row of rows) {
      const id = row.key.slice(prefix.length);
      if (/^\d+$/.test(id)) ids.push(Number(id)); // else a client named like a prefix of another
    }
  }
  return ids;
}

function rowKey(key: string, number: number): string {
  return `${key}\u0001${String(number)}`;
}

function encode(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function parse<T>(value: Uint8Array): T {
  return JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString()) as T;
}
