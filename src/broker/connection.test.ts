/** One client's share: of a turn of the event loop, and of the memory for unfinished packets. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test, type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openLocalBroker, openLocalDoor } from '../../test/harness/local-broker.ts';
import { until } from '../../test/harness/until.ts';
import type { Broker } from './broker.ts';
import type { Endpoint, Peer, Transport } from './transport.ts';

const PINGREQ = Buffer.from('c000', 'hex');
const DISCONNECT = 0xe0;
const QUOTA_EXCEEDED = 0x97;

/** A client whose bytes reach the broker when the test says so, and at once. */
class Line implements Transport {
  readonly peer = { transport: 'tcp', address: '127.0.0.1', port: 1 } as Peer;
  readonly bufferedBytes = 0;
  paused = false;
  closed = false;
  readonly #endpoint: Endpoint;
  #sent: Buffer[] = [];

  constructor(broker: Broker) {
    this.#endpoint = broker.accept(this)!;
  }

  say(...parts: readonly Buffer[]): void {
    for (const part of parts) if (!this.closed) this.#endpoint.data(Buffer.from(part));
  }

  /** A chunk as it is. */
  give(chunk: Buffer): void {
    this.#endpoint.data(chunk);
  }

  send(pieces: readonly Uint8Array[], count: number): void {
    for (let i = 0; i < count; i++) this.#sent.push(Buffer.from(pieces[i]!));
  }

  get heard(): Buffer {
    return Buffer.concat(this.#sent);
  }

  /** The first bytes of what was heard since the last look. */
  async answer(): Promise<number[]> {
    await until(
      () => this.#sent.length > 0 || this.closed,
      () => 'nothing is answered',
    );
    const [type = 0, , flags = 0, reason = 0] = this.heard;
    this.#sent = [];
    return [type, type === DISCONNECT ? flags : reason];
  }

  /** Whether it is still answered. */
  async isServed(): Promise<boolean> {
    this.#sent = [];
    this.say(PINGREQ);
    return (await this.answer())[0] === 0xd0;
  }

  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  watchPeer(): void {}
  end(): void {
    this.destroy();
  }
  destroy(): void {
    this.closed = true;
    process.nextTick(() => this.#endpoint.closed());
  }
  fail(error: unknown): void {
    throw error;
  }
}

function packet(type: number, body: Buffer): Buffer {
  const length: number[] = [];
  for (let size = body.length; ; size >>= 7) {
    length.push(size < 128 ? size : (size & 0x7f) | 0x80);
    if (size < 128) return Buffer.concat([Buffer.of(type, ...length), body]);
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 0xff), bytes]);
}

function connectPacket(clientId: string, password = 0): Buffer {
  const head = Buffer.from('00044d5154540502000000', 'hex');
  if (password === 0) return packet(0x10, Buffer.concat([head, text(clientId)]));
  head[7] = 0x42;
  const secret = text('x'.repeat(password));
  return packet(0x10, Buffer.concat([head, text(clientId), secret]));
}

function publish(topic: string, payload: string | number): Buffer {
  const content = typeof payload === 'number' ? Buffer.alloc(payload) : Buffer.from(payload);
  return packet(0x30, Buffer.concat([text(topic), Buffer.of(0), content]));
}

function subscribe(filter: string): Buffer {
  return packet(0x82, Buffer.concat([Buffer.of(0, 1, 0), text(filter), Buffer.of(0)]));
}

async function openLine(broker: Broker, clientId: string): Promise<Line> {
  const line = new Line(broker);
  line.say(connectPacket(clientId));
  assert.deepEqual(await line.answer(), [0x20, 0]);
  return line;
}

// ---- a share of the turn

const MANY = 20_000;

async function openTalk(t: TestContext) {
  const broker = await openLocalBroker(t, { limits: { turnWorkMax: 4_000 } });
  const talker = await openLine(broker, 'talker');
  const before = broker.metrics.packetsReceived;
  return { broker, talker, handled: () => broker.metrics.packetsReceived - before };
}

test('a chunk with very many packets is handled in shares, in order', async (t) => {
  const { broker, talker, handled } = await openTalk(t);
  const listener = await openLine(broker, 'listener');
  listener.say(subscribe('#'));
  await listener.answer();
  const start = handled();
  const topics = Array.from({ length: MANY }, (_, i) => `topic/${i}`);

  talker.say(Buffer.concat(topics.map((topic) => publish(topic, '!'))));

  let largest = 0;
  for (let seen = start; handled() - start < MANY; ) {
    largest = Math.max(largest, handled() - seen);
    seen = handled();
    await nextTurn();
  }
  assert.ok(largest <= 1_001, `${largest} packets in one turn`);
  await until(
    () => listener.heard.includes(`topic/${MANY - 1}`),
    () => 'the last message did not come',
  );
  assert.deepEqual(listener.heard.toString('latin1').match(/topic\/\d+/g), topics);
  assert.equal(await talker.isServed(), true);
});

test('many chunks in one turn are one share, and then the client is not read', async (t) => {
  const { talker, handled } = await openTalk(t);
  const chunk = Buffer.concat(Array.from({ length: 500 }, () => publish('t', '!')));

  talker.say(chunk, chunk, chunk, chunk, chunk, chunk);

  assert.ok(handled() <= 1_001, `${handled()} packets in one turn`);
  assert.equal(talker.paused, true);
  await until(
    () => handled() === 3_000,
    () => `only ${handled()} packets were handled`,
  );
  await until(
    () => !talker.paused,
    () => 'it is never read again',
  );
});

test('a topic not met before is more work than one that was', async (t) => {
  const { talker, handled } = await openTalk(t);

  talker.say(Buffer.concat(Array.from({ length: 1_000 }, (_, i) => publish(`t/${i}`, '!'))));

  assert.ok(handled() < 500, `${handled()} packets in one turn`);
});

