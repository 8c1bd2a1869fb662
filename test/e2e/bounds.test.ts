/**
 * Every queue has an end: clients that would fill the broker's memory, one kind a test.
 *
 * Memory is compared with the documented bounds, times a generous factor: what is looked for is
 * growth with the attack, not its exact price.
 */
import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { brokerNumbers, residentBytes, watchMemory } from '../harness/broker-numbers.ts';
import { connectBytes, field, packet, sharedBroker, startBroker, u16 } from '../harness/index.ts';
import { peerConnect, peerPublish, peerSubscribe, SwarmPeer } from '../harness/swarm-peer.ts';
import { until } from '../harness/until.ts';
import { connectClient, unique } from '../harness/v5-client.ts';
import { publishPacket } from '../harness/v5-packets.ts';

const MIB = 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
const broker = sharedBroker();

interface RawSocket {
  readonly socket: Socket;
  /** All that came. */
  received(): Buffer;
  isClosed(): boolean;
}

async function openRaw(t: TestContext, port: number): Promise<RawSocket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const chunks: Buffer[] = [];
  let closed = false;
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk));
  socket.on('error', () => undefined);
  socket.on('end', () => {
    closed = true;
  });
  socket.on('close', () => {
    closed = true;
  });
  t.after(() => void socket.destroy());
  await once(socket, 'connect');
  return { socket, received: () => Buffer.concat(chunks), isClosed: () => closed };
}

test('sockets that never say CONNECT are closed, silent ones and slow ones', async (t) => {
  const silent: RawSocket[] = [];
  const slow: RawSocket[] = [];
  for (let i = 0; i < 50; i++) {
    silent.push(await openRaw(t, broker.port));
    slow.push(await openRaw(t, broker.port));
  }
  const bytes = connectBytes({ payload: [field('x'.repeat(200))] });
  let at = 0;
  const trickle = setInterval(() => {
    for (const { socket } of slow) if (socket.writable) socket.write(bytes.subarray(at, at + 1));
    at++;
  }, 200);
  t.after(() => clearInterval(trickle));

  await until(
    () => [...silent, ...slow].every((one) => one.isClosed()),
    () => `${[...silent, ...slow].filter((one) => !one.isClosed()).length} are still open`,
    CONNECT_TIMEOUT_MS * 2,
  );
  assert.ok(at < bytes.length, 'no CONNECT was complete');
  for (const one of [...silent, ...slow]) assert.equal(one.received().length, 0);
});

test('a connected client that never completes a packet is closed by its keep alive', async (t) => {
  const client = await openRaw(t, broker.port);
  client.socket.write(peerConnect({ clientId: unique('c'), clean: true, keepAliveSeconds: 2 }));
  const bytes = peerPublish(4, 'slow', 'x'.repeat(1_000));
  let at = 0;
  const trickle = setInterval(() => {
    if (client.socket.writable) client.socket.write(bytes.subarray(at, at + 1));
    at++;
  }, 100);
  t.after(() => clearInterval(trickle));

  await until(
    () => client.isClosed(),
    () => 'it is still open',
    15_000,
  );
});

test('a flood of CONNECTs: each is accepted or told why not', async (t) => {
  const countMax = 2_000;
  const flooded = await startBroker(t, {
    args: ['--max-connections', String(countMax), '--connect-rate', '2000'],
  });
  const codes = new Map<number, number>();
  const peers: SwarmPeer[] = [];
  t.after(() => {
    for (const peer of peers) peer.drop();
  });
  const count = 2_800;
  let unheard = 0;
  for (let i = 0; i < count; i++) {
    let answered = false;
    const connectOptions = { clientId: `flood-${i}`, clean: true, version: 5 as const };
    peers.push(
      new SwarmPeer(flooded.port, connectOptions, {
        connack: (code) => {
          answered = true;
          codes.set(code, (codes.get(code) ?? 0) + 1);
        },
        close: () => {
          if (!answered) unheard++;
        },
      }),
    );
    if (i % 200 === 199) await delay(1);
  }

  const answers = (): number => [...codes.values()].reduce((sum, one) => sum + one, 0);
  await until(
    () => answers() + unheard === count,
    () => `${answers()} of ${count} answered, ${unheard} closed`,
    30_000,
  );
  assert.equal(unheard, 0, 'closed without a word');
  for (const code of codes.keys()) {
    assert.ok([0, 0x89, 0x97, 0x9f].includes(code), `code 0x${code.toString(16)}`);
  }
  assert.ok(codes.get(0)! <= countMax);
  assert.ok(codes.get(0)! >= countMax / 2, `only ${codes.get(0)} accepted`);
  for (const peer of peers) peer.drop();
  await connectEventually(t, flooded.port);
});

