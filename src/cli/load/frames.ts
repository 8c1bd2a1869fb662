/**
 * The few MQTT frames a load generator sends, encoded before they are needed, and the little it
 * must understand of CONNACK. Deliberately not the broker's own codec: a bug there must not
 * cancel out here.
 */
import { assert } from '#base';

export interface ConnectOptions {
  readonly protocol: 4 | 5;
  readonly clientId: string;
  readonly clean: boolean;
  readonly keepAliveSeconds: number;
  /** 5.0 only: before it a session that is not clean has no end. */
  readonly sessionExpirySeconds: number;
  readonly userName: string | undefined;
  readonly password: string | undefined;
}

/** A CONNECT frame. */
export function encodeConnect(options: ConnectOptions): Buffer {
  const flags =
    (options.clean ? 0x02 : 0) |
    (options.userName === undefined ? 0 : 0x80) |
    (options.password === undefined ? 0 : 0x40);
  const properties =
    options.protocol === 4
      ? Buffer.alloc(0)
      : options.sessionExpirySeconds === 0
        ? Buffer.of(0)
        : Buffer.of(5, 0x11, ...uint32(options.sessionExpirySeconds));
  return frame(0x10, [
    text('MQTT'),
    Buffer.of(options.protocol, flags, ...uint16(options.keepAliveSeconds)),
    properties,
    text(options.clientId),
    options.userName === undefined ? Buffer.alloc(0) : text(options.userName),
    options.password === undefined ? Buffer.alloc(0) : text(options.password),
  ]);
}

/** A SUBSCRIBE frame for one filter. */
export function encodeSubscribe(
  protocol: 4 | 5,
  packetId: number,
  filter: string,
  qos: number,
): Buffer {
  return frame(0x82, [
    Buffer.of(...uint16(packetId)),
    Buffer.alloc(protocol === 5 ? 1 : 0),
    text(filter),
    Buffer.of(qos),
  ]);
}

/** A DISCONNECT frame, the same two bytes in every version. */
export function encodeDisconnect(): Buffer {
  return Buffer.of(0xe0, 0);
}

export interface RingOptions {
  readonly protocol: 4 | 5;
  /** Of one encoded length, so that all frames have one size. */
  readonly topics: readonly string[];
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** At least so many frames: a window must fit. */
  readonly countMin: number;
  /** And at least so many bytes, as long as it is only repetition. */
  readonly bytesMin: number;
}

/**
 * PUBLISH frames of one size, one after another, the topics in turn. The frame in slot `i` has
 * packet id `i + 1`, so any run of slots is sent as one slice and nothing is encoded per message.
 */
export interface FrameRing {
  readonly bytes: Buffer;
  readonly frameBytes: number;
  readonly count: number;
}

/** Encodes a ring of PUBLISH frames. */
export function encodeRing(options: RingOptions): FrameRing {
  const { topics, qos } = options;
  const first = encodePublish(options, topics[0]!, qos > 0 ? 1 : 0);
  const rounds = Math.max(
    1,
    Math.ceil(options.countMin / topics.length),
    Math.floor(options.bytesMin / (topics.length * first.length)),
  );
  const count = rounds * topics.length;
  assert(qos === 0 || count < 0x10000, 'packet ids reach for the ring');
  const bytes = Buffer.allocUnsafeSlow(count * first.length);
  for (let slot = 0; slot < count; slot++) {
    const encoded = encodePublish(options, topics[slot % topics.length]!, qos > 0 ? slot + 1 : 0);
    assert(encoded.length === first.length, 'the topics of a ring are of one length');
    encoded.copy(bytes, slot * first.length);
  }
  return { bytes, frameBytes: first.length, count };
}

function encodePublish(options: RingOptions, topic: string, packetId: number): Buffer {
  return frame(0x30 | (options.qos << 1) | (options.retain ? 1 : 0), [
    text(topic),
    options.qos === 0 ? Buffer.alloc(0) : Buffer.of(...uint16(packetId)),
    Buffer.alloc(options.protocol === 5 ? 1 : 0),
    options.payload,
  ]);
}

function frame(first: number, parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  let rest = body.length;
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.of(first, ...length), body]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.of(...uint16(bytes.length)), bytes]);
}

function uint16(value: number): [number, number] {
  return [(value >> 8) & 0xff, value & 0xff];
}

function uint32(value: number): number[] {
  return [...uint16(value >>> 16), ...uint16(value)];
}

/** Bytes of the value of each fixed-size property a CONNACK may carry; the others have a length. */
const CONNACK_SIZES: ReadonlyMap<number, number> = new Map([
  [0x11, 4],
  [0x13, 2],
  [0x21, 2],
  [0x22, 2],
  [0x24, 1],
  [0x25, 1],
  [0x27, 4],
  [0x28, 1],
  [0x29, 1],
  [0x2a, 1],
]);

/** What the server will take unacknowledged: Receive Maximum of a 5.0 CONNACK, or 65,535. */
export function receiveMaximumOf(bytes: Buffer, body: number, end: number): number {
  let at = body + 2;
  if (at >= end) return 0xffff;
  while ((bytes[at]! & 0x80) !== 0) at += 1; // the length of the properties: they fill the frame
  at += 1;
  while (at < end) {
    const property = bytes[at]!;
    if (property === 0x21) return bytes.readUInt16BE(at + 1);
    const size = CONNACK_SIZES.get(property);
    if (size !== undefined) at += 1 + size;
    else if (property === 0x26) {
      const value = at + 3 + bytes.readUInt16BE(at + 1);
      at = value + 2 + bytes.readUInt16BE(value);
    } else at += 3 + bytes.readUInt16BE(at + 1);
  }
  return 0xffff;
}
