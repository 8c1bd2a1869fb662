/**
 * One group commit being filled: bytes as they will lie in the journal, and beside them who is
 * to be told.
 *
 * A call is serialised straight into the buffer; the lists beside it are reused from batch to
 * batch, so that an append allocates nothing here.
 *
 * @hot
 */
import { crc32 } from 'node:zlib';
import { assert } from '#base';
import type { Appended, LogMessage, Position, Settled } from '#ports';
import {
  aligned,
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  FLAG_QOS_2,
  FLAG_RETAIN,
  type KIND_INSTANCE,
  KIND_MESSAGE,
  KIND_PUT,
  KIND_REMOVE,
  type KIND_TABLE,
  MESSAGE_HEADER_BYTES,
  ROW_HEADER_BYTES,
} from './record.ts';
import type { OverlayRow } from './tables.ts';
import type { TopicTail } from './topic-tail.ts';

const FIRST_BYTES = 64 * 1024;
const LISTS_KEPT = 65_536;

/** What one call was about: a message of a topic, a row, or nothing (a claim that failed). */
export type BatchSubject = TopicTail | OverlayRow | undefined;

export class Batch {
  buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  view: DataView;
  length: number = BATCH_HEADER_BYTES;
  /** Calls taken: the length of the three lists. */
  count = 0;
  subjects: BatchSubject[] = [];
  listeners: (Appended | Settled | undefined)[] = [];
  offsets: number[] = [];
  /** The segment and offset it was handed to. */
  segment = 0;
  offset = 0;

  constructor() {
    this.view = viewOf(this.buffer);
  }

  message(message: LogMessage, position: Position, topic: TopicTail, listener: Appended): void {
    const { payload, payloadStart, payloadEnd, publisher } = message;
    const { properties, propertiesStart, propertiesEnd } = message;
    const payloadBytes = payloadEnd - payloadStart;
    const propertyBytes = propertiesEnd - propertiesStart;
    const start = this.length;
    const bytesMax =
      MESSAGE_HEADER_BYTES +
      topic.bytes.length +
      publisher.length * 3 +
      propertyBytes +
      payloadBytes;
    this.#ensure(bytesMax);
    const { buffer, view } = this;
    let at = start + MESSAGE_HEADER_BYTES;
    buffer.set(topic.bytes, at);
    at += topic.bytes.length;
    const publisherBytes = writeText(buffer, at, publisher);
    assert(publisherBytes <= 0xffff, 'a client identifier fits its two-byte length');
    at += publisherBytes;
    if (propertyBytes > 0) properties.copy(buffer, at, propertiesStart, propertiesEnd);
    at += propertyBytes;
    if (payloadBytes > 0) payload.copy(buffer, at, payloadStart, payloadEnd);
    at = aligned(at + payloadBytes);
    view.setUint32(start, at - start, true);
    view.setUint8(start + 4, KIND_MESSAGE);
    view.setUint8(
      start + 5,
      (message.qos === 2 ? FLAG_QOS_2 : 0) | (message.retain ? FLAG_RETAIN : 0),
    );
    view.setUint16(start + 6, topic.bytes.length, true);
    view.setFloat64(start + 8, position, true);
    view.setUint32(start + 16, topic.log.number, true);
    view.setUint32(start + 20, publisherBytes, true);
    view.setFloat64(start + 24, message.acceptedMs, true);
    view.setFloat64(start + 32, message.expiresMs, true);
    view.setUint32(start + 40, propertyBytes, true);
    view.setUint32(start + 44, payloadBytes, true);
    this.length = at;
    this.#take(topic, listener, start);
  }

