/**
 * A message as its subscribers get it: every layout, read back by `mqtt-packet`.
 *
 * Copies share memory and patch each other's source in place, so all of them are read only after
 * the last one has been made.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { generate, type IPublishPacket, type Packet, parser } from 'mqtt-packet';
import { openLocalBroker } from '../../test/harness/local-broker.ts';
import type { Broker } from './broker.ts';
import { Connection } from './connection.ts';
import { KeptMessage } from './kept-message.ts';
import { layoutOf, Publication } from './publication.ts';
import { TopicEntry } from './topic-cache.ts';
import type { Peer, Transport } from './transport.ts';

type Qos = 0 | 1 | 2;

interface Message {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties: IPublishPacket['properties'];
}

interface Copy {
  readonly version5: boolean;
  readonly qos: Qos;
  readonly packetId: number;
  readonly retain: boolean;
}

let broker: Broker;
const cleanUps: (() => Promise<void>)[] = [];

before(async () => {
  broker = await openLocalBroker({ after: (cleanUp) => void cleanUps.push(cleanUp) });
});
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

/** A connection whose socket keeps what it is given; flushed when it is asked for its bytes. */
class Sink implements Transport {
  readonly peer = { address: 'test' } as Peer;
  readonly bufferedBytes = 0;
  readonly connection: Connection = new Connection(broker, this);
  readonly #sent: Uint8Array[] = [];

  send(pieces: readonly Uint8Array[], count: number): void {
    this.#sent.push(...pieces.slice(0, count).map((piece) => this.#read(piece)));
  }

  /** Where each piece lies; what others write there afterwards is not to matter. */
  readonly places: { readonly memory: ArrayBufferLike; readonly offset: number }[] = [];

  get bytes(): Buffer {
    this.connection.flush();
    return Buffer.concat(this.#sent);
  }

  #read(piece: Uint8Array): Uint8Array {
    this.places.push({ memory: piece.buffer, offset: piece.byteOffset });
    return Buffer.from(piece);
  }

  pause(): void {}
  resume(): void {}
  watchPeer(): void {}
  end(): void {}
  destroy(): void {}
  fail(): void {}
}

function encode(message: Message, version5: boolean, packetId: number, dup = false): Buffer {
  const { topic, payload, qos, retain } = message;
  const packet = { cmd: 'publish', topic, payload, qos, retain, dup, messageId: packetId };
  const properties = version5 ? { properties: message.properties } : {};
  return generate({ ...packet, ...properties } as Packet, { protocolVersion: version5 ? 5 : 4 });
}

function read(bytes: Buffer, version5: boolean): IPublishPacket {
  const packets: Packet[] = [];
  const reader = parser({ protocolVersion: version5 ? 5 : 4 });
  reader.on('packet', (packet: Packet) => void packets.push(packet));
  reader.on('error', (error: Error) => assert.fail(error));
  assert.equal(reader.parse(bytes), 0, 'nothing is left over');
  assert.equal(packets.length, 1);
  assert.equal(packets[0]!.cmd, 'publish');
  return packets[0] as IPublishPacket;
}

function expectCopy(sink: Sink, message: Message, copy: Copy, dup = false): void {
  const expected = encode({ ...message, ...copy }, copy.version5, copy.packetId, dup);
  assert.deepEqual(read(sink.bytes, copy.version5), read(expected, copy.version5));
}

/** Where properties lie in a frame of 5.0: behind their length, before the payload. */
function propertiesOf(frame: Buffer, qos: Qos): { readonly start: number; readonly end: number } {
  let at = 1;
  while (frame[at++]! > 127);
  at += 2 + frame.readUInt16BE(at) + (qos > 0 ? 2 : 0);
  let size = 0;
  for (let place = 1; ; place *= 128) {
    const byte = frame[at++]!;
    size += (byte & 0x7f) * place;
    if (byte < 128) return { start: at, end: at + size };
  }
}

/**
 * Takes a frame in as `receivePublish` does; the frame stands somewhere in a chunk, and the last
 * `missing` bytes of its payload in the next one.
 */
function takeIn(
  publication: Publication,
  message: Message,
  version5: boolean,
  missing = 0,
): Buffer {
  const frame = encode(message, version5, message.qos > 0 ? 0x1234 : 0);
  const before = 13;
  const chunk = Buffer.concat([Buffer.alloc(before, 0xee), frame, Buffer.alloc(9, 0xee)]);
  if (missing > 0) chunk.fill(0xee, before + frame.length - missing);
  publication.begin(message.qos, message.retain);
  const { topic } = message;
  publication.setTopic(new TopicEntry(topic, Buffer.byteLength(topic), 0, 0, undefined));
  publication.payload = chunk;
  publication.payloadEnd = before + frame.length;
  publication.payloadStart = publication.payloadEnd - message.payload.length;
  publication.payloadEnd -= missing;
  if (missing > 0) {
    const bytes = Buffer.concat([Buffer.of(0xee), frame.subarray(-missing), Buffer.of(0xee)]);
    publication.rest = { bytes, start: 1, end: 1 + missing };
  }
  if (version5) {
    const { start, end } = propertiesOf(frame, message.qos);
    publication.properties = chunk;
    publication.propertiesStart = before + start;
    publication.propertiesEnd = before + end;
  }
  return chunk;
}

