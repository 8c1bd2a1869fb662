/**
 * MQTT 5.0, chapters 1 and 2: strings, integers, headers, packet ids.
 *
 * Faults of the framing itself stand in `v5-malformed.test.ts`; here is what a broker makes
 * of good packets, down to the bytes.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, nothingReaches, openClient, unique } from '../harness/v5-client.ts';
import {
  bytes,
  connectPacket,
  PINGREQ,
  publishPacket,
  subscribePacket,
  text,
  unsubscribePacket,
  varint,
} from '../harness/v5-packets.ts';

const broker = sharedBroker();

test('[MQTT-1.5.4-3] a byte order mark stays where it is, in topics and properties', async (t) => {
  const plain = unique('bom/');
  const marked = `\uFEFF${plain}\uFEFF`;
  const client = await connectClient(t, broker.port);
  await client.subscribe(plain, 0);
  await client.subscribe(marked, 0);

  client.send(
    publishPacket(marked, 'x', {
      properties: { contentType: '\uFEFFa\uFEFF', userProperties: [['\uFEFF', '\uFEFF']] },
    }),
  );

  const message = await client.message();
  assert.equal(message.topic, marked);
  assert.equal(message.properties.contentType, '\uFEFFa\uFEFF');
  assert.deepEqual(message.properties.userProperties, [['\uFEFF', '\uFEFF']]);
  assert.ok(message.bytes.includes(bytes(0xef, 0xbb, 0xbf, plain)));
  await nothingReaches(client, client);
});

test('[MQTT-1.5.4-1] characters outside the basic plane and composed ones pass as they are', async (t) => {
  const client = await connectClient(t, broker.port);
  const topic = `${unique('u/')}/\u{10FFFD}/\u{1F600}/e\u0301/\u00e9`;
  await client.subscribe(topic);

  client.send(publishPacket(topic, 'x'));

  assert.equal((await client.message()).topic, topic);
});

for (const size of [1, 127, 128, 16_383, 16_384, 100_000]) {
  test(`[MQTT-1.5.5-1] lengths are written in the fewest bytes: a packet about ${size} long`, async (t) => {
    const topic = unique('v/');
    const client = await connectClient(t, broker.port);
    await client.subscribe(topic);
    const around = topic.length + 3;
    const payload = Buffer.alloc(Math.max(0, size - around), 7);

    client.send(publishPacket(topic, payload));

    const message = await client.message();
    assert.deepEqual(message.bytes, publishPacket(topic, payload));
  });
}

test('[MQTT-1.5.5-1] subscription identifiers come back in their shortest form', async (t) => {
  const client = await connectClient(t, broker.port);

  for (const id of [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
    const topic = unique('id/');
    await client.subscribe(topic, 0, { subscriptionIds: [id] });
    client.send(publishPacket(topic, 'x'));

    const message = await client.message();
    assert.deepEqual(message.properties, { subscriptionIds: [id] });
    assert.ok(message.bytes.includes(bytes(varint(varint(id).length + 1), 0x0b, varint(id))));
  }
});

test('[MQTT-2.2.1-2] [MQTT-2.2.2-1] [MQTT-4.3.1-1] a QoS 0 message has no packet id, and a Property Length of 0', async (t) => {
  const topic = unique('q0/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);

  client.send(publishPacket(topic, 'payload'));

  const message = await client.message();
  assert.deepEqual(message.bytes, bytes(0x30, topic.length + 10, text(topic), 0, 'payload'));
});

test('[MQTT-2.2.2-1] SUBACK and UNSUBACK without properties have a Property Length of 0', async (t) => {
  const client = await connectClient(t, broker.port, { properties: { requestProblem: 0 } });

  client.send(subscribePacket(7, [['a', 1]]), unsubscribePacket(8, ['a']));

  assert.deepEqual((await client.next('suback')).bytes, bytes(0x90, 4, 0, 7, 0, 1));
  assert.deepEqual((await client.next('unsuback')).bytes, bytes(0xb0, 4, 0, 8, 0, 0));
});

test('[MQTT-2.2.1-4] ids of messages still open are not 0 and all different', async (t) => {
  const topic = unique('ids/');
  const client = await connectClient(t, broker.port);
  const sender = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);

  for (let count = 0; count < 20; count++) {
    await sender.publish(topic, String(count), { qos: 1 + (count % 2) });
  }

  const ids = new Set<number>();
  for (let count = 0; count < 20; count++) {
    const message = await client.message();
    assert.equal(message.payload, String(count));
    assert.notEqual(message.packetId, 0);
    ids.add(message.packetId);
  }
  assert.equal(ids.size, 20);
});

test('[MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] settled ids are taken again, open ones never', async (t) => {
  const topic = unique('wrap/');
  const client = await connectClient(t, broker.port);
  const sender = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);
  await sender.publish(topic, 'kept open', { qos: 1 });
  const open = await client.message();

  // One more message than there are ids: whoever counts without looking meets the open one.
  const batch: Buffer[] = [];
  for (let id = 1; id <= 100; id++) batch.push(publishPacket(topic, 'x', { qos: 1, packetId: id }));
  for (let round = 0; round < 660; round++) {
    sender.send(...batch);
    for (let count = 0; count < batch.length; count++) {
      await sender.next('puback');
      assert.notEqual((await client.receive()).packetId, open.packetId);
    }
  }
  client.ack('puback', open.packetId);
  await client.idle();
});

test('[MQTT-2.2.1-5] [MQTT-2.2.1-6] every answer carries the id of what it answers', async (t) => {
  const client = await connectClient(t, broker.port);
  const topic = unique('echo/');

  for (const id of [1, 0x00ff, 0x0100, 0xabcd, 0xffff]) {
    client.send(subscribePacket(id, [[topic, 0]]));
    assert.equal((await client.next('suback')).packetId, id);
    client.send(unsubscribePacket(id, [topic]));
    assert.equal((await client.next('unsuback')).packetId, id);
    client.send(publishPacket(topic, 'x', { qos: 1, packetId: id }));
    assert.equal((await client.next('puback')).packetId, id);
    client.send(publishPacket(topic, 'x', { qos: 2, packetId: id }));
    assert.equal((await client.next('pubrec')).packetId, id);
    client.send(bytes(0x62, 2, id >> 8, id & 0xff));
    assert.equal((await client.next('pubcomp')).packetId, id);
  }
});

test('[MQTT-2.2.1-5] ids of the two directions do not mix', async (t) => {
  const topic = unique('both/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);
  const sender = await connectClient(t, broker.port);
  await sender.publish(topic, 'out', { qos: 2 });
  const out = await client.message();
  const id = out.packetId;

  client.send(publishPacket(unique('in/'), 'in', { qos: 2, packetId: id }));
  assert.equal((await client.next('pubrec')).packetId, id);
  client.ack('pubrec', id);
  assert.equal((await client.next('pubrel')).packetId, id);
  client.send(bytes(0x62, 2, id >> 8, id & 0xff));
  const pubcomp = await client.next('pubcomp');

  assert.deepEqual([pubcomp.packetId, pubcomp.reason], [id, 0]);
  client.ack('pubcomp', id);
  await client.idle();
});

test('[MQTT-4.2.0-1] the stream may be cut anywhere: packets are read byte by byte', async (t) => {
  const client = await openClient(t, broker.port);
  const topic = unique('cut/');
  const stream = bytes(
    connectPacket({ clientId: unique('c') }),
    subscribePacket(1, [[topic, 1]]),
    publishPacket(topic, 'slow', { qos: 1, packetId: 2, properties: { contentType: 'c' } }),
    PINGREQ,
  );

  for (const one of stream) {
    client.send(Buffer.of(one));
    await new Promise((resolve) => setImmediate(resolve));
  }

  await client.next('connack');
  await client.next('suback');
  assert.equal((await client.find('puback')).packetId, 2);
  assert.equal((await client.find('publish')).payload, 'slow');
  await client.next('pingresp');
});

test('[MQTT-4.2.0-1] many packets may come in one piece and are answered in order', async (t) => {
  const client = await openClient(t, broker.port);
  const subscribes = Array.from({ length: 200 }, (_, index) =>
    subscribePacket(index + 1, [[`piece/${index}`, index % 3]]),
  );

  client.send(connectPacket({ clientId: unique('c') }), ...subscribes, PINGREQ);

  await client.next('connack');
  for (let index = 0; index < 200; index++) {
    const suback = await client.next('suback');
    assert.deepEqual([suback.packetId, suback.reasons], [index + 1, [index % 3]]);
  }
  await client.next('pingresp');
});
