/**
 * MQTT 5.0 packets as bytes, good ones and bad ones.
 *
 * Every builder is made of a few plain parts (`text`, `varint`, `props`, `frame`), so that a
 * test can leave a part out, repeat it or spoil it, and say so in one line.
 */

/** How the value of a property is written. */
export type PropertyKind = 'byte' | 'u16' | 'u32' | 'varint' | 'string' | 'binary' | 'pair';

/** The properties of one packet, by name; keys are written in the order they are given. */
export interface Properties {
  payloadFormat?: number;
  messageExpiry?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  subscriptionIds?: readonly number[];
  sessionExpiry?: number;
  assignedClientId?: string;
  serverKeepAlive?: number;
  authMethod?: string;
  authData?: Uint8Array;
  requestProblem?: number;
  willDelay?: number;
  requestResponse?: number;
  responseInformation?: string;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  maximumQos?: number;
  retainAvailable?: number;
  userProperties?: readonly (readonly [string, string])[];
  maximumPacketSize?: number;
  wildcardAvailable?: number;
  subscriptionIdsAvailable?: number;
  sharedAvailable?: number;
}

/** Identifier and kind of every property of 5.0. */
// biome-ignore format: a table reads in columns
export const PROPERTIES: { readonly [Name in keyof Required<Properties>]: readonly [number, PropertyKind] } = {
  payloadFormat:            [0x01, 'byte'],
  messageExpiry:            [0x02, 'u32'],
  contentType:              [0x03, 'string'],
  responseTopic:            [0x08, 'string'],
  correlationData:          [0x09, 'binary'],
  subscriptionIds:          [0x0b, 'varint'],
  sessionExpiry:            [0x11, 'u32'],
  assignedClientId:         [0x12, 'string'],
  serverKeepAlive:          [0x13, 'u16'],
  authMethod:               [0x15, 'string'],
  authData:                 [0x16, 'binary'],
  requestProblem:           [0x17, 'byte'],
  willDelay:                [0x18, 'u32'],
  requestResponse:          [0x19, 'byte'],
  responseInformation:      [0x1a, 'string'],
  serverReference:          [0x1c, 'string'],
  reasonString:             [0x1f, 'string'],
  receiveMaximum:           [0x21, 'u16'],
  topicAliasMaximum:        [0x22, 'u16'],
  topicAlias:               [0x23, 'u16'],
  maximumQos:               [0x24, 'byte'],
  retainAvailable:          [0x25, 'byte'],
  userProperties:           [0x26, 'pair'],
  maximumPacketSize:        [0x27, 'u32'],
  wildcardAvailable:        [0x28, 'byte'],
  subscriptionIdsAvailable: [0x29, 'byte'],
  sharedAvailable:          [0x2a, 'byte'],
};

export const NO_LOCAL = 0x04;
export const RETAIN_AS_PUBLISHED = 0x08;
export const RETAIN_IF_NEW = 0x10;
export const RETAIN_NEVER = 0x20;

/** The bytes of a list of numbers, strings (bare UTF-8) and byte arrays, joined. */
export function bytes(...parts: readonly (number | string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part as string))),
  );
}

/** A two-byte integer. */
export function u16(value: number): Buffer {
  return Buffer.of((value >> 8) & 0xff, value & 0xff);
}

/** A four-byte integer. */
export function u32(value: number): Buffer {
  const target = Buffer.alloc(4);
  target.writeUInt32BE(value);
  return target;
}

/** A variable byte integer in its shortest form. */
export function varint(value: number): Buffer {
  const digits: number[] = [];
  let rest = value;
  do {
    const digit = rest % 128;
    rest = Math.floor(rest / 128);
    digits.push(rest > 0 ? digit | 0x80 : digit);
  } while (rest > 0);
  return Buffer.from(digits);
}

/** A string or binary field: two bytes of length, then the bytes, valid UTF-8 or not. */
export function text(value: string | Uint8Array): Buffer {
  const body = Buffer.from(value as string);
  return Buffer.concat([u16(body.length), body]);
}

function propertyValue(kind: PropertyKind, value: unknown): Buffer {
  switch (kind) {
    case 'byte':
      return Buffer.of(value as number);
    case 'u16':
      return u16(value as number);
    case 'u32':
      return u32(value as number);
    case 'varint':
      return varint(value as number);
    case 'string':
    case 'binary':
      return text(value as string);
    case 'pair': {
      const [name, content] = value as readonly [string, string];
      return Buffer.concat([text(name), text(content)]);
    }
  }
}

/** Properties without the length in front. */
export function bareProps(properties: Properties): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of Object.entries(properties)) {
    const [id, kind] = PROPERTIES[name as keyof Properties];
    const values: readonly unknown[] =
      kind === 'pair' || kind === 'varint' ? (value as readonly unknown[]) : [value];
    for (const one of values) parts.push(Buffer.of(id), propertyValue(kind, one));
  }
  return Buffer.concat(parts);
}