/** Once the flood is over, somebody new is served. */
async function connectEventually(t: TestContext, port: number): Promise<void> {
  await until(
    async () => {
      let code = -1;
      const peer = new SwarmPeer(
        port,
        { clientId: unique('c'), clean: true },
        {
          connack: (one) => {
            code = one;
          },
        },
      );
      t.after(() => peer.drop());
      await until(
        () => code >= 0 || peer.isClosed,
        () => 'no answer',
      );
      return code === 0;
    },
    () => 'nobody new is served',
  );
}

test('large packets that trickle in on many connections: their bytes are bounded', async (t) => {
  const own = await startBroker(t);
  const before = residentBytes(own.pid);
  const memory = watchMemory(t, own.pid);
  const size = 16 * MIB - 100;
  const whole = peerPublish(4, 'large', Buffer.alloc(size, 'x'));
  const clients: RawSocket[] = [];
  for (let i = 0; i < 30; i++) {
    const client = await openRaw(t, own.port);
    client.socket.write(peerConnect({ clientId: `large-${i}`, clean: true }));
    clients.push(client);
  }

  // Nearly all of each packet: 450 MiB in all, where 256 are allowed.
  const step = 512 * 1024;
  for (let at = 0; at < 15 * MIB; at += step) {
    for (const { socket } of clients) {
      if (socket.writable) socket.write(whole.subarray(at, at + step));
    }
    await until(
      () => clients.every(({ socket }) => socket.destroyed || socket.writableLength === 0),
      () => 'the broker does not read',
      20_000,
      2,
    );
  }

  await until(
    () => clients.some((one) => one.isClosed()),
    () => 'all 450 MiB were taken',
  );
  const open = clients.filter((one) => !one.isClosed());
  assert.ok(open.length >= 10, `only ${open.length} were served`);
  assert.ok(memory.most() - before < 768 * MIB, `grew by ${(memory.most() - before) / MIB} MiB`);
  for (const { socket } of clients) socket.resetAndDestroy();
  const client = await connectClient(t, own.port);
  assert.equal(await client.publish('large', Buffer.alloc(size, 'y'), { qos: 1 }), 0x10);
});

test('[MQTT-3.3.4-7] QoS 2 ids that are never released: 5.0 clients are held to the Receive Maximum', async (t) => {
  const client = await connectClient(t, broker.port);
  const most = client.connack!.properties.receiveMaximum!;
  assert.ok(most > 0);
  for (let id = 1; id <= most; id++) {
    client.send(publishPacket('greedy', 'x', { qos: 2, packetId: id }));
  }
  for (let id = 1; id <= most; id++) await client.next('pubrec');

  client.send(publishPacket('greedy', 'x', { qos: 2, packetId: most + 1 }));

  await client.disconnected(0x93);
});

test('QoS 2 ids that are never released: 3.1.1 clients take all there are, and no more', async (t) => {
  const before = residentBytes(broker.process.pid);
  const clientId = unique('c');
  let received = 0;
  const peer: SwarmPeer = new SwarmPeer(
    broker.port,
    { clientId, clean: true },
    {
      connack: () => {
        for (let round = 0; round < 2; round++) {
          for (let id = 1; id <= 65_535; id++) {
            peer.publish('greedy', 'x', { qos: 2, packetId: id, dup: round > 0 });
          }
        }
      },
      ack: (name) => {
        if (name === 'pubrec') received++;
      },
    },
  );
  t.after(() => peer.drop());

  await until(
    () => received === 2 * 65_535,
    () => `${received} PUBRECs`,
    30_000,
  );
  assert.ok(residentBytes(broker.process.pid) - before < 64 * MIB);
});

