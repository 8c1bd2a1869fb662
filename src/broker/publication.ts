/**
 * The message in hand, on its way from one publisher to its subscribers.
 *
 * The bytes differ between subscribers only by protocol family and by whether a packet id is
 * present: four layouts, each made at most once. Where the frame as it came in already has the
 * layout wanted, it is forwarded as it is, with flags and packet id patched in place; a run of
 * such frames from one publisher to one subscriber leaves as one piece. One object serves all
 * publishes, one after the other; whoever keeps a message longer asks for `keep()`.
 *
 * @hot
 */
import { assert, Slab } from '#base';
import type { LogMessage } from '#ports';
import { type Qos, varintSize, writeVarint } from '#wire';
import type { Connection } from './connection.ts';
import { KeptMessage, shownTopicOf } from './kept-message.ts';
import type { Session } from './session.ts';
import type { TopicEntry } from './topic-cache.ts';

/** Index of a layout: protocol family and packet id. */
export type Layout = 0 | 1 | 2 | 3;
const WITH_ID = 1;
const FAMILY_5 = 2;

const NO_BYTES = Buffer.alloc(0);
const SLAB_BYTES = 64 * 1024;
/** From this payload size on, a copy with its own packet id shares the payload's bytes. */
const SHARED_PAYLOAD_MIN = 2048;

/** A part of a chunk. */
export interface Piece {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

export class Publication {
  topic = '';
  /** What subscribers are told instead of the topic; only of messages from the cloud. */
  shownTopic: string | undefined = undefined;
  payload: Buffer = NO_BYTES;
  payloadStart = 0;
  payloadEnd = 0;
  /** The payload goes on here where it came in two chunks. */
  rest: Piece | undefined = undefined;
  /** 5.0 property bytes without topic alias, to be forwarded as they are. */
  properties: Buffer = NO_BYTES;
  propertiesStart = 0;
  propertiesEnd = 0;
  qos: Qos = 0;
  retain = false;
  /** Sent before on this session: a redelivery. */
  dup = false;
  publisher: Session | undefined = undefined;
  publisherId = '';
  acceptedMs = 0;
  /** Wall clock; 0: never. */
  expiresMs = 0;
  /** Said to be UTF-8 and is not; looked at only on request. */
  payloadInvalid = false;

  #entry: TopicEntry | undefined = undefined;
  #topicBytes: Uint8Array = NO_BYTES;
  #source: Buffer = NO_BYTES;
  #sourceStart = 0;
  #sourceEnd = 0;
  #sourceIdOffset = 0;
  #sourceLayout: Layout | -1 = -1;
  #sourceTaken = false;
  /** A message on its way to one session: a frame made for all would serve one. */
  #forOne = false;
  #kept: KeptMessage | undefined = undefined;
  #made = 0;
  readonly #buffers: [Buffer, Buffer, Buffer, Buffer] = [NO_BYTES, NO_BYTES, NO_BYTES, NO_BYTES];
  readonly #starts: [number, number, number, number] = [0, 0, 0, 0];
  readonly #ends: [number, number, number, number] = [0, 0, 0, 0];
  readonly #idOffsets: [number, number, number, number] = [0, 0, 0, 0];
  readonly #slab = new Slab(SLAB_BYTES);

  /** Begins a new message; the caller then sets topic, payload and properties. */
  begin(qos: Qos, retain: boolean): void {
    this.qos = qos;
    this.retain = retain;
    this.dup = false;
    this.rest = undefined;
    this.shownTopic = undefined;
    this.properties = NO_BYTES;
    this.propertiesStart = 0;
    this.propertiesEnd = 0;
    this.expiresMs = 0;
    this.payloadInvalid = false;
    this.#made = 0;
    this.#kept = undefined;
    this.#sourceLayout = -1;
    this.#forOne = false;
  }

  setTopic(entry: TopicEntry): void {
    this.topic = entry.topic;
    this.#entry = entry;
  }

  get topicBytes(): Uint8Array {
    return this.#entry === undefined ? this.#topicBytes : this.#entry.bytes;
  }

  /**
   * The payload lies in that chunk, as that of the message before it mostly did: what is old and
   * is made to refer to what is young is noted for the collector each time.
   */
  hold(chunk: Buffer): void {
    if (this.payload !== chunk) this.payload = chunk;
  }

