/**
 * Hostile bytes for every decoder of `wire`: chance alone, and valid packets with some bytes
 * changed, cut or repeated. A decoder may answer or throw a `Fault`, nothing else, and what
 * stands around its bytes may not matter to it.
 *
 * The seed is printed; `FUZZ_SEED` repeats a run, `FUZZ_ROUNDS` lengthens it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededRandom, Fault } from '#base';
import {
  CONNECT_PROPERTY_DEFAULTS,
  createProxyHeaderReader,
  decodeAck,
  decodeAuth,
  decodeConnack,
  decodeConnect,
  decodeDisconnect,
  decodePublish,
  decodePublishProperties,
  decodeSuback,
  decodeSubscribe,
  decodeUnsuback,
  decodeUnsubscribe,
  encodeAck,
  encodeAuth,
  encodeConnack,
  encodeConnect,
  encodeDisconnect,
  encodePublish,
  encodePublishProperties,
  encodeSuback,
  encodeSubscribe,
  encodeUnsubscribe,
  isTopicName,
  isValidFilter,
  parseShare,
  type ProtocolVersion,
  PublishPropertyView,
  readPublishProperties,
  readVarintSize,
} from '#wire';

const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 0x7fff_ffff);
const ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 3_000);
const random = createSeededRandom(SEED);

type Decoder = (bytes: Buffer, start: number, end: number) => unknown;

const DECODERS: readonly (readonly [name: string, decode: Decoder])[] = [
  ['CONNECT', decodeConnect],
  ['AUTH', (bytes, start, end) => decodeAuth(bytes, start, end)],
  ...([3, 4, 5] as const).flatMap((version): (readonly [string, Decoder])[] => [
    ['SUBSCRIBE', (bytes, start, end) => checkSubscribe(version, bytes, start, end)],
    ['UNSUBSCRIBE', (bytes, start, end) => decodeUnsubscribe(version, bytes, start, end)],
    ['PUBACK', (bytes, start, end) => decodeAck(version, 4, bytes, start, end)],
    ['PUBREL', (bytes, start, end) => decodeAck(version, 6, bytes, start, end)],
    ['DISCONNECT', (bytes, start, end) => decodeDisconnect(version, bytes, start, end)],
    ['CONNACK', (bytes, start, end) => decodeConnack(version, bytes, start, end)],
    ['SUBACK', (bytes, start, end) => decodeSuback(version, bytes, start, end)],
    ['UNSUBACK', (bytes, start, end) => decodeUnsuback(version, bytes, start, end)],
    ['PUBLISH', (bytes, start, end) => decodePublish(version, 0x32, bytes, start, end)],
  ]),
  ['publish properties', checkPublishProperties],
  ['PROXY', (bytes, start, end) => createProxyHeaderReader().read(bytes.subarray(start, end))],
  ['topic name', (bytes, start, end) => isTopicName(bytes, start, end)],
];

test(`hostile bytes earn an answer or a fault (FUZZ_SEED=${SEED})`, (t) => {
  t.diagnostic(`FUZZ_SEED=${SEED} FUZZ_ROUNDS=${ROUNDS}`);
  const samples = validBodies();
  const outcomes = { answered: 0, refused: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const hostile = random.below(4) === 0 ? chance() : mutated(samples);
    const zeros = embedded(hostile, 0x00);
    const ones = embedded(hostile, 0xff);
    for (const [name, decode] of DECODERS) {
      const about = `${name} of ${hostile.toString('hex')}, FUZZ_SEED=${SEED}`;
      const first = outcome(decode, zeros, hostile.length, about);
      const second = outcome(decode, ones, hostile.length, about);
      assert.deepEqual(first, second, `bytes around it matter to ${about}`);
      if (first instanceof Refused) outcomes.refused++;
      else outcomes.answered++;
    }
  }
  // Both ways must have been taken, or the bytes were not hostile, or hopelessly so.
  assert.ok(outcomes.answered > ROUNDS / 10, `answered only ${outcomes.answered}`);
  assert.ok(outcomes.refused > ROUNDS, `refused only ${outcomes.refused}`);
});

class Refused {
  readonly code: string;
  readonly text: string;
  constructor(fault: Fault) {
    this.code = fault.code;
    this.text = fault.message;
  }
}

const MARGIN = 16;

function embedded(body: Buffer, around: number): Buffer {
  const bytes = Buffer.alloc(body.length + 2 * MARGIN, around);
  body.copy(bytes, MARGIN);
  return bytes;
}

function outcome(decode: Decoder, bytes: Buffer, size: number, about: string): unknown {
  const before = Buffer.from(bytes);
  try {
    return decode(bytes, MARGIN, MARGIN + size);
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault but ${error} by ${about}`);
    return new Refused(error);
  } finally {
    assert.ok(before.equals(bytes), `bytes were changed by ${about}`);
  }
}

/** Whatever passes as a filter must also stand the questions asked of filters. */
function checkSubscribe(
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  end: number,
): unknown {
  const packet = decodeSubscribe(version, bytes, start, end);
  for (const { filter, invalid } of packet.subscriptions) {
    const share = parseShare(filter);
    // Before 5.0 a badly written share is a filter like others.
    const isPlain = share === undefined || (share === 'invalid' && version < 5);
    const valid = isPlain ? isValidFilter(filter) : share !== 'invalid';
    assert.equal(valid, !invalid);
  }
  return packet;
}

