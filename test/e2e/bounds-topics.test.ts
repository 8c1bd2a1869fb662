/**
 * Every queue has an end: subscriptions, topics, retained messages and sessions in large numbers.
 *
 * Memory is compared with what the attack would leave behind, times a generous factor.
 */
import { strict as assert } from 'node:assert';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { brokerNumbers, residentBytes, watchMemory } from '../harness/broker-numbers.ts';
import { sharedBroker, startBroker } from '../harness/index.ts';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { peerConnect, peerSubscribe, SwarmPeer } from '../harness/swarm-peer.ts';
import { until } from '../harness/until.ts';
import { connectClient, unique } from '../harness/v5-client.ts';
import { publishPacket, subscribePacket } from '../harness/v5-packets.ts';

const MIB = 1024 * 1024;
const broker = sharedBroker();

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

/** A topic of so many levels, each a letter behind the first. */
function deepTopic(first: string, levels = 32_000): string {
  return `${first}${'/a'.repeat(levels - 1)}`;
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

test('the longest topic can be retained', async (t) => {
  const first = unique('long/');
  const topic = first.padEnd(65_535, 'x');
  const sender = await connectClient(t, broker.port);

  assert.equal(await sender.publish(topic, 'kept', { qos: 1, retain: true }), 0);

  const reader = await connectClient(t, broker.port);
  await reader.subscribe(topic, 1);
  const message = await reader.receive();
  assert.deepEqual([message.topic === topic, message.payload], [true, 'kept']);
});

test('deep filters are bounded by their levels, in one session', async (t) => {
  const own = await startBroker(t);
  const before = residentBytes(own.pid);
  const client = await connectClient(t, own.port);
  const count = 60;
  let taken = 0;
  for (let i = 0; i < count; i++) {
    const [reason] = (await client.subscribe(deepTopic(`deep${i}`), 0)).reasons;
    assert.ok(reason === 0 || reason === 0x97, `reason ${reason}`);
    if (reason === 0) taken++;
  }
  assert.ok(taken > 0 && taken < count, `${taken} filters of 32,000 levels were taken`);

  const grown = residentBytes(own.pid) - before;
  assert.ok(grown < 100 * MIB, `${taken} filters of 64 kB take ${grown / MIB} MiB`);
});

test('long filters are bounded by their bytes, in one session', async (t) => {
  const lasting = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const client = await connectClient(t, broker.port, lasting);
  const filters = Array.from({ length: 40 }, (_, i) => `long${i}/`.padEnd(65_000, 'x'));
  let taken = 0;
  for (const filter of filters) {
    const [reason] = (await client.subscribe(filter, 0)).reasons;
    assert.ok(reason === 0 || reason === 0x97, `reason ${reason}`);
    if (reason === 0) taken++;
  }

  assert.equal(taken, Math.floor(MIB / 65_000));
  assert.deepEqual((await client.subscribe(filters[0]!, 1)).reasons, [1], 'held already');
  await client.unsubscribe(filters[0]!);
  assert.deepEqual(
    (await client.subscribe(filters.at(-1)!, 0)).reasons,
    [0],
    'there is room again',
  );
  await client.disconnect();
  const again = await connectClient(t, broker.port, lasting);
  assert.deepEqual((await again.subscribe(filters[0]!, 0)).reasons, [0x97]);
});

test('topics behind the aliases of a client are bounded by their bytes', async (t) => {
  const root = unique('a/');
  const topic = (i: number): string => `${root}/${i}/`.padEnd(65_000, 'x');
  const client = await connectClient(t, broker.port);
  const set = (alias: number, name: string): void => {
    client.send(publishPacket(name, 'x', { properties: { topicAlias: alias } }));
  };

  set(1, topic(1));
  for (let i = 2; i < 64; i++) set(2, topic(i)); // the topic it had before counts no more
  set(2, topic(63));
  set(3, `${root}/short`);
  for (const alias of [1, 2, 3]) set(alias, '');
  await client.idle();

  set(4, topic(64));
  const { reasonString } = (await client.disconnected(0x97)).properties;
  assert.match(String(reasonString), /aliases/);
});

test('the broker gives aliases to no more bytes of topics than it takes', async (t) => {
  const topics = Array.from({ length: 4 }, (_, i) => unique(`a/${i}/`).padEnd(65_000, 'x'));
  const short = unique('a/');
  const client = await connectClient(t, broker.port, { properties: { topicAliasMaximum: 10 } });
  await client.subscribe([...topics, short].map((filter) => [filter, 0] as const));
  const sender = await connectClient(t, broker.port);

  const aliases: (number | undefined)[] = [];
  for (const topic of [...topics, short, ...topics, short]) {
    sender.send(publishPacket(topic, 'x'));
    const message = await client.message();
    assert.equal(message.topic === topic, true);
    aliases.push(message.properties.topicAlias);
  }

  assert.deepEqual(aliases, [1, 2, undefined, undefined, 3, 1, 2, undefined, undefined, 3]);
});

for (const way of ['as they are published', 'from the log', 'retained'] as const) {
  test(`identifiers of open messages are bounded by their bytes, ${way}: the rest waits`, async (t) => {
    const local = await openLocalBroker(t, { limits: { inflightIdentifierBytesMax: 9 } });
    const port = await openLocalDoor(t, local);
    const options = { clientId: 'c', cleanStart: false, properties: { sessionExpiry: 60 } };
    const publisher = await connectClient(t, port);
    const publish = async (): Promise<void> => {
      for (let i = 0; i < 8; i++) {
        await publisher.publish(`i/${i}`, String(i), { qos: 1 + (i % 2), retain: true });
      }
    };
    let client = await connectClient(t, port, options);
    if (way === 'retained') await publish();
    await client.subscribe('i/+', 2, { subscriptionIds: [300] }); // three bytes
    if (way === 'from the log') {
      await client.disconnect();
      await publish();
      client = await connectClient(t, port, options);
    }
    if (way === 'as they are published') await publish();

    const open = [await client.message(), await client.message(), await client.message()];
    await client.idle();
    for (let i = 0; i < 8; i++) {
      const message = open.shift()!;
      assert.deepEqual([message.payload, message.properties.subscriptionIds], [String(i), [300]]);
      await client.settle(message);
      if (i < 5) open.push(await client.message());
      await client.idle();
    }
  });
}

test('subscribing and unsubscribing over and over leaves nothing behind', async (t) => {
  const own = await startBroker(t);
  const client = await connectClient(t, own.port);
  const round = async (name: number): Promise<void> => {
    const filters = Array.from({ length: 1_000 }, (_, i) => `churn/${name}/${i}/+/x`);
    await client.subscribe(filters.map((filter) => [filter, 1] as const));
    await client.unsubscribe(...filters);
  };
  // The heap finds its size first.
  for (let i = 0; i < 250; i++) await round(i);
  const before = residentBytes(own.pid);

  for (let i = 250; i < 500; i++) await round(i);

  // 250,000 filters left behind, of some 500 bytes each, would be over 100 MiB.
  const grown = residentBytes(own.pid) - before;
  assert.ok(grown < 50 * MIB, `grew by ${grown / MIB} MiB`);
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
  // Garbage of some 100 MiB stands before it is collected, whatever is read; the rest is margin.
  assert.ok(memory.most() - before < 192 * MIB, `grew by ${(memory.most() - before) / MIB} MiB`);
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

/** How far the journal is written: a segment has its full length from the start, of zeros. */
async function bytesWritten(directory: string): Promise<number> {
  let count = 0;
  for (const name of await readdir(directory)) {
    const segment = await readFile(join(directory, name));
    count += segment.findLastIndex((byte) => byte !== 0) + 1;
  }
  return count;
}

const SLEEPERS = Number(process.env['SLEEPERS'] ?? 100_000);

test(`a message for ${SLEEPERS} sessions that are offline is one entry of the log`, async (t) => {
  const own = await startBroker(t);
  const numbers = await brokerNumbers(t, own.port);
  const topic = 'sleep/all';
  await makeSleepers(own.port, SLEEPERS, 'sleep/#');
  const [messages, bytes] = await Promise.all([
    numbers.next('logMessages'),
    numbers.next('logBytes'),
  ]);
  const before = residentBytes(own.pid);
  const journal = join(own.dataDirectory, 'journal');
  const writtenBefore = await bytesWritten(journal);

  const sender = await connectClient(t, own.port);
  assert.equal(await sender.publish(topic, 'wake up', { qos: 1 }), 0);

  const [messagesAfter, bytesAfter] = await Promise.all([
    numbers.next('logMessages'),
    numbers.next('logBytes'),
  ]);
  const logged = messagesAfter - messages;
  const entry = bytesAfter - bytes;
  const written = (await bytesWritten(journal)) - writtenBefore;
  const figures = `${logged} message logged, ${entry} bytes; ${written} bytes more on disk`;
  t.diagnostic(`${SLEEPERS} sessions: ${figures}`);
  assert.equal(logged, 1);
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

test('a session that subscribes filter by filter writes its subscriptions now and then, not each time', async (t) => {
  const own = await startBroker(t);
  const properties = { sessionExpiry: 600 };
  const client = await connectClient(t, own.port, { clientId: 'many', properties });
  const count = 4_000;
  const packets = Array.from({ length: count }, (_, index) =>
    subscribePacket(index + 1, [[`building/7/floor/3/room/${index}/temperature`, 1]]),
  );

  client.send(...packets);
  for (let id = 1; id <= count; id++) assert.equal((await client.next('suback')).packetId, id);

  // Written each time they would be 800 MB.
  const segments = await readdir(join(own.dataDirectory, 'journal'));
  assert.equal(segments.length, 1);
  await own.kill();
  await own.restart();
  const back = await connectClient(t, own.port, {
    clientId: 'many',
    cleanStart: false,
    properties,
  });
  const last = `building/7/floor/3/room/${count - 1}/temperature`;
  await back.publish(last, 'hot', { qos: 1 });
  assert.equal((await back.find('publish')).payload, 'hot');
});
