/**
 * What a reading of the broker found: each test shows one fault by its consequence for a client.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { sharedBroker, startBroker } from '../harness/index.ts';
import { connectClient, unique } from '../harness/v5-client.ts';
import { publishPacket, RETAIN_NEVER } from '../harness/v5-packets.ts';

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

test('[MQTT-3.3.4-7] a client may have as many QoS 2 publishes open as CONNACK allows', async (t) => {
  const topic = unique('r/');
  const subscriber = await connectClient(t, broker.port, { properties });
  await subscriber.subscribe(topic, 2);
  await subscriber.disconnect();
  const publisher = await connectClient(t, broker.port);
  const allowed = publisher.connack?.properties.receiveMaximum ?? 65_535;
  const packets: Buffer[] = [];
  for (let id = 1; id <= allowed; id++) {
    packets.push(publishPacket(topic, String(id), { qos: 2, packetId: id }));
  }

  publisher.send(...packets);

  for (let id = 1; id <= allowed; id++) {
    assert.equal((await publisher.next('pubrec')).packetId, id);
  }
});

test('retained messages at QoS 0 all come, however silent the client is', async (t) => {
  const root = unique('r/');
  const publisher = await connectClient(t, broker.port);
  const payload = Buffer.alloc(16 * 1024, 0x61);
  for (let i = 0; i < 90; i++) {
    await publisher.publish(`${root}/${i}`, payload, { qos: 1, retain: true });
  }
  const subscriber = await connectClient(t, broker.port);
  await subscriber.subscribe(`${root}/#`, 0);

  for (let i = 0; i < 90; i++) await subscriber.message();
});

test('a message that also waits in a queue is logged with the time it came', async (t) => {
  const fresh = await startBroker(t, { memory: true });
  const topic = unique('r/');
  const away = await connectClient(t, fresh.port, { clientId: 'away', properties });
  await away.subscribe(topic, 1);
  await away.disconnect();
  const busy = await connectClient(t, fresh.port, { properties: { receiveMaximum: 1 } });
  await busy.subscribe([
    [`${topic}/other`, 1],
    [topic, 1],
  ]);
  const publisher = await connectClient(t, fresh.port);
  await publisher.publish(`${topic}/other`, 'fills the window', { qos: 1 });
  assert.equal(await publisher.publish(topic, 'kept', { qos: 1 }), 0);

  const back = await connectClient(t, fresh.port, { clientId: 'away', cleanStart: false, properties });

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
  const first = await passing.message();
  await passing.settle(first);
  await passing.idle().catch(() => undefined);

  const next = await connectClient(t, broker.port, { properties });
  await next.subscribe(`$share/g/${topic}`, 1 | RETAIN_NEVER);
  await publisher.publish(topic, 'new', { qos: 1 });

  for (;;) {
    const message = await next.receive();
    if (message.payload === 'new') break;
  }
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
    await new Promise((resolve) => setTimeout(resolve, 250));
    await other.idle();
  }
});
