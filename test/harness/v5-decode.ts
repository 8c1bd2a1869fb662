/**
 * A stern reader of what a broker sends under MQTT 5.0.
 *
 * It takes nothing on trust: flags, reason codes, which property may stand where, shortest
 * integers, lengths that add up. So every packet any 5.0 test receives is checked against
 * the format as well, not only the packets a test looks at. See `BrokerPacket`.
 */
import { strict as assert } from 'node:assert';

import { PROPERTIES, type Properties, type PropertyKind } from './v5-packets.ts';

/** Packets a broker may send. */
export type PacketType =
  | 'connack'
  | 'publish'
  | 'puback'
  | 'pubrec'
  | 'pubrel'
  | 'pubcomp'
  | 'suback'
  | 'unsuback'
  | 'pingresp'
  | 'disconnect'
  | 'auth';

/** One packet of a broker, flat: fields its type does not have keep their empty value. */
export interface BrokerPacket {
  readonly type: PacketType;
  readonly bytes: Buffer;
  sessionPresent: boolean;
  reason: number;
  reasons: number[];
  packetId: number;
  properties: Properties;
  topic: string;
  payload: string;
  payloadBytes: Buffer;
  qos: number;
  retain: boolean;
  dup: boolean;
}

interface Rule {
  readonly type: PacketType;
  readonly flags: number;
  readonly reasons: readonly number[];
  readonly properties: readonly (keyof Properties)[];
}

const DIAGNOSTIC: readonly (keyof Properties)[] = ['reasonString', 'userProperties'];
const REFUSAL = [0x80, 0x81, 0x82, 0x83];

// Tables 3-1, 3-4 to 3-10 and 2-4 of the standard, the broker's half.
// biome-ignore format: a table reads in columns
const RULES: { readonly [type: number]: Rule } = {
  2: { type: 'connack', flags: 0,
    reasons: [0, ...REFUSAL, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
      0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f],
    properties: [...DIAGNOSTIC, 'sessionExpiry', 'receiveMaximum', 'maximumQos', 'retainAvailable',
      'maximumPacketSize', 'assignedClientId', 'topicAliasMaximum', 'wildcardAvailable',
      'subscriptionIdsAvailable', 'sharedAvailable', 'serverKeepAlive', 'responseInformation',
      'serverReference', 'authMethod', 'authData'] },
  3: { type: 'publish', flags: -1, reasons: [],
    properties: ['payloadFormat', 'messageExpiry', 'topicAlias', 'responseTopic', 'correlationData',
      'userProperties', 'subscriptionIds', 'contentType'] },
  4: { type: 'puback', flags: 0, properties: DIAGNOSTIC,
    reasons: [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] },
  5: { type: 'pubrec', flags: 0, properties: DIAGNOSTIC,
    reasons: [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] },
  6: { type: 'pubrel', flags: 2, properties: DIAGNOSTIC, reasons: [0, 0x92] },
  7: { type: 'pubcomp', flags: 0, properties: DIAGNOSTIC, reasons: [0, 0x92] },
  9: { type: 'suback', flags: 0, properties: DIAGNOSTIC,
    reasons: [0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2] },
  11: { type: 'unsuback', flags: 0, properties: DIAGNOSTIC,
    reasons: [0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91] },
  13: { type: 'pingresp', flags: 0, properties: [], reasons: [] },
  14: { type: 'disconnect', flags: 0, properties: [...DIAGNOSTIC, 'serverReference'],
    reasons: [0, ...REFUSAL, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
      0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2] },
  15: { type: 'auth', flags: 0, properties: [...DIAGNOSTIC, 'authMethod', 'authData'],
    reasons: [0, 0x18] },
};

const NAMES = new Map<number, readonly [keyof Properties, PropertyKind]>(
  Object.entries(PROPERTIES).map(([name, [id, kind]]) => [id, [name as keyof Properties, kind]]),
);
const YES_NO: readonly (keyof Properties)[] = [
  'payloadFormat',
  'maximumQos',
  'retainAvailable',
  'wildcardAvailable',
  'subscriptionIdsAvailable',
  'sharedAvailable',
];
const NEVER_ZERO: readonly (keyof Properties)[] = [
  'topicAlias',
  'receiveMaximum',
  'maximumPacketSize',
];

