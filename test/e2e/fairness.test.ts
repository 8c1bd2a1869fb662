/**
 * One client that stops reading, and what the others and the broker's memory notice of it.
 *
 * The stalled one is owed far more than sockets hold, so that every bound behind them is met.
 */
import { strict as assert } from 'node:assert';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { brokerNumbers, residentBytes, watchMemory } from '../harness/broker-numbers.ts';
import { type BrokerProcess, startBroker } from '../harness/index.ts';
import { type IncomingPublish, type PeerConnect, SwarmPeer } from '../harness/swarm-peer.ts';
import { until } from '../harness/until.ts';

const MIB = 1024 * 1024;
const BYSTANDERS = 200;
const BIG = Buffer.alloc(16 * 1024, 'x');

interface Reader {
  readonly peer: SwarmPeer;
  readonly seen: IncomingPublish[];
  disconnectReason(): number | undefined;
}

/** A subscriber that acknowledges QoS 1 unless told not to. */
async function reader(
  t: TestContext,
  port: number,
  connect: PeerConnect,
  filter: string,
  qos: number,
  acknowledges = true,
): Promise<Reader> {
  const seen: IncomingPublish[] = [];
  let ready = false;
  let reason: number | undefined;
  const peer: SwarmPeer = new SwarmPeer(port, connect, {
    connack: (_code, present) => {
      if (present) ready = true;
      else peer.subscribe(1, [[filter, qos]]);
    },
    suback: () => {
      ready = true;
    },
    publish: (publish) => {
      seen.push({ ...publish, payload: publish.payload.slice(0, 32).replaceAll('x', '') });
      if (publish.qos === 1 && acknowledges) peer.ack('puback', publish.packetId);
    },
    disconnect: (code) => {
      reason = code;
    },
  });
  t.after(() => peer.drop());
  await until(
    () => ready,
    () => `${connect.clientId} is not subscribed`,
  );
  return { peer, seen, disconnectReason: () => reason };
}

interface Writer {
  /** Publishes `count` messages at QoS 1, so many unacknowledged at most, evenly. */
  pour(topic: string, count: number, body: Buffer, qos?: 0 | 1): Promise<void>;
}

async function writer(t: TestContext, port: number, clientId: string): Promise<Writer> {
  let open = 0;
  let ready = false;
  const peer: SwarmPeer = new SwarmPeer(
    port,
    { clientId, clean: true },
    {
      connack: () => {
        ready = true;
      },
      ack: () => {
        open--;
      },
    },
  );
  t.after(() => peer.drop());
  await until(
    () => ready,
    () => `${clientId} is not connected`,
  );
  return {
    pour: async (topic, count, body, qos = 1) => {
      for (let i = 0; i < count; i++) {
        const text = Buffer.concat([Buffer.from(String(i).padStart(8, '0')), body]);
        await until(
          () => open < 100 && peer.socket.writableLength < MIB,
          () => `${clientId} is not read from: ${open} open`,
          30_000,
          2,
        );
        if (qos === 1) open++;
        peer.publish(topic, text, { qos, packetId: (i % 60_000) + 1 });
        if (i % 20 === 19) await delay(1);
      }
      await until(
        () => open === 0,
        () => `${open} publishes of ${clientId} are not acknowledged`,
        30_000,
      );
    },
  };
}

/** Two hundred others with a steady stream of their own; resolves when each has all of it. */
async function bystanders(t: TestContext, broker: BrokerProcess): Promise<() => Promise<void>> {
  const readers: Reader[] = [];
  for (let i = 0; i < BYSTANDERS; i++) {
    const connect = { clientId: `bystander-${i}`, clean: true };
    readers.push(await reader(t, broker.port, connect, 'steady', i % 2));
  }
  const steady = await writer(t, broker.port, 'steady');
  const count = 500;
  return async () => {
    await steady.pour('steady', count, Buffer.from('steady'));
    await until(
      () => readers.every(({ seen }) => seen.length >= count),
      () => `some miss ${Math.max(...readers.map(({ seen }) => count - seen.length))} messages`,
      30_000,
    );
    for (const { seen } of readers) {
      assert.equal(seen.length, count);
      assert.ok(ascending(seen), 'in order, each once');
    }
  };
}

function ascending(seen: readonly IncomingPublish[]): boolean {
  return seen.every(
    (one, i) =>
      i === 0 || Number(seen[i - 1]!.payload.slice(0, 8)) < Number(one.payload.slice(0, 8)),
  );
}

