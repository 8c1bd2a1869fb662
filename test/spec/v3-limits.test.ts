/**
 * MQTT 3.1.1: what a client sees of a broker's limits (3.1.4, 3.2.2.3, 3.9.3, 4.8).
 *
 * The standard leaves the limits to the broker but says how a refusal looks.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  connectRaw,
  field,
  hex,
  openSocket,
  packet,
  startBroker,
  u16,
  unique,
} from '../harness/index.ts';

test('[MQTT-4.8.0-1] a packet larger than the broker takes closes the connection', async (t) => {
  const broker = await startBroker(t, {
    args: ['--max-packet-size', '1KiB'],
    peerConfiguration: ['max_packet_size 1024'],
  });
  const topic = unique('t/');
  const watcher = await connectRaw({ port: broker.port, t });
  await watcher.subscribe(topic);
  const overhead = packet(0x30, field(topic), Buffer.alloc(900)).length - 900;
  const will = { topic, payload: 'gone' };
  const client = await connectRaw({ port: broker.port, t, will });

  await client.publish(topic, Buffer.alloc(1024 - overhead, 0x61));
  assert.equal((await watcher.next('publish')).raw.length, 1024);
  await client.publish(topic, Buffer.alloc(1025 - overhead, 0x62));

  assert.deepEqual(await client.closed(), []);
  assert.equal((await watcher.next('publish')).payload?.toString(), 'gone');
  await watcher.nothing();
});

test('[MQTT-4.8.0-1] the announced length alone is enough to be cut off', async (t) => {
  const broker = await startBroker(t, {
    args: ['--max-packet-size', '1KiB'],
    peerConfiguration: ['max_packet_size 1024'],
  });
  const client = await connectRaw({ port: broker.port, t });
  client.sendBytes('30 ff ff ff 7f');
  assert.deepEqual(await client.closed(), []);
});

test('[MQTT-3.2.2-4] [MQTT-3.2.2-5] [MQTT-3.1.4-5] a client too many: CONNACK 0x03, then close', async (t) => {
  const broker = await startBroker(t, { args: ['--max-connections', '2'] });
  const clientId = unique();
  const kept = await connectRaw({ port: broker.port, t, clientId, clean: false });
  await kept.disconnect();
  const inside = [
    await connectRaw({ port: broker.port, t }),
    await connectRaw({ port: broker.port, t }),
  ];

  const refused = await connectRaw({ port: broker.port, t, clientId, clean: false, mayFail: true });

  assert.equal(refused.connack?.raw.toString('hex'), '20020003', 'no Session Present either');
  assert.deepEqual(await refused.closed(), []);
  for (const client of inside) await client.nothing();
  await inside[0]!.disconnect();
  const admitted = await connectRaw({ port: broker.port, t, clientId, clean: false });
  assert.equal(admitted.connack?.sessionPresent, true);
});

test('[MQTT-3.1.3-9] [MQTT-3.2.2-5] a client id beyond the limit: CONNACK 0x02, then close', async (t) => {
  const broker = await startBroker(t);
  const clientId = 'x'.repeat(65_535);
  const client = await connectRaw({ port: broker.port, t, clientId, mayFail: true });
  assert.equal(client.connack?.raw.toString('hex'), '20020002');
  assert.deepEqual(await client.closed(), []);
});

test('[MQTT-3.8.4-5] [MQTT-3.9.3-2] a subscription too many: 0x80 for it, the others stand', async (t) => {
  const broker = await startBroker(t);
  const root = unique();
  const client = await connectRaw({ port: broker.port, t });
  const limit = 10_000;
  const filters = Array.from({ length: limit }, (_, i) => `${root}/${i}`);
  const granted = await client.subscribe(filters, 1);
  assert.ok(granted.granted?.every((code) => code === 1));

  client.sendBytes(packet(0x82, u16(7), field('more'), hex('02'), field(`${root}/5`), hex('02')));

  assert.equal((await client.next()).raw.toString('hex'), '900400078002');
  await client.publish('more', 'x', { qos: 1 });
  await client.nothing();
  await client.publish(`${root}/5`, 'y', { qos: 2 });
  assert.equal((await client.receive()).qos, 2);
});

test('[MQTT-4.6.0-6] a full window holds later messages back, in order, and loses none', async (t) => {
  const broker = await startBroker(t, {
    args: ['--max-inflight', '5'],
    peerConfiguration: ['max_inflight_messages 5'],
  });
  const topic = unique('t/');
  const publisher = await connectRaw({ port: broker.port, t });
  const client = await connectRaw({ port: broker.port, t });
  await client.subscribe(topic, 1);
  for (let i = 0; i < 50; i++) await publisher.publish(topic, String(i), { qos: 1 });

  const open = await client.take(5, 'publish');
  await client.nothing();

  for (let i = 0; i < 50; i++) {
    const got = open.shift()!;
    assert.equal(got.payload?.toString(), String(i));
    client.send({ cmd: 'puback', messageId: got.messageId });
    if (i < 45) open.push(await client.next('publish'));
  }
  await client.nothing();
});

test('3.1.4: a connection without CONNECT is closed in time, and so is one that dawdles', async (t) => {
  const broker = await startBroker(t);
  const silent = await openSocket(broker.port, 4, t);
  const dawdling = await openSocket(broker.port, 4, t);
  dawdling.sendBytes('10 20 00 04 4d');
  const client = await connectRaw({ port: broker.port, t });

  assert.deepEqual(await silent.closed(60_000), []);
  assert.deepEqual(await dawdling.closed(60_000), []);
  await client.nothing();
});

test('[MQTT-3.1.2-24] silence beyond the keep alive, but below 1.5 of it, is tolerated', async (t) => {
  const broker = await startBroker(t);
  const client = await connectRaw({ port: broker.port, t, keepalive: 4 });
  // The silence is what is tested, not a wait for something.
  await delay(4_500);
  await client.nothing();
});
