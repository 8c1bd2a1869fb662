/**
 * What survives the end of the process, asked for (SIGTERM) or not (kill -9).
 *
 * Each scene is set up on one broker, which then ends and is started again on the same data;
 * after that every scene says what it finds. Scenes keep apart by the names they use.
 */
import { strict as assert } from 'node:assert';
import { type TestContext, test } from 'node:test';
import { type BrokerProcess, startBroker } from '../harness/index.ts';
import {
  connectClient,
  elapse,
  nothingReaches,
  unique,
  type V5Client,
} from '../harness/v5-client.ts';
import {
  ackPacket,
  type ConnectOptions,
  NO_LOCAL,
  type Properties,
  publishPacket,
  RETAIN_AS_PUBLISHED,
} from '../harness/v5-packets.ts';

type Way = 'SIGTERM' | 'kill -9';
type Verify = (t: TestContext, broker: BrokerProcess) => Promise<void>;

interface Scene {
  readonly name: string;
  readonly prepare: (t: TestContext, broker: BrokerProcess, way: Way) => Promise<Verify>;
}

/** Longer than any expiry that is to run out while the broker is down. */
const DOWN_MS = 3_200;

/** A client of that id with a session that outlives it. */
function lasting(clientId: string, expiry = 3_600, properties: Properties = {}): ConnectOptions {
  return { clientId, cleanStart: false, properties: { sessionExpiry: expiry, ...properties } };
}

/** A session that is offline and holds that filter. */
async function sleeper(
  t: TestContext,
  broker: BrokerProcess,
  filter: string,
  options = 1,
): Promise<string> {
  const clientId = unique('c');
  const client = await connectClient(t, broker.port, lasting(clientId));
  await client.subscribe(filter, options);
  await client.disconnect();
  return clientId;
}

async function resume(
  t: TestContext,
  broker: BrokerProcess,
  clientId: string,
  properties: Properties = {},
): Promise<V5Client> {
  const client = await connectClient(t, broker.port, lasting(clientId, 3_600, properties));
  assert.equal(client.connack?.sessionPresent, true, 'the session is there');
  return client;
}

/** What it gets until a message that was sent last of all; each acknowledged. */
async function receiveAll(
  t: TestContext,
  broker: BrokerProcess,
  client: V5Client,
): Promise<string[]> {
  const topic = unique('fence/');
  await client.subscribe(topic, 1);
  const sender = await connectClient(t, broker.port);
  await sender.publish(topic, 'fence', { qos: 1 });
  const seen: string[] = [];
  for (;;) {
    const packet = await client.next();
    if (packet.type !== 'publish') continue;
    await client.settle(packet);
    if (packet.topic === topic) return seen;
    seen.push(packet.payload);
  }
}

const sessionScenes: readonly Scene[] = [
  {
    name: 'a session whose expiry ran out while the broker was down is over',
    prepare: async (t, broker) => {
      const clientId = unique('c');
      const topic = unique('s/');
      const client = await connectClient(t, broker.port, lasting(clientId, 2));
      await client.subscribe(topic, 1);
      await client.disconnect();
      const sender = await connectClient(t, broker.port);
      await sender.publish(topic, 'old', { qos: 1 });
      return async (t2, after) => {
        const next = await connectClient(t2, after.port, lasting(clientId, 60));
        assert.equal(next.connack?.sessionPresent, false);
        const again = await connectClient(t2, after.port);
        await nothingReaches(next, again);
      };
    },
  },
  {
    name: 'a session whose expiry has not run out goes on, with what came meanwhile',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = await sleeper(t, broker, topic, 2);
      const sender = await connectClient(t, broker.port);
      await sender.publish(topic, 'before', { qos: 2 });
      return async (t2, after) => {
        const again = await connectClient(t2, after.port);
        await again.publish(topic, 'after', { qos: 1 });
        const client = await resume(t2, after, clientId);
        const first = await client.receive();
        const second = await client.receive();
        assert.deepEqual([first.payload, second.payload], ['before', 'after']);
        await nothingReaches(client, again);
      };
    },
  },
  {
    name: 'a session that was online when the process ended goes on',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, lasting(clientId));
      await client.subscribe(topic, 1 | NO_LOCAL | RETAIN_AS_PUBLISHED, { subscriptionIds: [77] });
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        const sender = await connectClient(t2, after.port);
        await again.publish(topic, 'own', { qos: 1 });
        await sender.publish(topic, 'x', { qos: 1, retain: true });
        const message = await again.receive();
        assert.deepEqual(
          [message.payload, message.retain, message.properties.subscriptionIds],
          ['x', true, [77]],
        );
      };
    },
  },
  {
    name: 'an unsubscription that was acknowledged stays',
    prepare: async (t, broker) => {
      const [kept, left] = [unique('s/'), unique('s/')];
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, lasting(clientId));
      await client.subscribe(kept, 1);
      await client.subscribe(left, 1);
      await client.unsubscribe(left);
      return async (t2, after) => {
        const sender = await connectClient(t2, after.port);
        await sender.publish(left, 'left', { qos: 1 });
        await sender.publish(kept, 'kept', { qos: 1 });
        const again = await resume(t2, after, clientId);
        assert.deepEqual(await receiveAll(t2, after, again), ['kept']);
      };
    },
  },
  {
    name: 'a session that was ended by Clean Start does not come back',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = await sleeper(t, broker, topic);
      const fresh = await connectClient(t, broker.port, { clientId, cleanStart: true });
      await fresh.disconnect();
      return async (t2, after) => {
        const client = await connectClient(t2, after.port, lasting(clientId));
        assert.equal(client.connack?.sessionPresent, false);
      };
    },
  },
];

