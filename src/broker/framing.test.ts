/**
 * A stream of packets means the same however the network cuts it.
 *
 * The same bytes go to two brokers: to one as a whole, to the other in pieces. What comes back,
 * and what another client hears, is the same to the byte.
 */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { generate, type Packet } from 'mqtt-packet';
import { createSeededRandom } from '#base';
import { WAIT_MS_MAX, within } from '../../test/harness/deadline.ts';
import { openLocalBroker } from '../../test/harness/local-broker.ts';
import { connectPair, type PairStream } from '../../test/harness/pair-transport.ts';
import type { Broker } from './broker.ts';

type Version = 3 | 4 | 5;
/** Bytes, or how the stream ends. */
type Bytes = Buffer;

const TOPICS = ['a', 'a/b', '$x/y', 'long/topic/é'];
const PING = Buffer.from('c000', 'hex');
/** Ends of a stream that no broker may take, each on its own. */
const VIOLATIONS = ['0000', '3600', 'c0ffffffff7f', '1000', '32050001610000', '8000', 'f10118'];

function encode(packet: object, version: Version): Bytes {
  return generate(packet as Packet, { protocolVersion: version });
}

function connect(version: Version, clientId: string): Bytes {
  const protocolId = version === 3 ? 'MQIsdp' : 'MQTT';
  return encode(
    { cmd: 'connect', protocolId, protocolVersion: version, clientId, clean: true, keepalive: 0 },
    version,
  );
}

/** A packet a decent client may send at any time. */
function anyPacket(version: Version): fc.Arbitrary<Bytes> {
  const topic = fc.constantFrom(...TOPICS);
  const messageId = fc.integer({ min: 1, max: 5 });
  const qos = fc.constantFrom(0, 1, 2);
  const size = fc.oneof(fc.nat(60), fc.constantFrom(0, 115, 130, 5_000, 17_000));
  const properties = version === 5 ? fc.constantFrom({}, { contentType: 'text' }) : fc.constant({});
  const publish = fc
    .record({ topic, messageId, qos, size, properties, retain: fc.constant(false) })
    .map(({ size: bytes, ...rest }) => ({ ...rest, payload: Buffer.alloc(bytes, 'p') }));
  const subscriptions = fc.array(
    fc.record({ topic: fc.constantFrom(...TOPICS, '#', 'a/+'), qos }),
    {
      minLength: 1,
      maxLength: 3,
    },
  );
  return fc
    .oneof(
      {
        weight: 6,
        arbitrary: publish.map((fields) => ({ cmd: 'publish', dup: false, ...fields })),
      },
      fc.record({ cmd: fc.constant('pubrel'), messageId }),
      fc.record({ cmd: fc.constant('subscribe'), messageId, subscriptions }),
      fc.record({
        cmd: fc.constant('unsubscribe'),
        messageId,
        unsubscriptions: fc.array(topic, { minLength: 1, maxLength: 2 }),
      }),
      fc.constant({ cmd: 'pingreq' }),
    )
    .map((packet) => encode(packet, version));
}

const anyStream = fc.constantFrom<Version>(3, 4, 5).chain((version) =>
  fc.record({
    version: fc.constant(version),
    packets: fc.array(anyPacket(version), { maxLength: 25, size: 'max' }),
    violation: fc.option(fc.constantFrom(...VIOLATIONS), { nil: undefined, freq: 3 }),
  }),
);
type Stream = typeof anyStream extends fc.Arbitrary<infer T> ? T : never;

/** How a stream is cut: sizes of pieces, over and over. */
const anyCuts = fc.oneof(
  fc.constant([1]),
  fc.constant([2, 1]),
  fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 6_000 })), {
    minLength: 1,
    maxLength: 12,
  }),
);