/** Properties with their length; bytes given instead of names are taken as they are. */
export function props(properties: Properties | Buffer = {}): Buffer {
  const bare = Buffer.isBuffer(properties) ? properties : bareProps(properties);
  return Buffer.concat([varint(bare.length), bare]);
}

/** A whole packet from its first byte and its body. */
export function frame(first: number, ...parts: readonly (number | string | Uint8Array)[]): Buffer {
  const body = bytes(...parts);
  return Buffer.concat([Buffer.of(first), varint(body.length), body]);
}

/** The will inside a CONNECT. */
export interface WillOptions {
  readonly topic: string | Uint8Array;
  readonly payload?: string | Uint8Array;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly properties?: Properties | Buffer;
}

/** What a CONNECT says; `flags`, `payload` and the like overrule what would follow from the rest. */
export interface ConnectOptions {
  readonly clientId?: string | Uint8Array;
  readonly cleanStart?: boolean;
  readonly keepAlive?: number;
  readonly username?: string | Uint8Array;
  readonly password?: string | Uint8Array;
  readonly will?: WillOptions;
  readonly properties?: Properties | Buffer;
  readonly protocolName?: string;
  readonly level?: number;
  readonly flags?: number;
  readonly payload?: Uint8Array;
}

/** A CONNECT. */
export function connectPacket(options: ConnectOptions): Buffer {
  const { will } = options;
  let flags = (options.cleanStart ?? true) ? 0x02 : 0;
  const payload: Buffer[] = [text(options.clientId ?? '')];
  if (will !== undefined) {
    flags |= 0x04 | ((will.qos ?? 0) << 3) | (will.retain === true ? 0x20 : 0);
    payload.push(props(will.properties), text(will.topic), text(will.payload ?? ''));
  }
  if (options.username !== undefined) {
    flags |= 0x80;
    payload.push(text(options.username));
  }
  if (options.password !== undefined) {
    flags |= 0x40;
    payload.push(text(options.password));
  }
  return frame(
    0x10,
    text(options.protocolName ?? 'MQTT'),
    options.level ?? 5,
    options.flags ?? flags,
    u16(options.keepAlive ?? 0),
    props(options.properties),
    options.payload ?? Buffer.concat(payload),
  );
}

/** What a PUBLISH says beside topic and payload. */
export interface PublishOptions {
  readonly qos?: number;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly packetId?: number;
  readonly properties?: Properties | Buffer;
}

/** A PUBLISH; the packet id is written for every QoS above 0. */
export function publishPacket(
  topic: string | Uint8Array,
  payload: string | Uint8Array,
  options: PublishOptions = {},
): Buffer {
  const qos = options.qos ?? 0;
  const first =
    0x30 | (options.dup === true ? 8 : 0) | (qos << 1) | (options.retain === true ? 1 : 0);
  const id = qos > 0 ? u16(options.packetId ?? 0) : Buffer.alloc(0);
  return frame(first, text(topic), id, props(options.properties), payload);
}

/** First bytes of the four acknowledgements. */
export const ACK = { puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70 } as const;

/** An acknowledgement, in the short form when neither reason nor properties are given. */
export function ackPacket(
  kind: keyof typeof ACK,
  packetId: number,
  reason?: number,
  properties?: Properties | Buffer,
): Buffer {
  if (reason === undefined) return frame(ACK[kind], u16(packetId));
  if (properties === undefined) return frame(ACK[kind], u16(packetId), reason);
  return frame(ACK[kind], u16(packetId), reason, props(properties));
}

/** A SUBSCRIBE of filters, each with its options byte. */
export function subscribePacket(
  packetId: number,
  filters: readonly (readonly [string | Uint8Array, number])[],
  properties?: Properties | Buffer,
): Buffer {
  const pairs = filters.map(([filter, options]) => bytes(text(filter), options));
  return frame(0x82, u16(packetId), props(properties), ...pairs);
}

/** An UNSUBSCRIBE of filters. */
export function unsubscribePacket(
  packetId: number,
  filters: readonly (string | Uint8Array)[],
  properties?: Properties | Buffer,
): Buffer {
  return frame(0xa2, u16(packetId), props(properties), ...filters.map(text));
}

/** A DISCONNECT, in the shortest form that says it. */
export function disconnectPacket(reason?: number, properties?: Properties | Buffer): Buffer {
  if (reason === undefined) return frame(0xe0);
  if (properties === undefined) return frame(0xe0, reason);
  return frame(0xe0, reason, props(properties));
}

/** An AUTH. */
export function authPacket(reason: number, properties?: Properties | Buffer): Buffer {
  return frame(0xf0, reason, props(properties));
}

/** A PINGREQ. */
export const PINGREQ: Buffer = frame(0xc0);