/** A place in a buffer that moves on as fields are read. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(source: Buffer) {
    this.#bytes = source;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(count: number): Buffer {
    assert.ok(count <= this.left, 'a field lies within its packet');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  number(size: 1 | 2 | 4): number {
    return this.take(size).readUIntBE(0, size);
  }

  binary(): Buffer {
    return this.take(this.number(2));
  }

  string(): string {
    const value = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.binary());
    assert.ok(!value.includes('\0'), '[MQTT-1.5.4-2] a string has no U+0000');
    return value;
  }

  varint(): number {
    let value = 0;
    for (let place = 0; place < 4; place++) {
      const digit = this.number(1);
      value += (digit & 0x7f) * 128 ** place;
      if ((digit & 0x80) === 0) {
        assert.ok(place === 0 || digit !== 0, '[MQTT-1.5.5-1] an integer is as short as possible');
        return value;
      }
    }
    throw new assert.AssertionError({ message: 'a variable integer has four bytes at most' });
  }
}

function readValue(reader: Reader, kind: PropertyKind): unknown {
  switch (kind) {
    case 'byte':
      return reader.number(1);
    case 'u16':
      return reader.number(2);
    case 'u32':
      return reader.number(4);
    case 'varint':
      return reader.varint();
    case 'string':
      return reader.string();
    case 'binary':
      return Buffer.from(reader.binary());
    case 'pair':
      return [reader.string(), reader.string()];
  }
}

function readProperties(reader: Reader, rule: Rule): Properties {
  const inner = new Reader(reader.take(reader.varint()));
  const found: Record<string, unknown> = {};
  while (inner.left > 0) {
    const id = inner.varint();
    const known = NAMES.get(id);
    assert.ok(known !== undefined, `property ${id} exists`);
    const [name, kind] = known;
    assert.ok(rule.properties.includes(name), `${name} may stand in ${rule.type}`);
    const value = readValue(inner, kind);
    if (YES_NO.includes(name)) assert.ok(value === 0 || value === 1, `${name} is 0 or 1`);
    if (NEVER_ZERO.includes(name)) assert.notEqual(value, 0, `${name} is not 0`);
    if (name === 'userProperties' || name === 'subscriptionIds') {
      if (name === 'subscriptionIds') assert.notEqual(value, 0, 'no Subscription Identifier 0');
      found[name] = [...((found[name] as unknown[] | undefined) ?? []), value];
      continue;
    }
    assert.ok(!(name in found), `${name} occurs once`);
    found[name] = value;
  }
  return found as Properties;
}

function readPublish(packet: BrokerPacket, reader: Reader, flags: number, rule: Rule): void {
  packet.qos = (flags >> 1) & 3;
  packet.retain = (flags & 1) === 1;
  packet.dup = (flags & 8) === 8;
  assert.notEqual(packet.qos, 3, '[MQTT-3.3.1-4] no QoS 3');
  if (packet.qos === 0) assert.equal(packet.dup, false, '[MQTT-3.3.1-2] no DUP at QoS 0');
  packet.topic = reader.string();
  assert.ok(!/[+#]/.test(packet.topic), '[MQTT-3.3.2-2] no wildcard in a topic name');
  if (packet.qos > 0) packet.packetId = reader.number(2);
  packet.properties = readProperties(reader, rule);
  packet.payloadBytes = Buffer.from(reader.take(reader.left));
  packet.payload = packet.payloadBytes.toString();
  if (packet.topic === '') assert.ok(packet.properties.topicAlias, '[MQTT-4.7.3-1] topic or alias');
}

function readReason(packet: BrokerPacket, reader: Reader, rule: Rule): void {
  packet.reason = reader.number(1);
  assert.ok(rule.reasons.includes(packet.reason), `${rule.type} may say ${packet.reason}`);
}

function readBody(packet: BrokerPacket, reader: Reader, flags: number, rule: Rule): void {
  switch (rule.type) {
    case 'connack': {
      const present = reader.number(1);
      assert.ok(present <= 1, '[MQTT-3.2.2-1] bits 7 to 1 are 0');
      packet.sessionPresent = present === 1;
      readReason(packet, reader, rule);
      packet.properties = readProperties(reader, rule);
      if (packet.reason !== 0) assert.equal(packet.sessionPresent, false, '[MQTT-3.2.2-6]');
      break;
    }
    case 'publish':
      readPublish(packet, reader, flags, rule);
      break;
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      packet.packetId = reader.number(2);
      if (reader.left > 0) readReason(packet, reader, rule);
      if (reader.left > 0) packet.properties = readProperties(reader, rule);
      break;
    case 'suback':
    case 'unsuback':
      packet.packetId = reader.number(2);
      packet.properties = readProperties(reader, rule); // [MQTT-2.2.2-1]
      assert.ok(reader.left > 0, 'there is a reason code');
      while (reader.left > 0) {
        readReason(packet, reader, rule);
        packet.reasons.push(packet.reason);
      }
      break;
    case 'disconnect':
    case 'auth':
      if (reader.left > 0) readReason(packet, reader, rule);
      if (reader.left > 0) packet.properties = readProperties(reader, rule);
      break;
    case 'pingresp':
      break;
  }
}

/** Reads the packets that are complete in `source` and tells how many bytes they took. */
export function decodeBrokerPackets(source: Buffer): { packets: BrokerPacket[]; taken: number } {
  const packets: BrokerPacket[] = [];
  let taken = 0;
  for (;;) {
    const size = completeSize(source.subarray(taken));
    if (size === undefined) return { packets, taken };
    packets.push(decodeOne(Buffer.from(source.subarray(taken, taken + size))));
    taken += size;
  }
}

/** Size of the first packet, once its last byte is there. */
function completeSize(source: Buffer): number | undefined {
  let rest = 0;
  for (let place = 0; place < 4; place++) {
    const digit = source[place + 1];
    if (digit === undefined) return undefined;
    rest += (digit & 0x7f) * 128 ** place;
    if ((digit & 0x80) === 0) {
      const size = place + 2 + rest;
      return source.length >= size ? size : undefined;
    }
  }
  throw new assert.AssertionError({ message: 'Remaining Length has four bytes at most' });
}

function decodeOne(source: Buffer): BrokerPacket {
  const first = source[0] ?? 0;
  const rule = RULES[first >> 4];
  assert.ok(rule !== undefined, `a broker does not send packet type ${first >> 4}`);
  if (rule.flags >= 0) assert.equal(first & 15, rule.flags, `[MQTT-2.1.3-1] flags: ${rule.type}`);
  const packet: BrokerPacket = {
    type: rule.type,
    bytes: source,
    sessionPresent: false,
    reason: 0,
    reasons: [],
    packetId: 0,
    properties: {},
    topic: '',
    payload: '',
    payloadBytes: Buffer.alloc(0),
    qos: 0,
    retain: false,
    dup: false,
  };
  const reader = new Reader(source.subarray(1));
  reader.varint();
  readBody(packet, reader, first & 15, rule);
  assert.equal(reader.left, 0, `${rule.type} ends with its last field`);
  if (packet.qos > 0) assert.notEqual(packet.packetId, 0, '[MQTT-2.2.1-4] an id is not 0');
  return packet;
}