  /** The frame as received may be forwarded: it is ours to patch, and has this layout. */
  forward(source: Buffer, start: number, end: number, layout: Layout, idOffset: number): void {
    if (this.#source !== source) this.#source = source;
    this.#sourceStart = start;
    this.#sourceEnd = end;
    this.#sourceLayout = layout;
    this.#sourceIdOffset = idOffset;
    this.#sourceTaken = false;
  }

  /** Begins with a message that was kept, logged or retained; `nowMs` for what is left of it. */
  load(message: LogMessage | KeptMessage, topicBytes: Uint8Array, nowMs: number): void {
    this.begin(message.qos, message.retain);
    this.topic = message.topic;
    this.#entry = undefined;
    this.#topicBytes = topicBytes;
    this.hold(message.payload);
    this.payloadStart = message.payloadStart;
    this.payloadEnd = message.payloadEnd;
    this.properties = message.properties;
    this.propertiesStart = message.propertiesStart;
    this.propertiesEnd = message.propertiesEnd;
    this.publisher = undefined;
    this.publisherId = message.publisher;
    this.shownTopic = shownTopicOf(message.publisher);
    if (this.shownTopic !== undefined) this.#topicBytes = Buffer.from(this.shownTopic);
    this.acceptedMs = message.acceptedMs;
    this.expiresMs = message.expiresMs;
    if (message.expiresMs > 0) {
      this.#countDown(message.expiresMs - nowMs);
    }
    this.#kept = message instanceof KeptMessage ? message : undefined;
    this.#forOne = true;
  }

  /** What is left of the expiry interval is what subscribers are told [MQTT-3.3.2-6]. */
  #countDown(remainingMs: number): void {
    const at = findExpiry(this.propertyBytes);
    if (at < 0) return;
    const copy = Buffer.from(this.propertyBytes);
    // Begun seconds count, but for the millisecond that an interval of 0 is given.
    copy.writeUInt32BE(Math.max(0, Math.ceil((remainingMs - 1) / 1000)), at);
    this.properties = copy;
    this.propertiesStart = 0;
    this.propertiesEnd = copy.length;
  }

  /** An owned copy of the message, made once however often asked for. */
  keep(): KeptMessage {
    this.#kept ??= new KeptMessage(
      this.topic,
      this.topicBytes,
      this.rest === undefined ? Buffer.from(this.payloadBytes) : this.payloadBytes,
      Buffer.from(this.properties.subarray(this.propertiesStart, this.propertiesEnd)),
      this.qos,
      this.retain,
      this.publisherId,
      this.acceptedMs,
      this.expiresMs,
    );
    return this.#kept;
  }

  /** The payload in one piece; valid as long as the chunk. */
  get payloadBytes(): Buffer {
    const first = this.payload.subarray(this.payloadStart, this.payloadEnd);
    const { rest } = this;
    if (rest === undefined) return first;
    return Buffer.concat([first, rest.bytes.subarray(rest.start, rest.end)]);
  }

  /** Copies the payload to `target` from `offset` on; returns the offset after it. */
  copyPayload(target: Buffer, offset: number): number {
    const at = offset + this.payload.copy(target, offset, this.payloadStart, this.payloadEnd);
    const { rest } = this;
    return rest === undefined ? at : at + rest.bytes.copy(target, at, rest.start, rest.end);
  }

  get payloadSize(): number {
    return this.payloadEnd - this.payloadStart + this.#restSize();
  }

