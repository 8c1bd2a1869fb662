/**
 * MQTT 3.1.1, chapters 3.8 to 3.11: SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectBytes,
  expectCut,
  field,
  hex,
  packet,
  sharedBroker,
  u16,
  unique,
  type WireClient,
} from '../harness/index.ts';

const broker = sharedBroker();

test('[MQTT-3.8.3-3] SUBSCRIBE without a filter closes the connection', (t) =>
  expectCut(t, broker, packet(0x82, u16(1))));

test('[MQTT-3.10.3-2] UNSUBSCRIBE without a filter closes the connection', (t) =>
  expectCut(t, broker, packet(0xa2, u16(1))));

for (const qosByte of [0x03, 0x04, 0x05, 0x08, 0x10, 0x20, 0x40, 0x80, 0x82, 0xff]) {
  test(`[MQTT-3.8.3-4] QoS byte 0x${qosByte.toString(16)} in SUBSCRIBE closes the connection`, async (t) => {
    const bad = Buffer.concat([field('a'), Buffer.from([qosByte])]);
    await expectCut(t, broker, packet(0x82, u16(1), bad));
    await expectCut(t, broker, packet(0x82, u16(1), field('b'), hex('01'), bad));
  });
}

for (const version of [3, 4] as const) {
  test(`[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2] v${version}: SUBACK has the id and its codes in order`, async (t) => {
    const topic = unique('t/');
    const client = await broker.connect(t, { version });
    const codes = [2, 0, 1, 1, 0, 2, 2];

    client.send({
      cmd: 'subscribe',
      messageId: 0xabc,
      subscriptions: codes.map((qos, i) => ({ topic: `${topic}/${i}`, qos })),
    });

    const suback = await client.next();
    assert.deepEqual(suback.raw, packet(0x90, u16(0xabc), Buffer.from(codes)));
    await client.nothing();
  });
}

test('[MQTT-3.8.4-4] several filters act like several SUBSCRIBEs, with one SUBACK', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const client = await broker.connect(t);

  const suback = await client.subscribe([
    { topic: `${topic}/a`, qos: 0 },
    { topic: `${topic}/b`, qos: 2 },
    { topic: `${topic}/c`, qos: 1 },
    { topic: `${topic}/a`, qos: 1 },
  ]);

  assert.deepEqual(suback.granted, [0, 2, 1, 1]);
  for (const [name, qos] of [
    ['a', 1],
    ['b', 2],
    ['c', 1],
  ] as const) {
    await publisher.publish(`${topic}/${name}`, name, { qos: 2 });
    assert.equal((await client.receive()).qos, qos, 'the later of two equal filters counts');
    await client.nothing();
  }
});

test('[MQTT-3.8.4-4] a SUBSCRIBE of 500 filters is granted in full', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);

  const suback = await client.subscribe(
    Array.from({ length: 500 }, (_, i) => `${topic}/${i}`),
    1,
  );

  assert.equal(suback.granted?.length, 500);
  assert.ok(suback.granted.every((code) => code === 1));
  for (const i of [0, 250, 499]) {
    await client.publish(`${topic}/${i}`, String(i), { qos: 1 });
    assert.equal((await client.receive()).payload?.toString(), String(i));
  }
});

test('[MQTT-3.8.4-3] subscribing again replaces the subscription and its QoS', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const client = await broker.connect(t);

  for (const qos of [0, 2, 1, 0, 1, 2] as const) {
    assert.deepEqual((await client.subscribe(topic, qos)).granted, [qos]);
    await publisher.publish(topic, `for ${qos}`, { qos: 2 });
    const got = await client.receive();
    assert.deepEqual([got.payload?.toString(), got.qos], [`for ${qos}`, qos]);
    await client.nothing();
  }
  await client.unsubscribe(topic);
  await publisher.publish(topic, 'x', { qos: 1 });
  await client.nothing();
});

test('[MQTT-3.8.4-3] replacing a subscription interrupts no flow of messages', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const client = await broker.connect(t, { autoAck: true });
  await client.subscribe(topic, 1);

  for (let i = 0; i < 200; i++) {
    publisher.sendPublish(topic, String(i), { qos: 1 });
    if (i % 10 === 0) {
      client.send({ cmd: 'subscribe', messageId: 1000 + i, subscriptions: [{ topic, qos: 1 }] });
    }
  }

  for (let i = 0; i < 200; i++) {
    assert.equal((await client.first('publish')).payload?.toString(), String(i));
  }
  for (let i = 0; i < 200; i += 10) await client.first('suback', 1000 + i);
  await client.nothing();
});

test('[MQTT-3.8.4-3] subscribing again while messages wait loses none of them', async (t) => {
  const topic = unique('t/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  const before = await broker.connect(t, { clientId, clean: false });
  await before.subscribe(topic, 1);
  await before.disconnect();
  const count = 3_000;
  for (let i = 0; i < count; i++) publisher.sendPublish(topic, String(i), { qos: 1 });
  for (let i = 0; i < count; i++) await publisher.next('puback');

  // As most clients do: the subscriptions are made again with every connection.
  const after = await broker.open(t);
  const subscribe = packet(0x82, u16(5), field(topic), hex('01'));
  after.sendBytes(
    Buffer.concat([connectBytes({ flags: 0, payload: [field(clientId)] }), subscribe]),
  );

  assert.equal((await after.next('connack')).sessionPresent, true);
  for (let i = 0; i < count; i++) {
    const got = await after.first('publish');
    assert.equal(got.payload?.toString(), String(i));
    if (i === 500) after.sendBytes(subscribe);
    after.send({ cmd: 'puback', messageId: got.messageId });
  }
  for (let i = 0; i < 2; i++) await after.first('suback', 5);
  await after.nothing();
});

test('[MQTT-3.8.4-3] a filter is the same only if it is the same text', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const client = await broker.connect(t);
  await client.subscribe(`${topic}/+`, 1);
  await client.subscribe(`${topic}/a`, 0);
  await client.unsubscribe(`${topic}/a`);

  await publisher.publish(`${topic}/a`, 'x', { qos: 1 });

  const got = await client.receive();
  assert.deepEqual([got.qos, got.payload?.toString()], [1, 'x']);
  await client.nothing();
});

test('[MQTT-3.8.3-2] filters with wildcards are granted', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  const suback = await client.subscribe([`${topic}/#`, `${topic}/+/x`, '+/+/+/none'], 1);
  assert.deepEqual(suback.granted, [1, 1, 1]);
  await client.publish(`${topic}/y/x`, 'x', { qos: 1 });
  assert.equal((await client.receive()).topic, `${topic}/y/x`);
});

test('[MQTT-3.8.4-1] a packet id still in use is taken as new: each SUBSCRIBE has its SUBACK', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  for (let i = 0; i < 3; i++) {
    client.send({
      cmd: 'subscribe',
      messageId: 7,
      subscriptions: [{ topic: `${topic}${i}`, qos: 0 }],
    });
  }
  for (let i = 0; i < 3; i++) assert.equal((await client.next()).raw.toString('hex'), '9003000700');
  await client.nothing();
});

for (const version of [3, 4] as const) {
  test(`[MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] v${version}: UNSUBSCRIBE ends the subscription`, async (t) => {
    const topic = unique('t/');
    const publisher = await broker.connect(t);
    const client = await broker.connect(t, { version });
    const other = await broker.connect(t, { version });
    await client.subscribe(topic, 2);
    await other.subscribe(topic, 2);

    client.send({ cmd: 'unsubscribe', messageId: 0x1234, unsubscriptions: [topic] });
    assert.equal((await client.next()).raw.toString('hex'), 'b0021234');

    for (const qos of [0, 1, 2] as const) {
      await publisher.publish(topic, String(qos), { qos });
      await publisher.nothing();
      assert.equal((await other.receive()).payload?.toString(), String(qos));
    }
    await client.nothing();
  });
}

test('[MQTT-3.10.4-1] wildcards in UNSUBSCRIBE stand for themselves only', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const client = await broker.connect(t);
  await client.subscribe([`${topic}/a`, `${topic}/+`, `${topic}/#`, `${topic}/A`]);
  const hears = async (): Promise<number> => {
    await publisher.publish(`${topic}/a`, 'x', { qos: 1 });
    return await countUntilNothing(client);
  };

  await client.unsubscribe([`${topic}/b`, '#', '+/+', `${topic}/a/#`, `${topic}/+/`, `${topic}`]);
  assert.ok((await hears()) >= 1);
  await client.unsubscribe(`${topic}/#`);
  assert.ok((await hears()) >= 1, 'two of three are left');
  await client.unsubscribe(`${topic}/+`);
  assert.equal(await hears(), 1, 'only the plain one is left');
  await client.unsubscribe(`${topic}/A`);
  assert.equal(await hears(), 1, 'case matters');
  await client.unsubscribe(`${topic}/a`);
  assert.equal(await hears(), 0);
});

async function countUntilNothing(client: WireClient): Promise<number> {
  client.sendBytes('c0 00');
  let count = 0;
  while ((await client.next()).cmd === 'publish') count += 1;
  return count;
}

test('[MQTT-3.10.4-5] UNSUBACK comes even when nothing was deleted', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  for (const filters of [[topic], [topic, `${topic}/#`, '#'], [topic, topic]]) {
    client.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: filters });
    assert.equal((await client.next()).raw.toString('hex'), 'b0020009');
  }
  await client.nothing();
});

test('[MQTT-3.10.4-6] [MQTT-3.10.3-1] several filters in UNSUBSCRIBE are all deleted, with one UNSUBACK', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  const publisher = await broker.connect(t);
  const filters = ['a', 'b', 'c', 'd'].map((name) => `${topic}/${name}`);
  await client.subscribe(filters, 1);

  client.sendBytes(
    packet(0xa2, u16(3), field(filters[0]!), field(filters[2]!), field(filters[3]!)),
  );

  assert.equal((await client.next()).raw.toString('hex'), 'b0020003');
  for (const filter of filters) await publisher.publish(filter, filter, { qos: 1 });
  assert.equal((await client.receive()).payload?.toString(), filters[1]);
  await client.nothing();
});

test('[MQTT-3.10.4-3] messages under way at UNSUBSCRIBE are finished', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const client = await broker.connect(t);
  await client.subscribe(topic, 2);
  await publisher.publish(topic, 'one', { qos: 1 });
  await publisher.publish(topic, 'two', { qos: 2 });
  await publisher.publish(topic, 'three', { qos: 2 });
  const [one, two, three] = await client.take(3, 'publish');
  client.send({ cmd: 'pubrec', messageId: three!.messageId });
  await client.next('pubrel');

  await client.unsubscribe(topic);

  client.send({ cmd: 'puback', messageId: one!.messageId });
  client.send({ cmd: 'pubrec', messageId: two!.messageId });
  assert.deepEqual((await client.next()).raw, packet(0x62, u16(two!.messageId!)));
  client.send({ cmd: 'pubcomp', messageId: two!.messageId });
  client.send({ cmd: 'pubcomp', messageId: three!.messageId });
  await client.nothing();
});

test('[MQTT-3.10.4-3] messages under way at UNSUBSCRIBE are sent again after a reconnect', async (t) => {
  const topic = unique('t/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  const before = await broker.connect(t, { clientId, clean: false });
  await before.subscribe(topic, 2);
  await publisher.publish(topic, 'one', { qos: 1 });
  await publisher.publish(topic, 'two', { qos: 2 });
  const open = await before.take(2, 'publish');
  await before.unsubscribe(topic);
  before.abort();
  await publisher.publish(topic, 'too late', { qos: 2 });

  const after = await broker.connect(t, { clientId, clean: false });

  for (const publish of open) {
    const again = await after.next('publish');
    assert.deepEqual(
      [again.messageId, again.payload?.toString(), again.dup],
      [publish.messageId, publish.payload?.toString(), true],
    );
    await after.ack(again);
  }
  await after.nothing();
});

test('[MQTT-3.10.4-2] UNSUBSCRIBE of a kept session holds while the client is away', async (t) => {
  const topic = unique('t/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  const before = await broker.connect(t, { clientId, clean: false });
  await before.subscribe(topic, 1);
  await before.unsubscribe(topic);
  await before.disconnect();

  await publisher.publish(topic, 'x', { qos: 1 });

  const after = await broker.connect(t, { clientId, clean: false });
  assert.equal(after.connack?.sessionPresent, true);
  await after.nothing();
});