function cut(bytes: Bytes, sizes: readonly number[]): Bytes[] {
  const pieces: Bytes[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

/** All a client gets until the broker closes, or until the stream's last PINGREQ is answered. */
class Ear {
  readonly stream: PairStream;
  #chunks: Bytes[] = [];
  #wake: () => void = () => {};
  #ended = false;

  constructor(broker: Broker) {
    this.stream = connectPair(broker);
    this.stream.on('data', (chunk: Bytes) => {
      this.#chunks.push(chunk);
      this.#wake();
    });
    this.stream.on('error', () => {});
    this.stream.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  get bytes(): Bytes {
    return Buffer.concat(this.#chunks);
  }

  async until(fact: (ear: Ear) => boolean): Promise<void> {
    const held = async (): Promise<void> => {
      while (!this.#ended && !fact(this)) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    };
    await within(WAIT_MS_MAX, held(), () => `heard ${this.bytes.toString('hex').slice(-200)}`);
  }

  /** The frames heard, cut by hand. */
  get frames(): Bytes[] {
    const { bytes } = this;
    const frames: Bytes[] = [];
    for (let start = 0; start < bytes.length; ) {
      let at = start + 1;
      let size = 0;
      for (let place = 1; ; place *= 128) {
        const byte = bytes[at++];
        if (byte === undefined) return frames;
        size += (byte & 0x7f) * place;
        if (byte < 128) break;
      }
      if (at + size > bytes.length) return frames;
      frames.push(bytes.subarray(start, at + size));
      start = at + size;
    }
    return frames;
  }

  pingCount(): number {
    return this.frames.filter((frame) => frame[0] === 0xd0).length;
  }
}

/** What the stream brings about in a fresh broker: frames back, and frames to a bystander. */
async function run(t: TestContext, stream: Stream, sizes: readonly number[]): Promise<object> {
  const broker = await openLocalBroker(t, { random: createSeededRandom(1) });
  const bystander = new Ear(broker);
  bystander.stream.write(connect(stream.version, 'bystander'));
  const everything = [
    { topic: '#', qos: 2 },
    { topic: '$x/#', qos: 1 },
  ];
  const subscribe = { cmd: 'subscribe', messageId: 1, subscriptions: everything };
  bystander.stream.write(encode(subscribe, stream.version));
  await bystander.until((ear) => ear.frames.length >= 2);

  const { packets, violation } = stream;
  const pings = packets.filter((packet) => packet.equals(PING)).length + 1;
  const end = violation === undefined ? PING : Buffer.from(violation, 'hex');
  const bytes = Buffer.concat([connect(stream.version, 'talker'), ...packets, end]);
  const talker = new Ear(broker);
  for (const piece of cut(bytes, sizes)) talker.stream.write(piece);
  await talker.until((ear) => violation === undefined && ear.pingCount() >= pings);
  bystander.stream.write(PING);
  await bystander.until((ear) => ear.pingCount() > 0);

  const result = {
    talker: talker.bytes.toString('hex'),
    bystander: bystander.bytes.toString('hex'),
    violations: broker.metrics.protocolViolations,
    partialBytes: broker.partials.bytes + broker.connectPartials.bytes,
    bugs: broker.metrics.bugs,
  };
  for (const ear of [talker, bystander]) ear.stream.destroy();
  await broker.close();
  await broker.engine.close();
  return result;
}

describe('property: a stream of packets', () => {
  test('whole or byte by byte or cut anywhere, it does the same', async (t) => {
    await fc.assert(
      fc.asyncProperty(anyStream, anyCuts, async (stream, sizes) => {
        const whole = await run(t, stream, [Number.MAX_SAFE_INTEGER]);
        const pieces = await run(t, stream, sizes);
        assert.deepEqual(pieces, whole);
        assert.partialDeepStrictEqual(whole, {
          violations: stream.violation === undefined ? 0 : 1,
          partialBytes: 0,
          bugs: 0,
        });
      }),
      { numRuns: 25 },
    );
  });
});

describe('CONNECT', () => {
  const sizes = [1, 2, 3, 5, 1_000];
  for (const version of [3, 4, 5] as const) {
    test(`version ${version}: is taken whole or in pieces, with what follows it`, async (t) => {
      const broker = await openLocalBroker(t);
      for (const size of sizes) {
        const ear = new Ear(broker);
        const bytes = Buffer.concat([connect(version, `c${size}`), PING, PING]);
        for (const piece of cut(bytes, [size])) ear.stream.write(piece);

        await ear.until((one) => one.pingCount() === 2);
        assert.equal(ear.frames[0]![0], 0x20);
        assert.equal(ear.frames.length, 3);
        ear.stream.destroy();
      }
    });
  }

  test('a first byte that is not CONNECT ends the connection before a second one', async (t) => {
    const broker = await openLocalBroker(t);
    const ear = new Ear(broker);

    ear.stream.write(Buffer.of(0x30));

    await ear.until(() => false); // until it is closed
    assert.equal(ear.bytes.length, 0);
    assert.equal(broker.metrics.protocolViolations, 1);
  });
});

test('a retained message is kept whole, wherever it is cut', async (t) => {
  const broker = await openLocalBroker(t);
  for (const version of [4, 5] as const) {
    const talker = new Ear(broker);
    talker.stream.write(connect(version, 'talker'));
    await talker.until((ear) => ear.frames.length === 1);
    const fields = { cmd: 'publish', topic: 't', payload: 'kept', qos: 0, dup: false };
    const packet = encode({ ...fields, retain: true }, version);
    for (let at = 1; at < packet.length; at++) {
      talker.stream.write(encode({ ...fields, payload: '', retain: true }, version));
      talker.stream.write(packet.subarray(0, at));
      talker.stream.write(packet.subarray(at));
      talker.stream.write(PING);
      await talker.until((ear) => ear.pingCount() === at);

      const late = new Ear(broker);
      late.stream.write(connect(version, 'late'));
      const subscriptions = [{ topic: 't', qos: 0 }];
      late.stream.write(encode({ cmd: 'subscribe', messageId: 1, subscriptions }, version));
      await late.until((ear) => ear.frames.length === 3);
      assert.equal(late.frames[2]!.subarray(-4).toString(), 'kept', `version ${version} at ${at}`);
      late.stream.destroy();
    }
    talker.stream.destroy();
  }
});

test('what was said before a violation, and why it is the end, is sent though the socket is full', async (t) => {
  const broker = await openLocalBroker(t);
  const ear = new Ear(broker);
  ear.stream.write(connect(5, 'c'));
  await ear.until((one) => one.frames.length === 1);
  const subscriptions = [{ topic: 'a', qos: 0 }];

  // Two chunks in one turn: the second is handled before the socket has taken the first answer.
  ear.stream.write(encode({ cmd: 'subscribe', messageId: 9, subscriptions }, 5));
  ear.stream.write(Buffer.from('0000', 'hex'));

  await ear.until(() => false); // until it is closed
  assert.deepEqual(
    ear.frames.slice(1).map((frame) => frame[0]),
    [0x90, 0xe0],
  );
});

test('every packet is counted, also the last one, and the ones that came with it', async (t) => {
  const broker = await openLocalBroker(t);
  const ear = new Ear(broker);

  ear.stream.write(connect(4, 'c'));
  await ear.until((one) => one.frames.length === 1);
  ear.stream.write(Buffer.concat([PING, PING, Buffer.from('e000', 'hex')]));

  await ear.until(() => false); // until it is closed
  assert.equal(ear.pingCount(), 2);
  assert.equal(broker.metrics.packetsReceived, 4);
});

test('a client that does not read gets everything once it does', async (t) => {
  const broker = await openLocalBroker(t, { limits: { outboxBytesHigh: 10_000 } });
  const slow = new Ear(broker);
  slow.stream.write(connect(4, 'slow'));
  const subscriptions = [{ topic: 'a', qos: 1 }];
  slow.stream.write(encode({ cmd: 'subscribe', messageId: 1, subscriptions }, 4));
  await slow.until((ear) => ear.frames.length === 2);
  slow.stream.pause();
  const talker = new Ear(broker);
  talker.stream.write(connect(4, 'talker'));
  const payload = Buffer.alloc(1_000, 'x');
  for (let i = 1; i <= 200; i++) {
    const publish = { cmd: 'publish', topic: 'a', payload, qos: 1, messageId: i, retain: false };
    talker.stream.write(encode({ ...publish, dup: false }, 4));
  }
  await talker.until((ear) => ear.frames.length === 201); // whoever stalls holds nobody up for long

  slow.stream.resume();

  await slow.until((ear) => ear.frames.length === 202);
  const ids = slow.frames.slice(2).map((frame) => frame.readUInt16BE(frame.length - 1_002));
  assert.deepEqual(
    ids,
    Array.from({ length: 200 }, (_, index) => index + 1),
  );
});
