/**
 * MQTT 5.0, sections 3.1.2.10, 3.14 and 4.13: how connections end.
 *
 * Keep alive, DISCONNECT from either side, and a broker that shuts down.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { againstPeer, sharedBroker, startBroker } from '../harness/index.ts';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { connectClient, elapse, nothingReaches, openClient, unique } from '../harness/v5-client.ts';
import {
  disconnectPacket,
  PINGREQ,
  publishPacket,
  subscribePacket,
} from '../harness/v5-packets.ts';
import { violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();

/**
 * A client goes silent, and then another goes whose will waits twice as long as that silence may
 * last: a broker that is patient beyond measure sends the other's will first. Both times are the
 * broker's own, so a slow machine does not change their order.
 */
test('[MQTT-3.1.2-22] [MQTT-3.2.2-22] silence past 1.5 times the keep alive: DISCONNECT 0x8D, close, will', async (t) => {
  const topic = unique('will/');
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(`${topic}/+`);
  const client = await connectClient(t, broker.port, {
    keepAlive: 2,
    will: { topic: `${topic}/silent`, payload: 'silent' },
  });
  const rule = client.connack?.properties.serverKeepAlive;
  assert.ok(rule === undefined || rule === 2);
  const other = await connectClient(t, broker.port, {
    properties: { sessionExpiry: 60 },
    will: { topic: `${topic}/later`, payload: 'later', properties: { willDelay: 6 } },
  });

  other.drop();

  assert.equal((await watcher.message(20_000)).payload, 'silent');
  await client.disconnected(0x8d);
});

test('[MQTT-3.1.2-21] [MQTT-3.2.2-21] a Server Keep Alive shorter than asked is told, and holds', async (t) => {
  const local = await openLocalBroker(t);
  await local.instances.update('default', { limits: { keepAliveSecondsMax: 1 } });
  const port = await openLocalDoor(t, local);

  const within = await connectClient(t, port, { keepAlive: 1 });
  const beyond = await connectClient(t, port, { keepAlive: 60 });
  const boundless = await connectClient(t, port, { keepAlive: 0 });

  assert.equal(within.connack?.properties.serverKeepAlive, undefined);
  for (const client of [beyond, boundless]) {
    assert.equal(client.connack?.properties.serverKeepAlive, 1);
    await client.disconnected(0x8d, 20_000);
  }
});

test('[MQTT-3.1.2-22] any packet counts as a sign of life, and one byte of a packet does not', async (t) => {
  const topic = unique('k/');
  const client = await connectClient(t, broker.port, { keepAlive: 2 });
  const signs = [
    PINGREQ,
    publishPacket(topic, 'x'),
    subscribePacket(1, [[topic, 0]]),
    PINGREQ,
    publishPacket(unique('k/'), 'x', { qos: 1, packetId: 2 }),
  ];

  for (const sign of signs) {
    await elapse(1_400); // three are more than the 3 s it has
    client.send(sign);
  }
  for (const type of ['pingresp', 'suback', 'pingresp', 'puback'] as const) await client.next(type);
  client.send(Buffer.of(0xc0)); // half a PINGREQ

  await client.disconnected(0x8d, 8_000);
});