test('a QoS 0 subscriber that stops reading: the others lose nothing, its drops are counted', async (t) => {
  const broker = await startBroker(t);
  const numbers = await brokerNumbers(t, broker.port);
  const steady = await bystanders(t, broker);
  const stalled = await reader(t, broker.port, { clientId: 'stalled', clean: true }, '#', 0);
  const before = residentBytes(broker.pid);
  const memory = watchMemory(t, broker.pid);
  stalled.peer.socket.pause();

  const flood = await writer(t, broker.port, 'flood');
  await Promise.all([flood.pour('flood', 3_000, BIG), steady()]);

  // Its outbox of 1 MiB, and what parsing and garbage take on the way.
  assert.ok(memory.most() - before < 96 * MIB, `grew by ${(memory.most() - before) / MIB} MiB`);
  const dropped = await numbers.next('droppedQos0SlowSubscriber', (value) => value > 0);
  stalled.peer.socket.resume();
  const later = await writer(t, broker.port, 'later');
  await until(
    async () => {
      await later.pour('last', 1, Buffer.from('last'));
      return stalled.seen.some((one) => one.topic === 'last');
    },
    () => 'it gets nothing any more',
  );
  const flooded = stalled.seen.filter((one) => one.topic === 'flood');
  assert.ok(ascending(flooded), 'what it got is in order');
  const steadily = stalled.seen.filter((one) => one.topic === 'steady').length;
  assert.equal(flooded.length + steadily + dropped, 3_500, 'got and dropped make up all');
});

test('a durable QoS 1 subscriber that stops reading gets everything when it goes on', async (t) => {
  const broker = await startBroker(t);
  const steady = await bystanders(t, broker);
  const connect = { clientId: 'stalled', clean: false };
  const stalled = await reader(t, broker.port, connect, 'flood', 1);
  const before = residentBytes(broker.pid);
  const memory = watchMemory(t, broker.pid);
  stalled.peer.socket.pause();

  const flood = await writer(t, broker.port, 'flood');
  const count = 4_000;
  await Promise.all([flood.pour('flood', count, BIG), steady()]);

  const grown = memory.most() - before;
  // 64 MiB on their way; the log's cache of 64 MiB, its journal's buffers; not a share of the backlog.
  assert.ok(grown < 192 * MIB, `grew by ${grown / MIB} MiB`);
  stalled.peer.socket.resume();
  await until(
    () => stalled.seen.length >= count,
    () => `it has ${stalled.seen.length} of ${count}`,
    30_000,
  );
  assert.equal(stalled.seen.length, count);
  assert.ok(ascending(stalled.seen), 'in order, each once');
  assert.ok(memory.most() - before < 256 * MIB, 'nor while it catches up');
});

for (const version of [4, 5] as const) {
  test(`a transient QoS 1 subscriber that never acknowledges is ended (MQTT ${version === 5 ? '5.0' : '3.1.1'})`, async (t) => {
    const broker = await startBroker(t);
    const numbers = await brokerNumbers(t, broker.port);
    const connect = { clientId: 'silent', clean: true, version };
    const silent = await reader(t, broker.port, connect, 'flood', 1, false);
    const before = residentBytes(broker.pid);
    const memory = watchMemory(t, broker.pid);

    const flood = await writer(t, broker.port, 'flood');
    await flood.pour('flood', 3_000, BIG);

    await until(
      () => silent.peer.isClosed,
      () => 'it is still connected',
    );
    if (version === 5) assert.equal(silent.disconnectReason(), 0x97);
    assert.ok(silent.seen.length >= 1_000, 'its window was used');
    assert.ok(memory.most() - before < 128 * MIB, `grew by ${(memory.most() - before) / MIB} MiB`);
    assert.equal(await numbers.next('slowSubscribersDisconnected'), 1);
  });
}

test('a transient QoS 1 subscriber that stops reading is ended, and the others lose nothing', async (t) => {
  const broker = await startBroker(t);
  const numbers = await brokerNumbers(t, broker.port);
  const steady = await bystanders(t, broker);
  const connect = { clientId: 'stalled', clean: true, version: 5 as const };
  const stalled = await reader(t, broker.port, connect, 'flood', 1);
  const before = residentBytes(broker.pid);
  const memory = watchMemory(t, broker.pid);
  stalled.peer.socket.pause();

  const flood = await writer(t, broker.port, 'flood');
  await Promise.all([flood.pour('flood', 3_000, BIG), steady()]);

  assert.ok(memory.most() - before < 128 * MIB, `grew by ${(memory.most() - before) / MIB} MiB`);
  assert.equal(await numbers.next('slowSubscribersDisconnected', (value) => value > 0), 1);
});