test('a bug met when a held packet is handled ends its connection, and no other', async (t) => {
  const broker = await openLocalBroker(t, { limits: { turnWorkMax: 4 } });
  const { receive } = broker;
  const buggy: typeof receive = (connection, bytes, start, bodyStart, end, rest) => {
    if (bytes.subarray(start, end).includes('bug')) throw new Error('a bug');
    receive(connection, bytes, start, bodyStart, end, rest);
  };
  Object.assign(broker, { receive: buggy });
  const port = await openLocalDoor(t, broker);
  const bystander = await openLine(broker, 'bystander');
  const socket = connect(port, '127.0.0.1');
  t.after(() => void socket.destroy());
  let closed = false;
  socket.on('error', () => {});
  socket.on('close', () => {
    closed = true;
  });
  socket.write(connectPacket('talker'));
  await new Promise((resolve) => socket.once('data', resolve));

  socket.write(Buffer.concat([publish('t', 'one'), publish('t', 'two'), publish('t', 'bug')]));

  await until(
    () => closed,
    () => 'the connection goes on',
  );
  await until(
    () => broker.connections.size === 1,
    () => 'the broker has not let go of it',
  );
  assert.equal(await bystander.isServed(), true);
});

// ---- a share of the memory

const FREE = 1_000;
/** Three quarters of which are for what is copied together. */
const ALL = 28_000;
const SMALL = { partialFreeBytesMax: FREE, partialBytesMax: ALL } as const;
const CONNECTS = { connectPartialFreeBytesMax: FREE, connectPartialBytesMax: ALL } as const;

/** All of it but the last byte, in two chunks: then nothing is left where it came. */
function unfinished(bytes: Buffer): Buffer[] {
  return [bytes.subarray(0, 3), bytes.subarray(3, -1)];
}

async function hoard(broker: Broker, count: number, size: number): Promise<Line[]> {
  const lines: Line[] = [];
  for (let i = 0; i < count; i++) {
    const line = await openLine(broker, `hoarder-${size}-${i}`);
    line.say(...unfinished(publish('t', size)));
    lines.push(line);
  }
  return lines;
}

test('where unfinished packets take all there is, small ones are still taken', async (t) => {
  const broker = await openLocalBroker(t, { limits: SMALL });
  const hoarders = await hoard(broker, 10, 2_090);
  const bystanders = await hoard(broker, 50, FREE - 20);

  assert.ok(hoarders.concat(bystanders).every((line) => !line.closed));
  for (const line of bystanders) {
    line.say(Buffer.of(0)); // the last byte
    assert.equal(await line.isServed(), true);
  }
});

test('where there is no room for a larger one, whoever holds most makes it', async (t) => {
  const broker = await openLocalBroker(t, { limits: SMALL });
  const [most] = await hoard(broker, 1, 9_000);
  const hoarders = await hoard(broker, 4, 2_500);

  const [bystander] = await hoard(broker, 1, 5_000);

  assert.deepEqual(await most!.answer(), [DISCONNECT, QUOTA_EXCEEDED]);
  assert.ok(hoarders.every((line) => !line.closed));
  bystander!.say(Buffer.of(0));
  assert.equal(await bystander!.isServed(), true);
});

test('whoever would hold most is not taken, and leaves nothing behind', async (t) => {
  const broker = await openLocalBroker(t, { limits: SMALL });
  const hoarders = await hoard(broker, 6, 3_000);
  const before = broker.partials.bytes;

  const [greedy] = await hoard(broker, 1, 4_000);

  assert.deepEqual(await greedy!.answer(), [DISCONNECT, QUOTA_EXCEEDED]);
  assert.ok(hoarders.every((line) => !line.closed));
  assert.equal(broker.partials.bytes, before);
  for (const line of hoarders) line.destroy();
  await nextTurn();
  assert.equal(broker.partials.bytes, 0);
});

test('whoever is not admitted costs neither clients nor other newcomers anything', async (t) => {
  const broker = await openLocalBroker(t, { limits: { ...SMALL, ...CONNECTS } });
  const strangers: Line[] = [];
  for (let i = 0; i < 50; i++) {
    const line = new Line(broker);
    line.say(...unfinished(connectPacket(`stranger-${i}`, 1_500 + i)));
    strangers.push(line);
  }

  assert.ok(broker.connectPartials.bytes <= CONNECTS.connectPartialBytesMax);
  const [client] = await hoard(broker, 1, 15_000);
  client!.say(Buffer.of(0));
  assert.equal(await client!.isServed(), true);
  const newcomer = new Line(broker);
  const first = connectPacket('newcomer', 500);
  newcomer.say(...unfinished(first), first.subarray(-1));
  assert.deepEqual(await newcomer.answer(), [0x20, 0]);
  for (const line of strangers) line.destroy();
});

test('what a client says while it is not read holds no more than it says', async (t) => {
  const broker = await openLocalBroker(t);
  const line = new Line(broker);
  const before = heldBytes();
  line.say(connectPacket('byte by byte'));
  assert.ok(line.paused, 'it is not read until it is admitted');

  // Each byte in a block of its own, as when others are read in between.
  for (let at = 0; at < 1000; at++) {
    const block = Buffer.alloc(64 * 1024);
    block[0] = PINGREQ[at % 2]!;
    line.give(block.subarray(0, 1));
  }

  const held = heldBytes() - before;
  assert.ok(held < 4 * 1024 * 1024, `${held} bytes are held`);
  await until(
    () => line.heard.length > 500 * PINGREQ.length,
    () => 'each PINGREQ is answered',
  );
});

/** In buffers, whoever still has them. */
function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  return process.memoryUsage().arrayBuffers;
}
