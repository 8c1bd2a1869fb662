/** Counting by division must agree with counting one by one, wherever the reads are cut. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededRandom } from '#base';
import { FrameReader } from './frame-reader.ts';
import { encodeConnect, encodeRing, receiveMaximumOf } from './frames.ts';

interface Seen {
  readonly publishes: number;
  readonly frames: readonly string[];
  readonly broken: boolean;
}

function ring(payloadBytes: number, qos: 0 | 1 | 2, count: number, topic = 'a/b'): Buffer {
  return encodeRing({
    protocol: 4,
    topics: [topic],
    payload: Buffer.alloc(payloadBytes, 0x30), // looks like headers all over
    qos,
    retain: false,
    countMin: count,
    bytesMin: 0,
  }).bytes;
}

/** Feeds `bytes` cut where `sizeOf` says, each piece in a buffer that is spoiled afterwards. */
function read(bytes: Buffer, sizeOf: () => number, wantsPayload = false): Seen {
  const frames: string[] = [];
  const sink = {
    frame: (first: number, from: Buffer, body: number, end: number): void => {
      frames.push(`${first} ${from.toString('hex', body, end)}`);
    },
  };
  const reader = new FrameReader(sink, wantsPayload);
  for (let at = 0; at < bytes.length; ) {
    const size = Math.min(sizeOf(), bytes.length - at);
    const shared = Buffer.alloc(size + 16, 0xff);
    bytes.copy(shared, 0, at, at + size);
    reader.feed(shared, size);
    shared.fill(0xee);
    at += size;
  }
  return { publishes: reader.publishes, frames, broken: reader.broken };
}

const PUBACK = Buffer.of(0x40, 2, 0, 9);
const MIXED = Buffer.concat([
  Buffer.of(0x20, 2, 0, 0),
  ring(128, 0, 40),
  PUBACK,
  ring(128, 0, 3),
  ring(128, 0, 5, 'of/another/length'),
  ring(128, 1, 7),
  Buffer.of(0xd0, 0),
  ring(128, 0, 60),
  ring(16_384, 0, 2),
  ring(0, 0, 30),
  PUBACK,
]);
const MIXED_PUBLISHES = 40 + 3 + 5 + 7 + 60 + 2 + 30;

test('however reads are cut, every PUBLISH is counted and every other frame is handed on', () => {
  const whole = read(MIXED, () => MIXED.length);
  assert.equal(whole.publishes, MIXED_PUBLISHES);
  assert.equal(whole.frames.length, 1 + 1 + 7 + 1 + 1);

  assert.deepEqual(
    read(MIXED, () => 1),
    whole,
  );
  for (let seed = 1; seed <= 200; seed++) {
    const random = createSeededRandom(seed);
    const most = 1 + random.below(2000);
    assert.deepEqual(
      read(MIXED, () => 1 + random.below(most)),
      whole,
      `seed ${seed}`,
    );
  }
});

test('a frame that breaks a run of equal frames is found, wherever in the run it is', () => {
  for (let before = 0; before <= 50; before++) {
    const bytes = Buffer.concat([ring(128, 0, 1 + before), PUBACK, ring(128, 0, 51 - before)]);
    const seen = read(bytes, () => bytes.length);
    assert.deepEqual(seen, { publishes: 52, frames: ['64 0009'], broken: false });
  }
});

test('whoever wants payloads is handed every PUBLISH', () => {
  const bytes = ring(8, 0, 20);

  const seen = read(bytes, () => 13, true);

  assert.equal(seen.publishes, 20);
  assert.equal(seen.frames.length, 20);
});

test('a length that never ends is an error, not a wait', () => {
  const seen = read(Buffer.of(0x30, 0x80, 0x80, 0x80, 0x80, 0x01), () => 1);

  assert.equal(seen.broken, true);
});

test('the slots of a ring are its packet ids and its topics take turns', () => {
  const topics = ['t/1', 't/2', 't/3'];
  const payload = Buffer.from('x');
  const made = encodeRing({
    protocol: 5,
    topics,
    payload,
    qos: 1,
    retain: true,
    countMin: 4,
    bytesMin: 0,
  });

  assert.equal(made.count, 6);
  assert.equal(made.bytes.length, made.count * made.frameBytes);
  for (let slot = 0; slot < made.count; slot++) {
    const frame = made.bytes.subarray(slot * made.frameBytes, (slot + 1) * made.frameBytes);
    assert.equal(frame[0], 0x33);
    assert.equal(frame.toString('utf8', 4, 7), topics[slot % 3]);
    assert.equal(frame.readUInt16BE(7), slot + 1);
    assert.equal(frame.toString('hex', 9), '0078');
  }
});

test('Receive Maximum is found among other properties, or is the most there is', () => {
  const properties = Buffer.from('1200036162632600016100016221001427000f4240', 'hex');
  const connack = Buffer.concat([Buffer.of(0, 0, properties.length), properties]);

  assert.equal(receiveMaximumOf(connack, 0, connack.length), 20);
  assert.equal(receiveMaximumOf(Buffer.of(0, 0, 0), 0, 3), 0xffff);
  assert.equal(receiveMaximumOf(Buffer.of(0, 0), 0, 2), 0xffff);
});

test('CONNECT carries the name, the password and the life of the session', () => {
  const bytes = encodeConnect({
    protocol: 5,
    clientId: 'c',
    clean: false,
    keepAliveSeconds: 60,
    sessionExpirySeconds: 3600,
    userName: 'u',
    password: 'p',
  });

  assert.equal(bytes.toString('hex'), '101900044d51545405c0003c051100000e10000163000175000170');
});