test('ten thousand subscriptions in one session, and not one more', async (t) => {
  const clientId = unique('c');
  const base = unique('many/');
  const lasting = { clientId, cleanStart: false, properties: { sessionExpiry: 600 } };
  const client = await connectClient(t, broker.port, lasting);
  for (let i = 0; i < 10_000; i += 1_000) {
    const filters = Array.from({ length: 1_000 }, (_, k) => [`${base}/${i + k}/+`, 1] as const);
    const suback = await client.subscribe(filters);
    assert.ok(suback.reasons.every((reason) => reason === 1));
  }

  assert.deepEqual((await client.subscribe(`${base}/more`, 1)).reasons, [0x97]);
  assert.deepEqual((await client.subscribe(`${base}/7/+`, 1)).reasons, [1], 'held already');
  await client.disconnect();
  const sender = await connectClient(t, broker.port);
  for (const i of [0, 5_000, 9_999]) {
    assert.equal(await sender.publish(`${base}/${i}/x`, String(i), { qos: 1 }), 0);
  }
  const again = await connectClient(t, broker.port, lasting);
  for (const i of [0, 5_000, 9_999]) assert.equal((await again.receive()).payload, String(i));
  assert.equal(await sender.publish(`${base}/77/x`, 'live', { qos: 1 }), 0);
  assert.equal((await again.receive()).payload, 'live');
});

/** As many levels as a topic can have: 32,768 names of one letter. */
function deepTopic(prefix: string): string {
  return `${prefix}${'/a'.repeat(Math.floor((65_535 - prefix.length) / 2))}`;
}

test('topics and filters of 32,000 levels work', async (t) => {
  const prefix = unique('deep');
  const topic = deepTopic(prefix);
  const lasting = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 600 } };
  const client = await connectClient(t, broker.port, lasting);
  const plusses = topic.replaceAll('/a', '/+');
  const hash = `${topic.slice(0, -1)}#`;
  const suback = await client.subscribe([
    [topic, 1],
    [plusses, 1],
    [hash, 2],
  ]);
  assert.deepEqual(suback.reasons, [1, 1, 2]);
  const sender = await connectClient(t, broker.port);

  assert.equal(await sender.publish(topic, 'deep', { qos: 1, retain: true }), 0);

  const message = await client.receive();
  assert.deepEqual([message.topic === topic, message.payload], [true, 'deep']);
  await client.disconnect();
  assert.equal(await sender.publish(topic, 'away', { qos: 2 }), 0);
  const again = await connectClient(t, broker.port, lasting);
  assert.equal((await again.receive()).payload, 'away');
  const late = await connectClient(t, broker.port);
  await late.subscribe(plusses, 1);
  assert.equal((await late.receive()).payload, 'deep');
});

test('deep filters cost memory in proportion to their bytes', async (t) => {
  const own = await startBroker(t);
  const before = residentBytes(own.pid);
  const client = await connectClient(t, own.port);
  const count = 60;
  for (let i = 0; i < count; i++) {
    assert.deepEqual((await client.subscribe(deepTopic(`deep${i}`), 0)).reasons, [0]);
  }

  const grown = residentBytes(own.pid) - before;
  // 4 MB of filters; one client may hold 10,000 of them.
  assert.ok(grown < count * 65_535 * 32, `${count} filters of 64 KiB take ${grown / MIB} MiB`);
});

test('subscribing and unsubscribing over and over leaves nothing behind', async (t) => {
  const own = await startBroker(t);
  const client = await connectClient(t, own.port);
  const round = async (name: number): Promise<void> => {
    const filters = Array.from({ length: 1_000 }, (_, i) => `churn/${name}/${i}/+/x`);
    await client.subscribe(filters.map((filter) => [filter, 1] as const));
    await client.unsubscribe(...filters);
  };
  for (let i = 0; i < 20; i++) await round(i);
  const before = residentBytes(own.pid);

  for (let i = 20; i < 150; i++) await round(i);

  // 130,000 filters of some 300 bytes each would be 40 MiB at the very least.
  const grown = residentBytes(own.pid) - before;
  assert.ok(grown < 40 * MIB, `grew by ${grown / MIB} MiB`);
});

test('fifty thousand retained messages reach a client that reads slowly', async (t) => {
  const own = await startBroker(t);
  const count = 50_000;
  await retain(t, own.port, count);
  const before = residentBytes(own.pid);
  const memory = watchMemory(t, own.pid);
  for (const qos of [0, 1]) {
    const topics = new Set<string>();
    let repeated = 0;
    const peer: SwarmPeer = new SwarmPeer(
      own.port,
      { clientId: `slow-${qos}`, clean: true },
      {
        connack: () => peer.subscribe(1, [['#', qos]]),
        publish: ({ topic, packetId }) => {
          if (topics.has(topic)) repeated++;
          topics.add(topic);
          if (qos === 1) peer.ack('puback', packetId);
        },
      },
    );
    t.after(() => peer.drop());
    // Slowly at first: a little, then a pause.
    for (let i = 0; i < 40; i++) {
      peer.socket.pause();
      await delay(25);
      peer.socket.resume();
      await delay(1);
    }
    await until(
      () => topics.size >= count,
      () => `QoS ${qos}: ${topics.size} of ${count} retained messages`,
      30_000,
    );
    assert.equal(repeated, 0);
    peer.drop();
  }
  assert.ok(memory.most() - before < 128 * MIB, `grew by ${(memory.most() - before) / MIB} MiB`);
});

