/**
 * What a reading of the broker found: each test shows one fault by its consequence for a client.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { systemClock } from '#base';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { connectRaw, sharedBroker, startBroker } from '../harness/index.ts';
import { connectClient, elapse, unique } from '../harness/v5-client.ts';
import { RETAIN_NEVER } from '../harness/v5-packets.ts';

const broker = sharedBroker();
const properties = { sessionExpiry: 600 };

test('a group whose only member was away gives it what was published meanwhile', async (t) => {
  const topic = unique('r/');
  const clientId = unique('c');
  const publisher = await connectClient(t, broker.port);
  const member = await connectClient(t, broker.port, { clientId, properties });
  await member.subscribe(`$share/g/${topic}`, 1);
  await member.disconnect();
  assert.equal(await publisher.publish(topic, 'waits', { qos: 1 }), 0);

  const back = await connectClient(t, broker.port, { clientId, cleanStart: false, properties });

  assert.equal((await back.receive()).payload, 'waits');
});

test('subscribing again to a shared filter keeps what its group is owed', async (t) => {
  const topic = unique('r/');
  const publisher = await connectClient(t, broker.port);
  const member = await connectClient(t, broker.port, {
    properties: { ...properties, receiveMaximum: 1 },
  });
  await member.subscribe(`$share/g/${topic}`, 1);
  for (const payload of ['1', '2', '3']) {
    assert.equal(await publisher.publish(topic, payload, { qos: 1 }), 0);
  }
  const first = await member.message();
  await member.subscribe(`$share/g/${topic}`, 1);
  await member.settle(first);

  assert.equal((await member.receive()).payload, '2');
  assert.equal((await member.receive()).payload, '3');
});

test('a message that also waits in a queue is logged with the time it came', async (t) => {
  const fresh = await startBroker(t, { memory: true });
  const topic = unique('r/');
  const away = await connectClient(t, fresh.port, { clientId: 'away', properties });
  await away.subscribe(topic, 1);
  await away.disconnect();
  const online = await connectClient(t, fresh.port, { properties });
  await online.subscribe(topic, 1);
  const busy = await connectClient(t, fresh.port, { properties: { receiveMaximum: 1 } });
  await busy.subscribe([
    [`${topic}/other`, 1],
    [topic, 1],
  ]);
  const publisher = await connectClient(t, fresh.port);
  await publisher.publish(`${topic}/other`, 'fills the window', { qos: 1 });
  assert.equal(await publisher.publish(topic, 'kept', { qos: 1 }), 0);

  const back = await connectClient(t, fresh.port, {
    clientId: 'away',
    cleanStart: false,
    properties,
  });

  assert.equal((await back.receive()).payload, 'kept');
});

test('[MQTT-4.8.2-1] a group that lost its durable members while behind goes on with a new one', async (t) => {
  const topic = unique('r/');
  const publisher = await connectClient(t, broker.port);
  const passing = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
  await passing.subscribe(`$share/g/${topic}`, 1);
  const staying = await connectClient(t, broker.port, {
    properties: { ...properties, receiveMaximum: 1 },
  });
  await staying.subscribe(`$share/g/${topic}`, 1);
  for (let i = 0; i < 4; i++) await publisher.publish(topic, `old ${i}`, { qos: 1 });
  await staying.message();
  await staying.disconnect(0, { sessionExpiry: 0 });
  for (let i = 0; i < 4; i++) assert.match((await passing.receive()).payload, /^old/);
  await passing.idle();

  const next = await connectClient(t, broker.port, { properties });
  await next.subscribe(`$share/g/${topic}`, 1 | RETAIN_NEVER);
  await publisher.publish(topic, 'new', { qos: 1 });
  await publisher.publish(topic, 'new', { qos: 1 });

  for (const member of [passing, next]) assert.equal((await member.receive()).payload, 'new');
});

test('a will topic as long as MQTT allows does not end the broker', async (t) => {
  const fresh = await startBroker(t);
  const topic = 'w'.repeat(65_535);
  const client = await connectClient(t, fresh.port, {
    will: { topic, payload: 'x', qos: 1, retain: true, properties: { willDelay: 1 } },
    properties,
  });
  client.drop();
  const other = await connectClient(t, fresh.port);
  for (let i = 0; i < 12; i++) {
    await elapse(250);
    await other.idle();
  }
});

test('a 3.1.1 publish that the store refused is not acknowledged', async (t) => {
  const engine = openMemoryEngine({ clock: systemClock, bytesMax: 20_000 });
  const local = await openLocalBroker(t, { engine });
  const port = await openLocalDoor(t, local);
  const away = await connectRaw({ t, port, version: 4, clean: false, clientId: 'away' });
  await away.subscribe('full', 1);
  await away.disconnect();
  const publisher = await connectRaw({ t, port, version: 4 });
  publisher.sendPublish('full', Buffer.alloc(30_000), { qos: 1 });

  const left = await publisher.closed();

  assert.deepEqual(
    left.map((packet) => packet.cmd),
    [],
  );
});

test('what a new group is owed survives a kill in its first second', async (t) => {
  const own = await startBroker(t);
  const ids = ['one', 'two'];
  for (const clientId of ids) {
    const member = await connectClient(t, own.port, { clientId, properties });
    await member.subscribe('$share/g/killed', 1);
    await member.disconnect();
  }
  const publisher = await connectClient(t, own.port);
  assert.equal(await publisher.publish('killed', 'acknowledged', { qos: 1 }), 0);
  await own.kill();
  await own.restart();

  const back = await connectClient(t, own.port, { clientId: 'one', cleanStart: false, properties });

  assert.equal((await back.receive()).payload, 'acknowledged');
});

test('a shared filter as long as MQTT allows does not end the broker', async (t) => {
  const own = await startBroker(t);
  const client = await connectClient(t, own.port, { properties });
  await client.subscribe(`$share/g/${'f'.repeat(65_526)}`, 1);
  const other = await connectClient(t, own.port);
  for (let i = 0; i < 8; i++) {
    await elapse(250);
    await other.idle();
  }
});