test('[MQTT-3.1.2-22] messages to a client are no sign of life from it', async (t) => {
  const topic = unique('k/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, { keepAlive: 1 });
  await client.subscribe(topic, 0);

  while (!client.isClosed) {
    publisher.send(publishPacket(topic, 'x'));
    await elapse(200);
  }

  const last = client.queue.at(-1);
  assert.deepEqual([last?.type, last?.reason], ['disconnect', 0x8d]);
});

test('[MQTT-3.1.2-22] a keep alive of 0 sets no limit', async (t) => {
  const client = await connectClient(t, broker.port, { keepAlive: 0 });

  await elapse(2_500);

  await client.idle();
});

test('[MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1] after its DISCONNECT the broker sends nothing and closes', async (t) => {
  const topic = unique('k/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 0);
  const fault = Buffer.of(0xc1, 0);

  client.send(fault, PINGREQ);
  for (let count = 0; count < 20; count++) publisher.send(publishPacket(topic, 'x'));

  for (;;) {
    const packet = await client.next();
    if (packet.type === 'publish') continue;
    assert.deepEqual([packet.type, packet.reason], ['disconnect', 0x81]);
    break;
  }
  await client.closed();
});

test('[MQTT-3.14.4-1] what a client sends behind its DISCONNECT is not acted on', async (t) => {
  const topic = unique('k/');
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(topic, 1);
  const client = await connectClient(t, broker.port);

  client.send(
    publishPacket(topic, 'before', { qos: 1, packetId: 1 }),
    disconnectPacket(),
    publishPacket(topic, 'behind', { qos: 1, packetId: 2 }),
    PINGREQ,
  );

  assert.equal((await client.next('puback')).packetId, 1);
  await client.closed();
  assert.equal((await watcher.receive()).payload, 'before');
  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.14.4-2] DISCONNECT is answered by the close and by no packet', async (t) => {
  for (const packet of [
    disconnectPacket(),
    disconnectPacket(0),
    disconnectPacket(0, {}),
    disconnectPacket(0, { reasonString: 'done', userProperties: [['a', 'b']] }),
  ]) {
    const client = await connectClient(t, broker.port);
    client.send(packet);
    await client.closed();
  }
});

for (const reason of [0x01, 0x10, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x9a, 0x9c, 0xa2, 0xff]) {
  test(`[MQTT-3.14.2-1] DISCONNECT 0x${reason.toString(16)}, which is not a client's to send: the will goes out`, async (t) => {
    const will = { topic: unique('will/'), payload: 'x' };
    const watcher = await connectClient(t, broker.port);
    await watcher.subscribe(will.topic);
    const client = await connectClient(t, broker.port, { will });

    client.send(disconnectPacket(reason));

    if (againstPeer) await client.hungUp();
    else await client.disconnected(0x82);
    assert.equal((await watcher.message()).payload, 'x');
  });
}

violation(
  broker,
  'DISCONNECT of a client with a Server Reference',
  disconnectPacket(0, { serverReference: 'x' }),
  [0x81, 0x82],
);

test('[MQTT-3.14.2-2] [MQTT-3.14.2-1] a DISCONNECT of the broker has no Session Expiry Interval', async (t) => {
  const clientId = unique('c');
  const properties = { sessionExpiry: 60 };
  const first = await connectClient(t, broker.port, { clientId, properties });
  await connectClient(t, broker.port, { clientId, properties });

  const packet = await first.disconnected(0x8e);

  assert.equal(packet.properties.sessionExpiry, undefined); // the decoder refuses it anyway
});

test('[MQTT-3.14.0-1] there is no DISCONNECT to a client that has no CONNACK yet', async (t) => {
  const own = await startBroker(t);
  const waiting = await openClient(t, own.port);
  const half = await openClient(t, own.port);
  half.send(Buffer.of(0x10, 0x20));
  const connected = await connectClient(t, own.port);

  await own.stop();

  if (againstPeer) await connected.hungUp();
  else await connected.disconnected(0x8b);
  await waiting.closed();
  await half.closed();
});

test('[MQTT-3.14.2-1] [MQTT-4.13.2-1] a broker that stops says 0x8B to every client, and their wills outlive it', async (t) => {
  const own = await startBroker(t);
  const topic = unique('will/');
  const clientId = unique('c');
  const options = { clientId, cleanStart: false, properties: { sessionExpiry: 600 } };
  const watcher = await connectClient(t, own.port, options);
  await watcher.subscribe(topic, 1);
  const will = { topic, payload: 'the broker went', qos: 1 };
  const client = await connectClient(t, own.port, { will });

  await own.stop();

  if (againstPeer) return;
  await client.disconnected(0x8b);
  await watcher.find('disconnect');
  await own.restart();
  const back = await connectClient(t, own.port, options);
  assert.equal(back.connack?.sessionPresent, true);
  const seen = watcher.queue.filter((packet) => packet.type === 'publish');
  if (seen.length === 0) assert.equal((await back.receive()).payload, 'the broker went');
});

test('[MQTT-4.13.1-1] [MQTT-3.1.0-1] a connection that never says CONNECT is closed', async (t) => {
  const client = await openClient(t, broker.port);

  await client.closed(40_000);
});