const outgoingScenes: readonly Scene[] = [
  {
    name: 'QoS 1 in flight comes again in order; after SIGTERM with DUP under the same ids',
    prepare: async (t, broker, way) => {
      const topic = unique('s/');
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, lasting(clientId));
      await client.subscribe(topic, 1);
      const sender = await connectClient(t, broker.port);
      const ids: number[] = [];
      for (const text of ['a', 'b', 'c', 'd']) {
        await sender.publish(topic, text, { qos: 1 });
        ids.push((await client.message()).packetId);
      }
      client.ack('puback', ids[1]!); // out of turn: the others stay open
      await client.idle();
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        if (way === 'SIGTERM') {
          for (const [text, id] of [
            ['a', ids[0]],
            ['c', ids[2]],
            ['d', ids[3]],
          ]) {
            const packet = await again.receive();
            assert.deepEqual([packet.payload, packet.packetId, packet.dup], [text, id, true]);
          }
        }
        const seen = await receiveAll(t2, after, again);
        if (way === 'SIGTERM') assert.deepEqual(seen, []);
        else
          assert.deepEqual(
            seen.filter((text) => text !== 'b'),
            ['a', 'c', 'd'],
          );
      };
    },
  },
  {
    name: 'QoS 2 sent and not received comes again under its id, with DUP',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, lasting(clientId));
      await client.subscribe(topic, 2);
      const sender = await connectClient(t, broker.port);
      await sender.publish(topic, 'two', { qos: 2 });
      const first = await client.message();
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        const packet = await again.receive();
        assert.deepEqual(
          [packet.payload, packet.packetId, packet.dup, packet.qos],
          ['two', first.packetId, true, 2],
        );
        assert.deepEqual(await receiveAll(t2, after, again), []);
      };
    },
  },
  {
    name: 'QoS 2 received and not released: PUBREL alone comes again',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, lasting(clientId));
      await client.subscribe(topic, 2);
      const sender = await connectClient(t, broker.port);
      await sender.publish(topic, 'two', { qos: 2 });
      const first = await client.message();
      client.ack('pubrec', first.packetId);
      await client.find('pubrel');
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        const pubrel = await again.next('pubrel');
        assert.equal(pubrel.packetId, first.packetId);
        again.ack('pubcomp', pubrel.packetId);
        assert.deepEqual(await receiveAll(t2, after, again), []);
      };
    },
  },
  {
    name: 'QoS 2 completed is not sent again, and its id is not taken for another',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, lasting(clientId));
      await client.subscribe(topic, 2);
      const sender = await connectClient(t, broker.port);
      await sender.publish(topic, 'two', { qos: 2 });
      await client.receive();
      await client.idle();
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        const next = await connectClient(t2, after.port);
        await next.publish(topic, 'three', { qos: 2 });
        for (;;) {
          const packet = await again.next();
          // After kill -9 the PUBCOMP may be forgotten: then PUBREL is repeated, nothing else.
          if (packet.type === 'pubrel') {
            again.ack('pubcomp', packet.packetId);
            continue;
          }
          assert.deepEqual([packet.type, packet.payload, packet.dup], ['publish', 'three', false]);
          await again.settle(packet);
          break;
        }
        assert.deepEqual(await receiveAll(t2, after, again), []);
      };
    },
  },
  {
    name: 'a retained message in flight comes again',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = unique('c');
      const sender = await connectClient(t, broker.port);
      await sender.publish(topic, 'kept', { qos: 1, retain: true });
      const client = await connectClient(t, broker.port, lasting(clientId));
      await client.subscribe(topic, 1);
      const first = await client.message();
      assert.equal(first.retain, true);
      await elapse(1_500); // positions of QoS 1 are written once a second
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        const packet = await again.receive();
        assert.deepEqual(
          [packet.payload, packet.packetId, packet.dup],
          ['kept', first.packetId, true],
        );
      };
    },
  },
];