function allowForwarding(
  publication: Publication,
  chunk: Buffer,
  message: Message,
  version5: boolean,
): void {
  let at = 14;
  while (chunk[at++]! > 127);
  const idOffset = at + 2 + chunk.readUInt16BE(at);
  const layout = layoutOf(version5, message.qos > 0);
  publication.forward(chunk, 13, publication.payloadEnd, layout, idOffset);
}

const anyWord = fc.constantFrom('w', 'word', 'é', 'a/b', '\u{1f600}', 'x'.repeat(130));
const anyMessage: fc.Arbitrary<Message> = fc.record({
  topic: anyWord,
  payload: fc
    .oneof(fc.nat(300), fc.constantFrom(0, 2_047, 2_048, 20_000, 70_000))
    .map((size) => Buffer.alloc(size, 'the payload, byte by byte; ')),
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
  retain: fc.boolean(),
  properties: fc.record(
    {
      payloadFormatIndicator: fc.constant(true),
      messageExpiryInterval: fc.integer({ min: 1, max: 0xffff_ffff }),
      contentType: anyWord,
      responseTopic: fc.constant('answers'),
      correlationData: fc
        .uint8Array({ minLength: 1, maxLength: 200 })
        .map((data) => Buffer.from(data)),
      userProperties: fc.constant({ one: '1', two: '2' }),
    },
    { requiredKeys: [] },
  ),
});

/** Copies for subscribers of both families, at most at the message's QoS. */
function anyCopies(message: Message): fc.Arbitrary<Copy[]> {
  const copy = fc
    .record({
      version5: fc.boolean(),
      qos: fc.constantFrom<Qos>(0, 1, 2).map((qos) => Math.min(qos, message.qos) as Qos),
      id: fc.integer({ min: 1, max: 0xffff }),
      retain: message.retain ? fc.boolean() : fc.constant(false),
    })
    .map(({ id, ...rest }) => ({ ...rest, packetId: rest.qos > 0 ? id : 0 }));
  return fc.array(copy, { minLength: 1, maxLength: 8 });
}

const anyCase = anyMessage.chain((message) =>
  fc.record({
    message: fc.constant(message),
    copies: anyCopies(message),
    from5: fc.boolean(),
    forwarded: fc.boolean(),
    missing: fc.oneof(fc.constant(0), fc.nat(message.payload.length)),
  }),
);

describe('property: one message, any subscribers', () => {
  test('each gets the message in its own layout, forwarded or encoded', () => {
    const publication = new Publication(); // one for all messages, as in the broker
    fc.assert(
      fc.property(anyCase, ({ message, copies, from5, forwarded, missing }) => {
        const chunk = takeIn(publication, message, from5, missing);
        if (forwarded) allowForwarding(publication, chunk, message, from5);
        const told = from5 ? message : { ...message, properties: {} };
        const sizes: number[] = [];
        const sinks = copies.map((copy) => {
          const sink = new Sink();
          const { version5, qos, packetId, retain } = copy;
          const layout = layoutOf(version5, packetId !== 0);
          const size = publication.frameSize(layout);
          publication.copyTo(sink.connection, layout, qos, packetId, retain);
          sizes.push(size);
          return sink;
        });
        const kept = publication.keep();
        for (const [index, sink] of sinks.entries()) {
          expectCopy(sink, told, copies[index]!);
          assert.equal(sink.bytes.length, sizes[index]);
        }
        assert.ok(kept.payload.equals(message.payload));
      }),
      { numRuns: 120 },
    );
  });

  test('copies of its own add identifiers and stand an alias for the topic', () => {
    const publication = new Publication();
    fc.assert(
      fc.property(anyCase, fc.boolean(), ({ message, copies, from5, missing }, aliased) => {
        takeIn(publication, message, from5, missing);
        const told = from5 ? message : { ...message, properties: {} };
        const extra = Buffer.from(
          aliased ? '0b05 0b8001 230007'.replaceAll(' ', '') : '0b05',
          'hex',
        );
        for (const { qos, packetId, retain } of copies) {
          const sink = new Sink();
          const topic = aliased ? Buffer.alloc(0) : publication.topicBytes;
          publication.copyWith(sink.connection, qos, packetId, retain, topic, extra);
          const size = publication.sizeWith(packetId !== 0, topic.length, extra.length);
          assert.equal(sink.bytes.length, size);
          const added = aliased
            ? { subscriptionIdentifier: [5, 128], topicAlias: 7 }
            : { subscriptionIdentifier: 5 };
          const properties = { ...told.properties, ...added } as Message['properties'];
          const expected = { ...told, topic: aliased ? '' : told.topic, properties };
          expectCopy(sink, expected, { version5: true, qos, packetId, retain });
        }
      }),
      { numRuns: 120 },
    );
  });

  test('kept, and loaded again later, it is the same, with what is left of its expiry', () => {
    const publication = new Publication();
    const replayed = new Publication();
    fc.assert(
      fc.property(anyCase, fc.nat(10_000), ({ message, copies, from5, missing }, agoMs) => {
        const chunk = takeIn(publication, message, from5, missing);
        const seconds = from5 ? message.properties?.messageExpiryInterval : undefined;
        publication.acceptedMs = 1_000_000;
        if (seconds !== undefined) publication.expiresMs = 1_000_000 + seconds * 1_000;
        const kept = publication.keep();
        chunk.fill(0xaa); // the chunk goes back to where it came from
        publication.rest?.bytes.fill(0xaa);
        const topicBytes = Buffer.from(kept.topic);

        replayed.load(kept, topicBytes, 1_000_000 + agoMs);
        replayed.dup = true;
        // Begun seconds count, but for the last millisecond.
        const left = seconds && Math.max(0, Math.ceil(seconds - (agoMs + 1) / 1_000));
        const expiry = left === undefined ? {} : { messageExpiryInterval: left };
        const properties = from5 ? { ...message.properties, ...expiry } : {};
        for (const copy of copies) {
          if (copy.qos === 0) continue; // a redelivery has a packet id
          const sink = new Sink();
          const { version5, qos, packetId, retain } = copy;
          replayed.copyTo(sink.connection, layoutOf(version5, true), qos, packetId, retain);
          expectCopy(sink, { ...message, properties }, copy, true);
        }
        assert.equal(replayed.keep(), kept); // and not copied a second time
      }),
      { numRuns: 120 },
    );
  });
});