async function retain(t: TestContext, port: number, count: number): Promise<void> {
  let sent = 0;
  let acknowledged = 0;
  const body = 'x'.repeat(200);
  const more = (): void => {
    while (sent < count && sent - acknowledged < 500) {
      const options = { qos: 1, retain: true, packetId: (sent % 60_000) + 1 } as const;
      peer.publish(`kept/${sent % 100}/${sent}`, body, options);
      sent++;
    }
  };
  const peer: SwarmPeer = new SwarmPeer(
    port,
    { clientId: 'keeper', clean: true },
    {
      connack: more,
      ack: () => {
        acknowledged++;
        more();
      },
    },
  );
  t.after(() => peer.drop());
  await until(
    () => acknowledged === count,
    () => `${acknowledged} of ${count} retained`,
    60_000,
  );
}

/** Makes offline sessions that hold one subscription, some hundreds at a time. */
async function makeSleepers(port: number, count: number, filter: string): Promise<void> {
  let next = 0;
  const one = async (): Promise<void> => {
    while (next < count) {
      const clientId = `sleeper-${next++}`;
      // Another address now and then: each has but so many ports.
      const localAddress = `127.0.0.${2 + (next % 100)}`;
      const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
      const hello = peerConnect({ clientId, clean: false });
      socket.write(Buffer.concat([hello, peerSubscribe(4, 1, [[filter, 1]])]));
      let bytes = 0;
      await new Promise<void>((resolve, reject) => {
        socket.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes >= 9) resolve(); // CONNACK and SUBACK
        });
        socket.on('error', reject);
        socket.on('close', () => reject(new Error(`${clientId} was closed`)));
      });
      socket.resetAndDestroy();
    }
  };
  await Promise.all(Array.from({ length: 100 }, one));
}

const SLEEPERS = Number(process.env['SLEEPERS'] ?? 100_000);

test(`a message for ${SLEEPERS} sessions that are offline is one entry of the log`, async (t) => {
  const own = await startBroker(t);
  const numbers = await brokerNumbers(t, own.port);
  const topic = 'sleep/all';
  await makeSleepers(own.port, SLEEPERS, 'sleep/#');
  const messages = await numbers.next('logMessages');
  const bytes = await numbers.next('logBytes');
  const before = residentBytes(own.pid);

  const sender = await connectClient(t, own.port);
  assert.equal(await sender.publish(topic, 'wake up', { qos: 1 }), 0);

  assert.equal(await numbers.next('logMessages'), messages + 1);
  const entry = (await numbers.next('logBytes')) - bytes;
  assert.ok(entry > 0 && entry < 1_024, `${entry} bytes`);
  assert.ok(residentBytes(own.pid) - before < 64 * MIB);
  for (let i = 0; i < SLEEPERS; i += Math.ceil(SLEEPERS / 50)) {
    let got = '';
    let present = false;
    const peer: SwarmPeer = new SwarmPeer(
      own.port,
      { clientId: `sleeper-${i}`, clean: false },
      {
        connack: (_code, sessionPresent) => {
          present = sessionPresent;
        },
        publish: ({ payload, packetId }) => {
          got = payload;
          peer.ack('puback', packetId);
        },
      },
    );
    t.after(() => peer.drop());
    await until(
      () => got !== '',
      () => `sleeper-${i} got nothing`,
    );
    assert.deepEqual([present, got], [true, 'wake up']);
    peer.drop();
  }
});

test('garbage in place of CONNECT is closed at once, and costs nothing', async (t) => {
  const before = residentBytes(broker.process.pid);
  for (let i = 0; i < 300; i++) {
    const raw = await openRaw(t, broker.port);
    raw.socket.write(packet(0x30 + (i % 16), field('no/connect'), u16(i)));
    await until(
      () => raw.isClosed(),
      () => 'still open',
      5_000,
      1,
    );
  }
  assert.ok(residentBytes(broker.process.pid) - before < 32 * MIB);
});
