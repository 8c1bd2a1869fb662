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
import type { OpenDelivery, State } from './inflight.ts';
import type { KeptMessage } from './kept-message.ts';
import type { StoredLeases } from './leases.ts';
import { decodeRetained, encodeRetained } from './retained.ts';
import type { RetainedWalk } from './retained-replay.ts';
import type { Session } from './session.ts';
import type { SharedGroup } from './shared-group.ts';
import { type StoredSubscription, stillOwed } from './subscription.ts';
import { OWN_ROW } from './subscription-pages.ts';

/** Expiries are found by their bucket, so that nothing of them is in memory. */
export const EXPIRY_BUCKET_MS = 10_000;
const NO_BYTES: Buffer = Buffer.alloc(0);
const NO_IDENTIFIERS: Uint8Array = new Uint8Array(0);
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

export interface StoredDelivery extends OpenDelivery {
  /** Set where the message is not in the log: it is kept apart. */
  readonly topic: string | undefined;
  /** A group gave it, which may know better by now whose it is. */
  readonly leased: boolean;
}

export interface StoredCursor {
  readonly next: Position;
  readonly lastId: number;
  readonly deliveries: readonly StoredDelivery[];
  readonly walk: RetainedWalk | undefined;
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
    return this.#store.table(`groups-${group.space.instance.id}`);
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

const CURSOR_HEAD_BYTES = 14;
const DELIVERY_BYTES = 13;
const WALK_HEAD_BYTES = 6;

/**
 * Beside the state in its byte. Rows written before these bits were known have none: what they
 * speak of is sent again with RETAIN 0 and without identifiers, whatever became of it since.
 */
const STATE_BITS = 3;
const RETAIN_BIT = 4;
const IDENTIFIERS_BIT = 8;
const LEASED_BIT = 16;
const IDENTIFIERS_HEAD_BYTES = 4;

/**
 * `next, last id, count, count x (id, state and bits, position, topic size), tails, walk`. A tail
 * is the topic and, where the bit says so, `size, subscription identifiers`.
 */
function encodeCursor(session: Session): Buffer {
  const open = session.inflight.list();
  const { retainedInflight, leases } = session;
  const topics = open.map(({ id }) => {
    const topic = retainedInflight?.get(id);
    return topic === undefined ? NO_BYTES : Buffer.from(topic);
  });
  let deliveryBytes = open.length * DELIVERY_BYTES;
  for (const topic of topics) deliveryBytes += topic.length;
  for (const { identifiers } of open) deliveryBytes += identifiersSize(identifiers);
  const walk = encodeWalk(session.walk);
  const row = Buffer.allocUnsafe(CURSOR_HEAD_BYTES + deliveryBytes + walk.length);
  row.writeDoubleBE(session.reached, 0);
  row.writeUInt16BE(session.inflight.lastId, 8);
  row.writeUInt32BE(open.length, 10);
  let at = CURSOR_HEAD_BYTES;
  let tailAt = CURSOR_HEAD_BYTES + open.length * DELIVERY_BYTES;
  for (const [index, { id, state, position, retain, identifiers }] of open.entries()) {
    const topic = topics[index]!;
    const identified = identifiers.length > 0;
    row.writeUInt16BE(id, at);
    row[at + 2] = state | (retain ? RETAIN_BIT : 0) | (identified ? IDENTIFIERS_BIT : 0);
    if (position > 0 && leases?.has(id) === true) row[at + 2]! |= LEASED_BIT;
    row.writeDoubleBE(position, at + 3);
    row.writeUInt16BE(topic.length, at + 11);
    at += DELIVERY_BYTES;
    row.set(topic, tailAt);
    tailAt += topic.length;
    if (!identified) continue;
    row.writeUInt32BE(identifiers.length, tailAt);
    row.set(identifiers, tailAt + IDENTIFIERS_HEAD_BYTES);
    tailAt += identifiersSize(identifiers);
  }
  walk.copy(row, tailAt);
  return row;
}

function identifiersSize({ length }: Uint8Array): number {
  return length === 0 ? 0 : IDENTIFIERS_HEAD_BYTES + length;
}

/** `number, topic size, topic, filter`; nothing where no walk began. */
function encodeWalk(walk: RetainedWalk | undefined): Buffer {
  if (walk === undefined) return NO_BYTES;
  const topic = Buffer.from(walk.topic);
  const head = Buffer.allocUnsafe(WALK_HEAD_BYTES);
  head.writeUInt32BE(walk.number, 0);
  head.writeUInt16BE(topic.length, 4);
  return Buffer.concat([head, topic, Buffer.from(walk.filter)]);
}

function decodeWalk(row: Buffer): RetainedWalk | undefined {
  if (row.length < WALK_HEAD_BYTES) return undefined;
  const topicEnd = WALK_HEAD_BYTES + row.readUInt16BE(4);
  return {
    number: row.readUInt32BE(0),
    topic: row.toString('utf8', WALK_HEAD_BYTES, topicEnd),
    filter: row.toString('utf8', topicEnd),
  };
}

function decodeCursor(value: Uint8Array): StoredCursor {
  const row = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const count = row.readUInt32BE(10);
  const deliveries: StoredDelivery[] = [];
  let at = CURSOR_HEAD_BYTES;
  let tailAt = CURSOR_HEAD_BYTES + count * DELIVERY_BYTES;
  for (let i = 0; i < count; i++) {
    const bits = row[at + 2]!;
    const topicSize = row.readUInt16BE(at + 11);
    const topic = row.toString('utf8', tailAt, tailAt + topicSize);
    tailAt += topicSize;
    let identifiers = NO_IDENTIFIERS;
    if ((bits & IDENTIFIERS_BIT) !== 0) {
      const start = tailAt + IDENTIFIERS_HEAD_BYTES;
      tailAt = start + row.readUInt32BE(tailAt);
      identifiers = new Uint8Array(row.subarray(start, tailAt)); // outlives the row
    }
    deliveries.push({
      id: row.readUInt16BE(at),
      state: (bits & STATE_BITS) as State,
      position: row.readDoubleBE(at + 3),
      retain: (bits & RETAIN_BIT) !== 0,
      identifiers,
      topic: topicSize === 0 ? undefined : topic,
      leased: (bits & LEASED_BIT) !== 0,
    });
    at += DELIVERY_BYTES;
  }
  const walk = decodeWalk(row.subarray(tailAt));
  return { next: row.readDoubleBE(0), lastId: row.readUInt16BE(8), deliveries, walk };
}