const incomingScenes: readonly Scene[] = [
  {
    name: 'a QoS 2 publish acknowledged with PUBREC and sent again is one message',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const watcher = await sleeper(t, broker, topic, 2);
      const clientId = unique('c');
      const sender = await connectClient(t, broker.port, lasting(clientId));
      sender.send(publishPacket(topic, 'once', { qos: 2, packetId: 9 }));
      await sender.find('pubrec');
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        again.send(publishPacket(topic, 'once', { qos: 2, packetId: 9, dup: true }));
        assert.equal((await again.next('pubrec')).reason, 0);
        again.send(ackPacket('pubrel', 9));
        assert.equal((await again.next('pubcomp')).reason, 0);
        const client = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, client), ['once']);
      };
    },
  },
  {
    name: 'PUBREL sent again is answered',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const watcher = await sleeper(t, broker, topic, 2);
      const clientId = unique('c');
      const sender = await connectClient(t, broker.port, lasting(clientId));
      sender.send(publishPacket(topic, 'once', { qos: 2, packetId: 9 }));
      await sender.find('pubrec');
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        again.send(ackPacket('pubrel', 9));
        assert.equal((await again.next('pubcomp')).reason, 0);
        again.send(ackPacket('pubrel', 9));
        assert.equal((await again.next('pubcomp')).reason, 0x92);
        const client = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, client), ['once']);
      };
    },
  },
  {
    name: 'after PUBCOMP the same packet id is a new message',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const watcher = await sleeper(t, broker, topic, 2);
      const clientId = unique('c');
      const sender = await connectClient(t, broker.port, lasting(clientId));
      assert.equal(await sender.publish(topic, 'first', { qos: 2, packetId: 9 }), 0);
      return async (t2, after) => {
        const again = await resume(t2, after, clientId);
        assert.equal(await again.publish(topic, 'second', { qos: 2, packetId: 9 }), 0);
        const client = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, client), ['first', 'second']);
      };
    },
  },
  {
    name: 'ids of a QoS 2 publisher without a session are forgotten',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const watcher = await sleeper(t, broker, topic, 2);
      const clientId = unique('c');
      const sender = await connectClient(t, broker.port, { clientId });
      sender.send(publishPacket(topic, 'first', { qos: 2, packetId: 9 }));
      await sender.find('pubrec');
      return async (t2, after) => {
        const again = await connectClient(t2, after.port, { clientId });
        assert.equal(await again.publish(topic, 'second', { qos: 2, packetId: 9 }), 0);
        const client = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, client), ['first', 'second']);
      };
    },
  },
];

