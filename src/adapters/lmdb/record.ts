/**
 * The journal's bytes, little-endian, everything aligned to eight bytes.
 *
 *   batch    magic u32 | bytes u32 | crc32 u32 | segment u32 | batch number f64 | position f64
 *            | records u32 | - u32 | records
 *   message  bytes u32 | kind u8 | flags u8 | topic u16 | position f64 | instance u32
 *            | publisher u16 | - u16 | accepted f64 | expires f64 | properties u32 | payload u32
 *            | topic, publisher, properties, payload
 *   row      bytes u32 | kind u8 | - u8 | key u16 | position f64 | table u32 | value u32
 *            | key, value
 *   name     bytes u32 | kind u8 | - u8 | name u16 | position f64 | number u32 | - u32 | name
 *
 * The checksum starts from the store's own salt: a payload cannot pretend to be a batch.
 *
 * @hot
 */
import { Slab } from '#base';
import type { LogEntry, Position } from '#ports';
import { own } from '../page.ts';

export const BATCH_MAGIC = 0x54_51_4d_42;
export const BATCH_HEADER_BYTES = 40;
export const MESSAGE_HEADER_BYTES = 48;
export const ROW_HEADER_BYTES = 24;
export const ALIGNMENT = 8;

export const KIND_MESSAGE = 1;
export const KIND_PUT = 2;
export const KIND_REMOVE = 3;
export const KIND_INSTANCE = 4;
export const KIND_TABLE = 5;

export const FLAG_QOS_2 = 1;
export const FLAG_RETAIN = 2;

/** A place in the journal: segment number and offset in one number. */
export type Place = number;

const SEGMENT_SPAN = 4_294_967_296;

export function placeOf(segment: number, offset: number): Place {
  return segment * SEGMENT_SPAN + offset;
}

export function segmentOf(place: Place): number {
  return Math.floor(place / SEGMENT_SPAN);
}

export function offsetOf(place: Place): number {
  return place - Math.floor(place / SEGMENT_SPAN) * SEGMENT_SPAN; // `%` of large numbers is a call
}

export function aligned(bytes: number): number {
  return (bytes + 7) & ~7;
}

/** Payload, topic and properties: what a message counts for in retention and pages. */
export function messageBytes(view: DataView, start: number): number {
  return (
    view.getUint16(start + 6, true) +
    view.getUint32(start + 40, true) +
    view.getUint32(start + 44, true)
  );
}

export function messageTopic(bytes: Buffer, view: DataView, start: number): string {
  const from = start + MESSAGE_HEADER_BYTES;
  return bytes.toString('utf8', from, from + view.getUint16(start + 6, true));
}

/** What readers copy: many small messages share a block, and one that is kept keeps all of it. */
const COPIES = new Slab(8 * 1024);

/** Makes entries of records. Messages of one publisher mostly come in a row: one string serves. */
export class MessageParser {
  #publisher = '';

  /** The message at `start`, its bytes copied [ML13]. */
  parse(bytes: Buffer, view: DataView, start: number, topic: string): LogEntry {
    const flags = view.getUint8(start + 5);
    const publisherStart = start + MESSAGE_HEADER_BYTES + view.getUint16(start + 6, true);
    const propertiesStart = publisherStart + view.getUint16(start + 20, true);
    const propertiesBytes = view.getUint32(start + 40, true);
    const size = propertiesBytes + view.getUint32(start + 44, true);
    if (!isAscii(this.#publisher, bytes, publisherStart, propertiesStart)) {
      this.#publisher = bytes.toString('utf8', publisherStart, propertiesStart);
    }
    const at = COPIES.take(size);
    const { buffer } = COPIES;
    if (size > 0) bytes.copy(buffer, at, propertiesStart, propertiesStart + size);
    return {
      position: view.getFloat64(start + 8, true),
      topic,
      payload: buffer,
      payloadStart: at + propertiesBytes,
      payloadEnd: at + size,
      properties: buffer,
      propertiesStart: at,
      propertiesEnd: at + propertiesBytes,
      qos: (flags & FLAG_QOS_2) === 0 ? 1 : 2,
      retain: (flags & FLAG_RETAIN) !== 0,
      publisher: this.#publisher,
      acceptedMs: view.getFloat64(start + 24, true),
      expiresMs: view.getFloat64(start + 32, true),
    };
  }
}

/** True where these bytes are `text` and all of it is ASCII. */
function isAscii(text: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[start + i]!;
    if (byte > 0x7f || byte !== text.charCodeAt(i)) return false;
  }
  return true;
}

export interface RowRecord {
  readonly table: number;
  readonly key: string;
  readonly value: Uint8Array | undefined;
  readonly version: Position;
}

/** The row at `start`, its value copied. */
export function parseRow(bytes: Buffer, view: DataView, start: number): RowRecord {
  const keyStart = start + ROW_HEADER_BYTES;
  const valueStart = keyStart + view.getUint16(start + 6, true);
  const valueEnd = valueStart + view.getUint32(start + 20, true);
  const removed = view.getUint8(start + 4) === KIND_REMOVE;
  return {
    table: view.getUint32(start + 16, true),
    key: bytes.toString('utf8', keyStart, valueStart),
    value: removed ? undefined : own(bytes.subarray(valueStart, valueEnd)),
    version: view.getFloat64(start + 8, true),
  };
}

export function parseName(
  bytes: Buffer,
  view: DataView,
  start: number,
): { readonly number: number; readonly name: string } {
  const from = start + ROW_HEADER_BYTES;
  return {
    number: view.getUint32(start + 16, true),
    name: bytes.toString('utf8', from, from + view.getUint16(start + 6, true)),
  };
}