  row(row: OverlayRow, listener: Settled | undefined): void {
    const start = this.length;
    const valueBytes = row.value === undefined ? 0 : row.value.length;
    this.#ensure(ROW_HEADER_BYTES + row.key.length * 3 + valueBytes);
    const { buffer, view } = this;
    const keyBytes = writeText(buffer, start + ROW_HEADER_BYTES, row.key);
    assert(keyBytes > 0 && keyBytes <= 0xffff, 'a key is 1 to 65,535 bytes');
    let at = start + ROW_HEADER_BYTES + keyBytes;
    if (row.value !== undefined) buffer.set(row.value, at);
    at = aligned(at + valueBytes);
    view.setUint32(start, at - start, true);
    view.setUint16(start + 4, row.value === undefined ? KIND_REMOVE : KIND_PUT, true);
    view.setUint16(start + 6, keyBytes, true);
    view.setFloat64(start + 8, row.version, true);
    view.setUint32(start + 16, row.table.number, true);
    view.setUint32(start + 20, valueBytes, true);
    this.length = at;
    this.#take(row, listener, start);
  }

  /** Says what a number stands for, ahead of its first use. */
  name(
    kind: typeof KIND_INSTANCE | typeof KIND_TABLE,
    number: number,
    name: string,
    position: Position,
  ): void {
    const start = this.length;
    this.#ensure(ROW_HEADER_BYTES + name.length * 3);
    const { buffer, view } = this;
    const nameBytes = writeText(buffer, start + ROW_HEADER_BYTES, name);
    assert(nameBytes <= 0xffff, 'a name fits its two-byte length');
    const at = aligned(start + ROW_HEADER_BYTES + nameBytes);
    view.setUint32(start, at - start, true);
    view.setUint16(start + 4, kind, true);
    view.setUint16(start + 6, nameBytes, true);
    view.setFloat64(start + 8, position, true);
    view.setUint32(start + 16, number, true);
    view.setUint32(start + 20, 0, true);
    this.length = at;
  }

  /** A call that changes nothing and yet answers in its turn. */
  nothing(listener: Settled): void {
    this.#take(undefined, listener, 0);
  }

  /** Completes the header; the bytes are then ready for the disk. */
  seal(options: {
    readonly salt: number;
    readonly segment: number;
    readonly offset: number;
    readonly number: number;
    readonly position: Position;
  }): void {
    const { buffer, view } = this;
    this.segment = options.segment;
    this.offset = options.offset;
    view.setUint32(0, BATCH_MAGIC, true);
    view.setUint32(4, this.length, true);
    view.setUint32(12, options.segment, true);
    view.setFloat64(16, options.number, true);
    view.setFloat64(24, options.position, true);
    view.setUint32(32, this.count, true);
    view.setUint32(36, 0, true);
    view.setUint32(8, crc32(buffer.subarray(12, this.length), options.salt), true);
  }

  /** Empties it for the next round; a buffer above `bytesKept` is given back. */
  reset(bytesKept: number): void {
    this.length = BATCH_HEADER_BYTES;
    this.count = 0;
    if (this.buffer.length > bytesKept) this.#replace(FIRST_BYTES);
    if (this.listeners.length > LISTS_KEPT) {
      this.subjects = [];
      this.listeners = [];
      this.offsets = [];
    }
  }

  #take(subject: BatchSubject, listener: Appended | Settled | undefined, offset: number): void {
    const index = this.count++;
    this.subjects[index] = subject;
    this.listeners[index] = listener;
    this.offsets[index] = offset;
  }

  #ensure(bytes: number): void {
    const needed = this.length + bytes + 8;
    if (needed <= this.buffer.length) return;
    const old = this.buffer;
    this.#replace(Math.max(needed, old.length * 2));
    old.copy(this.buffer, 0, 0, this.length);
  }

  #replace(bytes: number): void {
    this.buffer = Buffer.allocUnsafeSlow(bytes);
    this.view = viewOf(this.buffer);
  }
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
}

/** Writes `text` as UTF-8; short ASCII, the usual case, without leaving JavaScript. */
function writeText(buffer: Buffer, start: number, text: string): number {
  const { length } = text;
  if (length > 64) return buffer.write(text, start);
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return buffer.write(text, start);
    buffer[start + i] = code;
  }
  return length;
}