const willScenes: readonly Scene[] = [
  {
    name: 'the will of a client that was connected is sent, once, and retained if so wished',
    prepare: async (t, broker) => {
      const topic = unique('w/');
      const watcher = await sleeper(t, broker, topic, 1);
      await connectClient(t, broker.port, {
        will: { topic, payload: 'last words', qos: 1, retain: true },
      });
      return async (t2, after) => {
        const client = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, client), ['last words']);
        const late = await connectClient(t2, after.port);
        await late.subscribe(topic, 1);
        const kept = await late.receive();
        assert.deepEqual([kept.payload, kept.retain], ['last words', true]);
      };
    },
  },
  {
    name: 'the will of a client that had taken leave is not sent',
    prepare: async (t, broker) => {
      const topic = unique('w/');
      const watcher = await sleeper(t, broker, topic, 1);
      const client = await connectClient(t, broker.port, {
        will: { topic, payload: 'last words', qos: 1 },
      });
      await client.disconnect();
      return async (t2, after) => {
        const again = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, again), []);
      };
    },
  },
  {
    name: 'a delayed will whose time came while the broker was down is sent, once',
    prepare: async (t, broker) => {
      const topic = unique('w/');
      const watcher = await sleeper(t, broker, topic, 1);
      const client = await connectClient(t, broker.port, {
        ...lasting(unique('c')),
        will: { topic, payload: 'late', qos: 1, properties: { willDelay: 2 } },
      });
      client.drop();
      await client.hungUp();
      return async (t2, after) => {
        const again = await resume(t2, after, watcher);
        assert.equal((await again.receive()).payload, 'late');
        assert.deepEqual(await receiveAll(t2, after, again), []);
      };
    },
  },
  {
    name: 'a delayed will whose client comes back after the start is not sent',
    prepare: async (t, broker) => {
      const topic = unique('w/');
      const watcher = await sleeper(t, broker, topic, 1);
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, {
        ...lasting(clientId),
        will: { topic, payload: 'late', qos: 1, properties: { willDelay: 3_600 } },
      });
      client.drop();
      await client.hungUp();
      return async (t2, after) => {
        const again = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, again), []);
        const back = await resume(t2, after, clientId);
        await back.disconnect();
        await connectClient(t2, after.port, { clientId, cleanStart: true });
        assert.deepEqual(await receiveAll(t2, after, again), []);
      };
    },
  },
  {
    name: 'a delayed will goes out with its session, which ends after the start',
    prepare: async (t, broker) => {
      const topic = unique('w/');
      const watcher = await sleeper(t, broker, topic, 1);
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, {
        ...lasting(clientId),
        will: { topic, payload: 'late', qos: 1, properties: { willDelay: 3_600 } },
      });
      client.drop();
      await client.hungUp();
      return async (t2, after) => {
        const again = await resume(t2, after, watcher);
        assert.deepEqual(await receiveAll(t2, after, again), []);
        await connectClient(t2, after.port, { clientId, cleanStart: true });
        assert.deepEqual(await receiveAll(t2, after, again), ['late']);
      };
    },
  },
];

const otherScenes: readonly Scene[] = [
  {
    name: 'retained messages stay, are removed, and expire while the broker is down',
    prepare: async (t, broker) => {
      const base = unique('r/');
      const sender = await connectClient(t, broker.port);
      const keep = { qos: 1, retain: true };
      await sender.publish(`${base}/stays`, 'stays', keep);
      await sender.publish(`${base}/gone`, 'gone', keep);
      await sender.publish(`${base}/gone`, '', keep);
      await sender.publish(`${base}/over`, 'over', { ...keep, properties: { messageExpiry: 2 } });
      await sender.publish(`${base}/young`, 'young', {
        ...keep,
        properties: { messageExpiry: 1_000 },
      });
      return async (t2, after) => {
        const client = await connectClient(t2, after.port);
        await client.subscribe(`${base}/#`, 1);
        const found = [await client.receive(), await client.receive()];
        found.sort((a, b) => a.topic.localeCompare(b.topic));
        assert.deepEqual(
          found.map((one) => one.payload),
          ['stays', 'young'],
        );
        const left = found[1]!.properties.messageExpiry!;
        assert.ok(left > 0 && left <= 1_000 - Math.floor(DOWN_MS / 1_000), `${left} s left`);
        await nothingReaches(client, await connectClient(t2, after.port));
      };
    },
  },
  {
    name: 'messages expire while the broker is down',
    prepare: async (t, broker) => {
      const topic = unique('s/');
      const clientId = await sleeper(t, broker, topic);
      const sender = await connectClient(t, broker.port);
      await sender.publish(topic, 'over', { qos: 1, properties: { messageExpiry: 2 } });
      await sender.publish(topic, 'young', { qos: 1, properties: { messageExpiry: 1_000 } });
      return async (t2, after) => {
        const client = await resume(t2, after, clientId);
        assert.deepEqual(await receiveAll(t2, after, client), ['young']);
      };
    },
  },
  {
    name: 'a durable group keeps what nobody took, each message for one member',
    prepare: async (t, broker) => {
      const topic = unique('g/');
      const filter = `$share/crew/${topic}`;
      const members = [await sleeper(t, broker, filter, 1), await sleeper(t, broker, filter, 2)];
      const sender = await connectClient(t, broker.port);
      for (let i = 0; i < 10; i++) await sender.publish(topic, `before ${i}`, { qos: 1 + (i % 2) });
      return async (t2, after) => {
        const again = await connectClient(t2, after.port);
        for (let i = 0; i < 10; i++) await again.publish(topic, `after ${i}`, { qos: 1 + (i % 2) });
        const seen: string[] = [];
        for (const clientId of members) {
          const client = await resume(t2, after, clientId);
          seen.push(...(await receiveAll(t2, after, client)));
        }
        assert.deepEqual(
          seen.sort(),
          ['after', 'before'].flatMap((word) => [...Array(10).keys()].map((i) => `${word} ${i}`)),
        );
      };
    },
  },
  {
    name: 'what a member of a group had not acknowledged goes to another',
    prepare: async (t, broker) => {
      const topic = unique('g/');
      const filter = `$share/crew/${topic}`;
      const taker = await connectClient(t, broker.port, lasting(unique('c')));
      await taker.subscribe(filter, 1);
      const sender = await connectClient(t, broker.port);
      for (const text of ['a', 'b', 'c']) await sender.publish(topic, text, { qos: 1 });
      for (let i = 0; i < 3; i++) await taker.message();
      const other = await sleeper(t, broker, filter, 1);
      return async (t2, after) => {
        const client = await resume(t2, after, other);
        assert.deepEqual((await receiveAll(t2, after, client)).sort(), ['a', 'b', 'c']);
      };
    },
  },
];

