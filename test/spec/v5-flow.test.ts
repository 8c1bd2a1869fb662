/**
 * MQTT 5.0, sections 3.3.4 and 4.9: flow control, both ways.
 *
 * That the broker never has more open towards a client than its Receive Maximum is checked by
 * the client of the harness on every PUBLISH; these tests fill and empty the window.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, nothingReaches, unique } from '../harness/v5-client.ts';
import { publishPacket, unsubscribePacket } from '../harness/v5-packets.ts';

const broker = sharedBroker({ peerConfiguration: ['max_queued_messages 0'] });

for (const window of [1, 2, 10]) {
  test(`[MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2] at most ${window} open towards a client that says so`, async (t) => {
    const topic = unique('f/');
    const publisher = await connectClient(t, broker.port);
    const client = await connectClient(t, broker.port, { properties: { receiveMaximum: window } });
    await client.subscribe(topic, 2);

    const total = window * 3;
    for (let count = 0; count < total; count++) {
      await publisher.publish(topic, String(count), { qos: 1 + (count % 2) });
    }

    const open = [];
    for (let count = 0; count < window; count++) open.push(await client.message());
    await client.idle(); // the window is full: no further message
    for (let count = window; count < total; count++) {
      const oldest = open.shift();
      assert.ok(oldest !== undefined);
      await client.settle(oldest);
      const message = await client.message(); // one place, one message
      assert.equal(message.payload, String(count));
      open.push(message);
    }
    for (const message of open) await client.settle(message);
    await nothingReaches(client, publisher);
  });
}

test('[MQTT-4.9.0-2] PUBREC alone gives no place back, PUBCOMP does', async (t) => {
  const topic = unique('f/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
  await client.subscribe(topic, 2);
  await publisher.publish(topic, 'one', { qos: 2 });
  await publisher.publish(topic, 'two', { qos: 2 });
  const one = await client.message();

  client.ack('pubrec', one.packetId);
  await client.next('pubrel');
  await client.idle();
  client.ack('pubcomp', one.packetId);

  assert.equal((await client.receive()).payload, 'two');
});

test('[MQTT-4.9.0-2] [MQTT-4.4.0-2] PUBREC and PUBACK of 0x80 give their place back', async (t) => {
  const topic = unique('f/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
  await client.subscribe(topic, 2);
  for (const [payload, qos] of [
    ['one', 2],
    ['two', 1],
    ['three', 2],
  ] as const) {
    await publisher.publish(topic, payload, { qos });
  }

  client.ack('pubrec', (await client.message()).packetId, 0x80);
  const two = await client.message();
  assert.equal(two.payload, 'two');
  client.ack('puback', two.packetId, 0x97);
  const three = await client.message();

  assert.equal(three.payload, 'three');
  await client.settle(three);
  await nothingReaches(client, publisher);
});

test('[MQTT-3.3.4-10] [MQTT-4.9.0-3] a full window delays no other packet', async (t) => {
  const topic = unique('f/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
  await client.subscribe(topic, 2);
  await publisher.publish(topic, 'one', { qos: 1 });
  await publisher.publish(topic, 'two', { qos: 1 });
  const one = await client.message();

  const other = unique('f/');
  assert.deepEqual((await client.subscribe(other, 0)).reasons, [0]);
  assert.equal(await client.publish(unique('f/'), 'x', { qos: 1 }), 0x10);
  assert.equal(await client.publish(unique('f/'), 'x', { qos: 2 }), 0x10);
  await publisher.publish(other, 'QoS 0 needs no place', { qos: 0 });
  assert.equal((await client.message()).payload, 'QoS 0 needs no place');
  client.send(unsubscribePacket(777, [other]));
  await client.next('unsuback');
  await client.idle();

  client.ack('puback', one.packetId);
  assert.equal((await client.receive()).payload, 'two');
});

test('[MQTT-4.9.0-1] the window is that of the connection, and starts full again', async (t) => {
  const topic = unique('f/');
  const publisher = await connectClient(t, broker.port);
  const options = { clientId: unique('c'), cleanStart: false };
  const properties = { sessionExpiry: 60, receiveMaximum: 2 };
  const first = await connectClient(t, broker.port, { ...options, properties });
  await first.subscribe(topic, 1);
  for (let count = 0; count < 6; count++) await publisher.publish(topic, String(count), { qos: 1 });
  await first.message();
  await first.message();
  await first.idle();
  first.drop();
  await first.hungUp();

  const second = await connectClient(t, broker.port, {
    ...options,
    properties: { sessionExpiry: 60, receiveMaximum: 1 },
  });
  for (let count = 0; count < 6; count++) {
    assert.equal((await second.receive()).payload, String(count));
  }
  await nothingReaches(second, publisher);
});

for (const qos of [1, 2]) {
  test(`[MQTT-3.3.4-7] a client may have as many QoS ${qos} messages open as the broker announced`, async (t) => {
    const topic = unique('f/');
    const client = await connectClient(t, broker.port);
    const most = Math.min(client.connack?.properties.receiveMaximum ?? 65_535, 65_535);
    const burst = [];
    for (let id = 1; id <= most; id++) burst.push(publishPacket(topic, '', { qos, packetId: id }));

    client.send(...burst);

    for (let id = 1; id <= most; id++) {
      const packet = await client.next(qos === 1 ? 'puback' : 'pubrec');
      assert.deepEqual([packet.packetId, packet.reason], [id, 0x10]);
    }
    if (qos === 2) for (let id = 1; id <= most; id++) client.release(id);
    for (let id = 1; qos === 2 && id <= most; id++) {
      assert.equal((await client.next('pubcomp')).packetId, id);
    }
    await client.idle();
  });
}

test('[MQTT-3.3.4-7] one QoS 2 message more than the broker announced: DISCONNECT 0x93', async (t) => {
  const topic = unique('f/');
  const client = await connectClient(t, broker.port);
  const most = client.connack?.properties.receiveMaximum ?? 65_535;
  assert.ok(most < 65_535, 'a window that can be exceeded is announced');
  for (let id = 1; id <= most; id++) client.sendPublish(topic, '', { qos: 2, packetId: id });
  for (let id = 1; id <= most; id++) await client.next('pubrec');

  client.sendPublish(topic, '', { qos: 2, packetId: most + 1 });

  await client.disconnected(0x93);
});

for (const qos of [1, 2]) {
  test(`[MQTT-3.3.4-7] [MQTT-3.3.4-1] a full window of QoS ${qos} messages that have to reach the disk`, async (t) => {
    const topic = unique('f/');
    const options = { cleanStart: false, properties: { sessionExpiry: 60 } };
    const absent = await connectClient(t, broker.port, { ...options, clientId: unique('c') });
    await absent.subscribe(topic, 2);
    await absent.disconnect();
    const client = await connectClient(t, broker.port, { ...options, clientId: unique('c') });
    const most = Math.min(client.connack?.properties.receiveMaximum ?? 500, 2_000);

    for (let id = 1; id <= most; id++) client.sendPublish(topic, String(id), { qos, packetId: id });

    for (let id = 1; id <= most; id++) {
      const packet = await client.next(qos === 1 ? 'puback' : 'pubrec');
      assert.deepEqual([packet.packetId, packet.reason], [id, 0]);
      if (qos === 2) client.release(id);
    }
    for (let id = 1; qos === 2 && id <= most; id++) {
      assert.equal((await client.next('pubcomp')).packetId, id);
    }
    const back = await connectClient(t, broker.port, { ...options, clientId: absent.clientId });
    for (let id = 1; id <= most; id++) assert.equal((await back.receive()).payload, String(id));
  });
}

test('[MQTT-3.3.4-7] repeats of an open id count once, QoS 0 not at all', async (t) => {
  const topic = unique('f/');
  const client = await connectClient(t, broker.port);
  const most = client.connack?.properties.receiveMaximum ?? 65_535;
  for (let id = 1; id < most; id++) client.sendPublish(topic, '', { qos: 2, packetId: id });
  for (let id = 1; id < most; id++) await client.next('pubrec');

  for (let count = 0; count < 3; count++) {
    client.sendPublish(topic, '', { qos: 2, packetId: 1, dup: true });
    assert.equal((await client.next('pubrec')).packetId, 1);
    client.sendPublish(topic, '', { qos: 0 });
  }
  client.sendPublish(topic, '', { qos: 2, packetId: most });

  assert.equal((await client.next('pubrec')).packetId, most);
  await client.idle();
});

test('[MQTT-3.3.4-9] one client that acknowledges nothing holds up nobody else', async (t) => {
  const topic = unique('f/');
  const publisher = await connectClient(t, broker.port);
  const stuck = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
  const quick = await connectClient(t, broker.port);
  await stuck.subscribe(topic, 1);
  await quick.subscribe(topic, 1);

  for (let count = 0; count < 300; count++) {
    await publisher.publish(topic, String(count), { qos: 1 });
    assert.equal((await quick.receive()).payload, String(count));
  }

  for (let count = 0; count < 300; count++) {
    assert.equal((await stuck.receive()).payload, String(count)); // nothing was lost meanwhile
  }
});

test('[MQTT-4.9.0-1] [MQTT-3.3.4-7] QoS 2 left open by an earlier connection is not counted', async (t) => {
  const options = { clientId: unique('c'), properties: { sessionExpiry: 60 } };
  const before = await connectClient(t, broker.port, options);
  const most = before.connack?.properties.receiveMaximum ?? 65_535;
  for (let id = 1; id <= most; id++) {
    before.sendPublish(unique('flow/'), 'left open', { qos: 2, packetId: id });
  }
  for (let id = 1; id <= most; id++) await before.next('pubrec');
  before.drop();

  const after = await connectClient(t, broker.port, { ...options, cleanStart: false });

  assert.equal(after.connack?.sessionPresent, true);
  assert.ok((await after.publish(unique('flow/'), 'new', { qos: 1, packetId: 60_000 })) < 0x80);
  after.release(1);
  assert.equal((await after.next('pubcomp')).packetId, 1);
});