describe('memory', () => {
  const message: Message = {
    topic: 'a/b',
    payload: Buffer.alloc(5_000, 7),
    qos: 1,
    retain: false,
    properties: {},
  };

  test('a frame that fits is forwarded as it lies in the chunk, its id patched in place', () => {
    const publication = new Publication();
    const chunk = takeIn(publication, message, true);
    allowForwarding(publication, chunk, message, true);
    const sink = new Sink();

    publication.copyTo(sink.connection, layoutOf(true, true), 1, 0x4321, false);

    assert.equal(read(sink.bytes, true).messageId, 0x4321);
    assert.deepEqual(sink.places, [{ memory: chunk.buffer, offset: chunk.byteOffset + 13 }]);
    assert.equal(chunk[12], 0xee);
    assert.equal(chunk.at(-9), 0xee);
  });

  test('a frame that came in two chunks is forwarded as it lies in both', () => {
    const publication = new Publication();
    const chunk = takeIn(publication, message, true, 2_000);
    allowForwarding(publication, chunk, message, true);
    const sink = new Sink();

    publication.copyTo(sink.connection, layoutOf(true, true), 1, 0x4321, false);

    assert.equal(read(sink.bytes, true).messageId, 0x4321);
    const next = publication.rest!.bytes;
    assert.deepEqual(sink.places, [
      { memory: chunk.buffer, offset: chunk.byteOffset + 13 },
      { memory: next.buffer, offset: next.byteOffset + 1 },
    ]);
  });

  test('a second copy has a head of its own and shares a large payload', () => {
    const publication = new Publication();
    const chunk = takeIn(publication, message, true);
    allowForwarding(publication, chunk, message, true);
    const [first, second] = [new Sink(), new Sink()];

    publication.copyTo(first.connection, layoutOf(true, true), 1, 1, false);
    publication.copyTo(second.connection, layoutOf(true, true), 1, 2, false);

    assert.equal(read(first.bytes, true).messageId, 1);
    assert.equal(read(second.bytes, true).messageId, 2);
    assert.equal(second.places.length, 2);
    const payloadOffset = chunk.byteOffset + chunk.length - 9 - 5_000;
    assert.deepEqual(second.places[1], { memory: chunk.buffer, offset: payloadOffset });
  });

  test('copies at QoS 0 are the same bytes for everybody', () => {
    const publication = new Publication();
    takeIn(publication, message, true);
    const sinks = [new Sink(), new Sink()];

    for (const sink of sinks)
      publication.copyTo(sink.connection, layoutOf(false, false), 0, 0, false);

    assert.deepEqual(sinks[0]!.bytes, sinks[1]!.bytes);
    assert.deepEqual(sinks[0]!.places, sinks[1]!.places);
  });

  test('keep() makes one copy however often it is asked', () => {
    const publication = new Publication();
    takeIn(publication, message, true);
    const kept = publication.keep();

    assert.ok(kept instanceof KeptMessage);
    assert.equal(publication.keep(), kept);
    takeIn(publication, message, true);
    assert.notEqual(publication.keep(), kept);
  });
});
