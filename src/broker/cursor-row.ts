/**
 * The row of a session's cursor: how far it is in the log and in the retained messages, and all
 * that is in flight. It is written for every session that got something, once a second or before
 * each QoS 2 message leaves, so it is bytes and not JSON.
 */
import type { Position } from '#ports';
import { NO_IDENTIFIERS, type OpenDelivery, type State } from './inflight.ts';
import type { RetainedWalk } from './retained-replay.ts';
import type { Session } from './session.ts';

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

const NO_BYTES: Buffer = Buffer.alloc(0);
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
export function encodeCursor(session: Session): Buffer {
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

export function decodeCursor(value: Uint8Array): StoredCursor {
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