/** What is taken in place can be decoded by whoever it is forwarded to. */
function checkPublishProperties(bytes: Buffer, start: number, end: number): unknown {
  const view = new PublishPropertyView();
  if (!readPublishProperties(bytes, start, end, view)) return view.faultText;
  const values = decodePublishProperties(bytes.subarray(start, end));
  assert.equal(values.topicAlias ?? 0, view.topicAlias);
  assert.equal(values.messageExpiryInterval ?? -1, view.messageExpiryInterval);
  return values;
}

function chance(): Buffer {
  return Buffer.from(random.bytes(random.below(60)));
}

function mutated(samples: readonly Buffer[]): Buffer {
  let bytes = Buffer.from(samples[random.below(samples.length)]!);
  for (let times = random.below(4); times > 0 && bytes.length > 0; times--) {
    const at = random.below(bytes.length);
    switch (random.below(5)) {
      case 0:
        bytes[at] = random.below(256);
        break;
      case 1:
        bytes[at] = bytes[at]! ^ (1 << random.below(8));
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
        break;
      default:
        bytes = Buffer.concat([bytes, bytes.subarray(at)]);
    }
  }
  return bytes;
}

/** One of each kind, rich in fields, without fixed headers. */
function validBodies(): Buffer[] {
  const explained = { reasonString: 'because', userProperties: [['näme', 'value']] as const };
  const properties = encodePublishProperties({
    payloadFormatIndicator: 1,
    messageExpiryInterval: 60,
    contentType: 'text/plain',
    responseTopic: 'answers/1',
    correlationData: Uint8Array.of(0, 255),
    userProperties: explained.userProperties,
  });
  const aliased = Buffer.concat([properties, Uint8Array.of(0x23, 0, 7)]);
  const bodies: Buffer[] = [properties, aliased];
  bodies.push(Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 4242 1883\r\n'));
  const v2 = '0d0a0d0a000d0a515549540a2111001cc0000201c00002021092075b02000561622e636420000501';
  bodies.push(Buffer.from(`${v2}00000000`, 'hex'));
  const add = (packet: Buffer): number =>
    bodies.push(Buffer.from(packet.subarray(1 + readVarintSize(packet, 1))));
  for (const version of [3, 4, 5] as const) {
    const request = { qos: 1, noLocal: false, retainAsPublished: true, retainHandling: 2 } as const;
    const message = { payload: Buffer.from('{}'), qos: 1, retain: true } as const;
    const will = { topic: 'wills/größe', ...message, willDelayInterval: 5 };
    add(
      encodeConnect({
        protocolVersion: version,
        bridge: false,
        cleanStart: true,
        keepAliveSeconds: 60,
        clientId: 'client-1',
        userName: 'user',
        password: Buffer.from('secret'),
        will: { ...will, publishProperties: properties },
        properties: { ...CONNECT_PROPERTY_DEFAULTS, sessionExpiryInterval: 9, receiveMaximum: 5 },
      }),
    );
    add(
      encodeSubscribe(version, {
        packetId: 1,
        subscriptions: ['a/+/#', '$share/g/a'].map((filter) => {
          return { ...request, filter, invalid: false };
        }),
        subscriptionIdentifier: 300,
        userProperties: explained.userProperties,
      }),
    );
    add(encodeUnsubscribe(version, { packetId: 1, filters: ['a', 'b/#'], userProperties: [] }));
    add(encodePublish(version, { topic: 'a/b', ...message, dup: false, packetId: 7, properties }));
    const answer = { sessionPresent: true, reasonCode: 0 };
    add(
      encodeConnack(version, { ...answer, properties: { ...explained, maximumQos: 1 } }, Infinity),
    );
    add(encodeSuback(version, { packetId: 1, reasonCodes: [0, 1, 0x80], ...explained }, Infinity));
    add(encodeAck(version, 4, { packetId: 1, reasonCode: 0x10, ...explained }, Infinity));
    add(encodeAck(version, 6, { packetId: 1, reasonCode: 0x92, ...explained }, Infinity));
  }
  add(encodeDisconnect({ reasonCode: 4, sessionExpiryInterval: 10, ...explained }, Infinity));
  add(encodeAuth({ reasonCode: 0x18, authenticationMethod: 'm', ...explained }, Infinity));
  return bodies;
}