  #restSize(): number {
    return this.rest === undefined ? 0 : this.rest.end - this.rest.start;
  }

  get propertyBytes(): Buffer {
    return this.properties.subarray(this.propertiesStart, this.propertiesEnd);
  }

  /** Bytes of the frame in that layout. */
  frameSize(layout: Layout): number {
    this.#prepare(layout);
    const rest = layout === this.#sourceLayout ? this.#restSize() : 0;
    return this.#ends[layout] - this.#starts[layout] + rest;
  }

  /** Hands one subscriber its copy. `packetId` 0: QoS 0. */
  copyTo(
    connection: Connection,
    layout: Layout,
    qos: Qos,
    packetId: number,
    retain: boolean,
  ): void {
    if (this.#forOne && packetId !== 0 && this.payloadSize < SHARED_PAYLOAD_MIN) {
      this.#encodeFor(connection, layout, qos, packetId, retain);
      return;
    }
    this.#prepare(layout);
    this.#copyFrame(connection, layout, qos, packetId, retain);
    const { rest } = this;
    if (rest !== undefined && layout === this.#sourceLayout) {
      connection.appendFrame(rest.bytes, rest.start, rest.end);
    }
  }

  /** The frame as far as it lies in one piece. */
  #copyFrame(
    connection: Connection,
    layout: Layout,
    qos: Qos,
    packetId: number,
    retain: boolean,
  ): void {
    const flags = 0x30 | (qos << 1) | (retain ? 1 : 0) | (this.dup ? 8 : 0);
    const buffer = this.#buffers[layout];
    const start = this.#starts[layout];
    const end = this.#ends[layout];
    if (packetId === 0 && !retain) {
      connection.appendFrame(buffer, start, end);
      return;
    }
    const idOffset = this.#idOffsets[layout];
    if (layout === this.#sourceLayout && !this.#sourceTaken && packetId !== 0) {
      this.#sourceTaken = true;
      patch(buffer, start, flags, idOffset, packetId);
      connection.appendFrame(buffer, start, end);
      return;
    }
    const size = end - start;
    const shared = this.payloadEnd - this.payloadStart;
    const headSize = shared >= SHARED_PAYLOAD_MIN ? size - shared : size;
    const at = connection.reserve(headSize);
    const target = connection.reserved;
    buffer.copy(target, at, start, start + headSize);
    patch(target, at, flags, packetId === 0 ? 0 : at + idOffset - start, packetId);
    connection.append(target, at, at + headSize);
    if (headSize !== size) connection.append(buffer, start + headSize, end);
  }

  /**
   * Hands one subscriber a copy that nobody else gets: `extra` are property bytes of its own
   * (subscription identifiers, topic alias), and an empty `topicBytes` says an alias stands for it.
   */
  copyWith(
    connection: Connection,
    qos: Qos,
    packetId: number,
    retain: boolean,
    topicBytes: Uint8Array,
    extra: Uint8Array,
  ): void {
    const propertiesSize = this.propertiesEnd - this.propertiesStart + extra.length;
    const { payloadSize } = this;
    const bodySize =
      2 +
      topicBytes.length +
      (packetId === 0 ? 0 : 2) +
      varintSize(propertiesSize) +
      propertiesSize +
      payloadSize;
    const headSize = 1 + varintSize(bodySize) + bodySize - payloadSize;
    const start = connection.reserve(headSize);
    const target = connection.reserved;
    let at = start;
    target[at++] = 0x30 | (qos << 1) | (retain ? 1 : 0) | (this.dup ? 8 : 0);
    at = writeVarint(target, at, bodySize);
    at = writeTopic(target, at, topicBytes);
    if (packetId !== 0) {
      target[at++] = packetId >> 8;
      target[at++] = packetId & 0xff;
    }
    at = writeVarint(target, at, propertiesSize);
    target.set(extra, at);
    at += extra.length;
    at += this.properties.copy(target, at, this.propertiesStart, this.propertiesEnd);
    assert(at === start + headSize, 'a frame head has the size computed for it');
    connection.append(target, start, at);
    if (payloadSize > 0) connection.append(this.payload, this.payloadStart, this.payloadEnd);
    const { rest } = this;
    if (rest !== undefined) connection.append(rest.bytes, rest.start, rest.end);
  }

  /** Bytes `copyWith` would send. */
  sizeWith(withId: boolean, topicSize: number, extraSize: number): number {
    const propertiesSize = this.propertiesEnd - this.propertiesStart + extraSize;
    const bodySize =
      2 +
      topicSize +
      (withId ? 2 : 0) +
      varintSize(propertiesSize) +
      propertiesSize +
      this.payloadSize;
    return 1 + varintSize(bodySize) + bodySize;
  }

  #prepare(layout: Layout): void {
    const bit = 1 << layout;
    if ((this.#made & bit) !== 0) return;
    this.#made |= bit;
    if (layout === this.#sourceLayout) {
      if (this.#buffers[layout] !== this.#source) this.#buffers[layout] = this.#source;
      this.#starts[layout] = this.#sourceStart;
      this.#ends[layout] = this.#sourceEnd;
      this.#idOffsets[layout] = this.#sourceIdOffset;
      if ((layout & WITH_ID) === 0) this.#source[this.#sourceStart] = 0x30;
    } else {
      this.#encode(layout);
    }
  }

  /** Makes the frame where one connection sends it from. */
  #encodeFor(
    connection: Connection,
    layout: Layout,
    qos: Qos,
    packetId: number,
    retain: boolean,
  ): void {
    const bodySize = this.#bodySize(layout);
    const size = 1 + varintSize(bodySize) + bodySize;
    const start = connection.reserve(size);
    const target = connection.reserved;
    const idOffset = this.#write(target, start, layout, bodySize);
    const flags = 0x30 | (qos << 1) | (retain ? 1 : 0) | (this.dup ? 8 : 0);
    patch(target, start, flags, idOffset, packetId);
    connection.append(target, start, start + size);
  }

  #encode(layout: Layout): void {
    const bodySize = this.#bodySize(layout);
    const size = 1 + varintSize(bodySize) + bodySize;
    const start = this.#slab.take(size);
    const target = this.#slab.buffer;
    this.#idOffsets[layout] = this.#write(target, start, layout, bodySize);
    this.#buffers[layout] = target;
    this.#starts[layout] = start;
    this.#ends[layout] = start + size;
  }

  #bodySize(layout: Layout): number {
    const propertiesSize = this.propertiesEnd - this.propertiesStart;
    const size = 2 + this.topicBytes.length + this.payloadSize + (layout & WITH_ID) * 2;
    if ((layout & FAMILY_5) === 0) return size;
    return size + varintSize(propertiesSize) + propertiesSize;
  }

  /** Writes the frame at `start`, flags and packet id still to come; returns where the id goes. */
  #write(target: Buffer, start: number, layout: Layout, bodySize: number): number {
    let at = start;
    target[at++] = 0x30;
    at = writeVarint(target, at, bodySize);
    const end = at + bodySize;
    at = writeTopic(target, at, this.topicBytes);
    const idOffset = at;
    if ((layout & WITH_ID) !== 0) at += 2;
    if ((layout & FAMILY_5) !== 0) {
      at = writeVarint(target, at, this.propertiesEnd - this.propertiesStart);
      at += this.properties.copy(target, at, this.propertiesStart, this.propertiesEnd);
    }
    at = this.copyPayload(target, at);
    assert(at === end, 'a frame has the size computed for it');
    return idOffset;
  }
}

