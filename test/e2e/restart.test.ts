/**
 * What survives the end of the process, asked for (SIGTERM) or not (kill -9): sessions, and QoS 1
 * and 2 in every stage, both ways.
 *
 * Scenes keep apart by the names they use.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { startBroker } from '../harness/index.ts';
import {
  lasting,
  receiveAll,
  resume,
  type Scene,
  sleeper,
  testScenes,
} from '../harness/restart-scene.ts';
import { connectClient, elapse, nothingReaches, unique } from '../harness/v5-client.ts';
import { ackPacket, NO_LOCAL, publishPacket, RETAIN_AS_PUBLISHED } from '../harness/v5-packets.ts';

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
    name: 'hundreds of subscriptions made and dropped one by one are those that stay',
    prepare: async (t, broker) => {
      const base = unique('s/');
      const clientId = unique('c');
      const client = await connectClient(t, broker.port, lasting(clientId));
      const filterOf = (index: number): string => `${base}/${String(index)}`;
      for (let index = 0; index < 300; index++) await client.subscribe(filterOf(index), 1);
      for (let index = 0; index < 300; index += 2) await client.unsubscribe(filterOf(index));
      await client.subscribe(filterOf(100), 2);
      return async (t2, after) => {
        const sender = await connectClient(t2, after.port);
        const publishAll = async (): Promise<void> => {
          for (let index = 0; index < 300; index++) {
            await sender.publish(filterOf(index), String(index), { qos: 1 });
          }
        };
        const stays = (index: number): boolean => index % 2 === 1 || index === 100;
        const expected = Array.from({ length: 300 }, (_, index) => index)
          .filter(stays)
          .map(String);
        await publishAll(); // while the client is away
        const again = await resume(t2, after, clientId);
        await publishAll(); // and while it is there
        assert.deepEqual(await receiveAll(t2, after, again), [...expected, ...expected]);
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

testScenes([...sessionScenes, ...outgoingScenes, ...incomingScenes]);

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