const scenes = [
  ...sessionScenes,
  ...outgoingScenes,
  ...incomingScenes,
  ...willScenes,
  ...otherScenes,
];

for (const way of ['SIGTERM', 'kill -9'] as const) {
  test(`what survives ${way}`, async (t) => {
    const broker = await startBroker(t);
    const checks: { readonly name: string; readonly verify: Verify }[] = [];
    for (const scene of scenes) {
      checks.push({ name: scene.name, verify: await scene.prepare(t, broker, way) });
    }

    await (way === 'SIGTERM' ? broker.stop() : broker.kill());
    await elapse(DOWN_MS);
    await broker.restart();

    for (const { name, verify } of checks) {
      await t.test(name, async (t2) => await verify(t2, broker));
    }
  });
}

test('[MQTT-4.3.3-2] kill -9 before PUBREC of a retained QoS 2 message: its id is no other message', async (t) => {
  const broker = await startBroker(t);
  const topic = unique('s/');
  const clientId = unique('c');
  const sender = await connectClient(t, broker.port);
  await sender.publish(topic, 'kept', { qos: 2, retain: true });
  const client = await connectClient(t, broker.port, lasting(clientId));
  await client.subscribe(topic, 2);
  const first = await client.message();

  await broker.kill();
  await broker.restart();

  // The client holds that id until PUBREL: a new message under it would be taken for the old one.
  const again = await resume(t, broker, clientId);
  const other = await connectClient(t, broker.port);
  await other.publish(topic, 'new', { qos: 2 });
  const packet = await again.message();
  assert.ok(
    packet.packetId !== first.packetId || packet.payload === 'kept',
    `id ${packet.packetId} was "${first.payload}" and is now "${packet.payload}"`,
  );
});

test('a session that was online when the process ended expires after the start', async (t) => {
  const broker = await startBroker(t);
  const clientId = unique('c');
  const topic = unique('w/');
  const watcher = await sleeper(t, broker, topic);
  await connectClient(t, broker.port, {
    ...lasting(clientId, 2),
    will: { topic, payload: 'over', qos: 1, properties: { willDelay: 3_600 } },
  });

  await broker.kill();
  await broker.restart();

  // Its will goes out with the session, two seconds after the start.
  const client = await resume(t, broker, watcher);
  assert.equal((await client.receive(15_000)).payload, 'over');
  const next = await connectClient(t, broker.port, lasting(clientId, 60));
  assert.equal(next.connack?.sessionPresent, false);
});

test('a start that follows at once on another, five times, keeps everything', async (t) => {
  const broker = await startBroker(t);
  const topic = unique('s/');
  const clientId = await sleeper(t, broker, topic, 2);

  for (let round = 0; round < 5; round++) {
    const sender = await connectClient(t, broker.port);
    await sender.publish(topic, `round ${round}`, { qos: 2 });
    await (round % 2 === 0 ? broker.kill() : broker.stop());
    await broker.restart();
  }

  const client = await resume(t, broker, clientId);
  const seen = await receiveAll(t, broker, client);
  assert.deepEqual(seen, ['round 0', 'round 1', 'round 2', 'round 3', 'round 4']);
});