/** The layout a connection of that version needs. */
export function layoutOf(version5: boolean, withId: boolean): Layout {
  return ((version5 ? FAMILY_5 : 0) | (withId ? WITH_ID : 0)) as Layout;
}

function writeTopic(target: Buffer, offset: number, topic: Uint8Array): number {
  const size = topic.length;
  target[offset] = size >> 8;
  target[offset + 1] = size & 0xff;
  target.set(topic, offset + 2);
  return offset + 2 + size;
}

function patch(
  target: Buffer,
  start: number,
  flags: number,
  idOffset: number,
  packetId: number,
): void {
  target[start] = flags;
  if (packetId === 0) return;
  target[idOffset] = packetId >> 8;
  target[idOffset + 1] = packetId & 0xff;
}

const MESSAGE_EXPIRY_INTERVAL = 0x02;

/** Offset of the expiry interval's four bytes, or -1. The bytes were validated when they came. */
function findExpiry(properties: Buffer): number {
  let at = 0;
  while (at < properties.length) {
    const id = properties[at]!;
    if (id === MESSAGE_EXPIRY_INTERVAL) return at + 1;
    at++;
    if (id === 0x01) at += 1;
    else if (id === 0x26) {
      at += 2 + properties.readUInt16BE(at);
      at += 2 + properties.readUInt16BE(at);
    } else at += 2 + properties.readUInt16BE(at); // 0x03, 0x08, 0x09: strings and binary data
  }
  return -1;
}
