/**
 * MQTT 3.1.1, chapter 3.3 and 4.3: PUBLISH in both directions, QoS by QoS, and who gets it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  expectCut,
  field,
  hex,
  packet,
  type Received,
  sharedBroker,
  u16,
  unique,
} from '../harness/index.ts';

const broker = sharedBroker();

const versions = [3, 4] as const;
const qosLevels = [0, 1, 2] as const;

for (const sender of versions) {
  for (const receiver of versions) {
    for (const qos of qosLevels) {
      for (const granted of qosLevels) {
        const names = `v${sender} at QoS ${qos} to v${receiver} granted ${granted}`;
        test(`[MQTT-3.8.4-6] [MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-3.3.1-2] ${names}`, async (t) => {
          const topic = unique('t/');
          const publisher = await broker.connect(t, { version: sender });
          const subscriber = await broker.connect(t, { version: receiver });
          const suback = await subscriber.subscribe(topic, granted);
          assert.deepEqual(suback.granted, [granted]);

          const ack = await publisher.publish(topic, 'payload', { qos, messageId: 77 });

          assert.equal(ack?.cmd, [undefined, 'puback', 'pubcomp'][qos]);
          const got = await subscriber.next('publish');
          const expected = Math.min(qos, granted);
          assert.equal(got.raw[0], 0x30 | (expected << 1), 'QoS, DUP 0, RETAIN 0');
          const id = expected > 0 ? u16(got.messageId!) : hex('');
          assert.deepEqual(got.raw, packet(got.raw[0]!, field(topic), id, Buffer.from('payload')));
          if (expected === 1) subscriber.send({ cmd: 'puback', messageId: got.messageId });
          if (expected === 2) {
            subscriber.send({ cmd: 'pubrec', messageId: got.messageId });
            assert.deepEqual((await subscriber.next()).raw, packet(0x62, u16(got.messageId!)));
            subscriber.send({ cmd: 'pubcomp', messageId: got.messageId });
          }
          await subscriber.nothing();
          await publisher.nothing();
        });
      }
    }
  }
}

test('[MQTT-3.3.4-1] the reply to PUBLISH is none, PUBACK or PUBREC, by QoS', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);

  client.sendPublish(topic, 'x', { qos: 0 });
  await client.nothing();
  client.sendPublish(topic, 'x', { qos: 1, messageId: 5 });
  assert.equal((await client.next()).raw.toString('hex'), '40020005');
  await client.nothing();
  client.sendPublish(topic, 'x', { qos: 2, messageId: 6 });
  assert.equal((await client.next()).raw.toString('hex'), '50020006');
  await client.nothing();
  client.send({ cmd: 'pubrel', messageId: 6 });
  assert.equal((await client.next()).raw.toString('hex'), '70020006');
  await client.nothing();
});

const QOS_3 = {
  'QoS 3': packet(0x36, field('a'), hex('00 01 78')),
  'QoS 3 with DUP': packet(0x3e, field('a'), hex('00 01 78')),
  'QoS 3 with RETAIN': packet(0x37, field('a'), hex('00 01 78')),
};
for (const [name, bytes] of Object.entries(QOS_3)) {
  test(`[MQTT-3.3.1-4] ${name} closes the connection`, (t) => expectCut(t, broker, bytes));
}

test('[MQTT-3.3.1-2] DUP with QoS 0 closes or is delivered with DUP 0', async (t) => {
  const topic = unique('t/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);
  const client = await broker.connect(t);

  client.sendBytes(Buffer.concat([packet(0x38, field(topic), hex('78')), hex('c0 00')]));

  const answer = await client.nextOrClose();
  if (answer !== undefined) assert.equal((await watcher.next('publish')).dup, false);
  await watcher.nothing();
});

for (const qos of [1, 2] as const) {
  test(`[MQTT-3.3.1-3] the publisher's DUP is not passed on at QoS ${qos}`, async (t) => {
    const topic = unique('t/');
    const publisher = await broker.connect(t);
    const subscriber = await broker.connect(t);
    await subscriber.subscribe(topic, 2);

    await publisher.publish(topic, 'x', { qos, dup: true, retain: true });

    const got = await subscriber.receive();
    assert.deepEqual([got.dup, got.retain, got.qos], [false, false, qos]);
    await subscriber.nothing();
    const late = await broker.connect(t);
    await late.subscribe(topic, 2);
    assert.equal((await late.receive()).dup, false);
  });
}

for (const topic of ['a/+', '+', 'a/#', '#', 'a+', 'a#b', 'a/+/b', '/+']) {
  for (const firstByte of [0x30, 0x31, 0x32, 0x34]) {
    test(`[MQTT-3.3.2-2] [MQTT-4.7.1-1] topic name '${topic}' (0x${firstByte.toString(16)}) closes the connection`, (t) =>
      expectCut(
        t,
        broker,
        packet(firstByte, field(topic), firstByte < 0x32 ? hex('') : hex('00 01'), hex('78')),
      ));
  }
}

test('[MQTT-4.7.3-1] an empty topic name closes the connection', async (t) => {
  await expectCut(t, broker, packet(0x30, field(''), hex('78')));
  await expectCut(t, broker, packet(0x32, field(''), hex('00 01 78')));
});

test('[MQTT-3.3.2-1] the topic name leads the variable header', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  await client.subscribe(topic, 1);

  client.sendBytes(packet(0x32, field(topic), hex('12 34'), Buffer.from('payload')));

  assert.equal((await client.first('puback')).messageId, 0x1234);
  const got = await client.next('publish');
  assert.deepEqual(
    got.raw,
    packet(0x32, field(topic), u16(got.messageId!), Buffer.from('payload')),
  );
});

test('[MQTT-3.3.5-1] overlapping filters: delivery at the highest matching QoS', async (t) => {
  const topic = unique('t/');
  const subscriber = await broker.connect(t);
  const publisher = await broker.connect(t);
  await subscriber.subscribe([
    { topic: `${topic}/#`, qos: 1 },
    { topic: `${topic}/+`, qos: 2 },
    { topic: `${topic}/a`, qos: 0 },
  ]);

  for (const qos of qosLevels) {
    await publisher.publish(`${topic}/a`, `at ${qos}`, { qos });
    await publisher.nothing();
    const copies = await allUntilNothing(subscriber);
    assert.ok(copies.length >= 1 && copies.length <= 3);
    assert.equal(Math.max(...copies.map((one) => one.qos!)), qos, 'the highest granted is 2');
    for (const copy of copies) {
      assert.equal(copy.payload?.toString(), `at ${qos}`);
      await subscriber.ack(copy);
    }
  }
  await subscriber.nothing();
});

/** The messages under way to a client, up to the answer of a PINGREQ. */
async function allUntilNothing(client: {
  sendBytes(bytes: string): void;
  next(): Promise<Received>;
}): Promise<Received[]> {
  client.sendBytes('c0 00');
  const packets: Received[] = [];
  for (let one = await client.next(); one.cmd !== 'pingresp'; one = await client.next()) {
    packets.push(one);
  }
  return packets;
}

test('[MQTT-3.3.5-2] a publish to a topic of the broker is acknowledged or closes, nothing else', async (t) => {
  for (const qos of [1, 2] as const) {
    const client = await broker.connect(t);
    const watcher = await broker.connect(t);
    await watcher.subscribe('$SYS/ternmq/forbidden', 2);
    client.sendPublish('$SYS/ternmq/forbidden', 'x', { qos, messageId: 9 });
    const answer = await client.nextOrClose();
    if (answer !== undefined)
      assert.equal(answer.raw.toString('hex'), qos === 1 ? '40020009' : '50020009');
  }
});

test('[MQTT-4.3.2-2] every QoS 1 PUBLISH is a new message, also under an old id and with DUP', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const subscriber = await broker.connect(t);
  await subscriber.subscribe(topic, 1);

  for (const dup of [false, true, true]) {
    publisher.sendPublish(topic, `dup ${dup}`, { qos: 1, messageId: 4, dup });
    assert.equal((await publisher.next()).raw.toString('hex'), '40020004');
  }

  for (const dup of [false, true, true]) {
    const got = await subscriber.receive();
    assert.deepEqual([got.payload?.toString(), got.dup], [`dup ${dup}`, false]);
  }
  await subscriber.nothing();
});

test('[MQTT-4.3.2-1] each QoS 1 message has an id of its own until its PUBACK', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const subscriber = await broker.connect(t);
  await subscriber.subscribe(topic, 1);
  for (let i = 0; i < 10; i++) await publisher.publish(topic, String(i), { qos: 1 });

  const open = await subscriber.take(10, 'publish');

  assert.equal(new Set(open.map((one) => one.messageId)).size, 10);
  subscriber.send({ cmd: 'puback', messageId: open[4]!.messageId });
  const taken = new Set(open.filter((_, i) => i !== 4).map((one) => one.messageId));
  for (let i = 0; i < 5; i++) {
    await publisher.publish(topic, 'next', { qos: 1 });
    const { messageId, dup } = await subscriber.next('publish');
    assert.ok(!taken.has(messageId), 'an open id is not used again');
    assert.equal(dup, false);
    taken.add(messageId);
  }
});

test('[MQTT-2.3.1-4] ids are used again once they are free, and never while open', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const subscriber = await broker.connect(t);
  await subscriber.subscribe(topic, 1);
  await publisher.publish(topic, 'stays open', { qos: 1 });
  const held = await subscriber.next('publish');

  // More messages than there are ids: the broker must come round, past the one still open.
  const rounds = 66_000;
  const batch = 500;
  let id = 0;
  for (let sent = 0; sent < rounds; sent += batch) {
    for (let i = 0; i < batch; i++) {
      id = (id % 60_000) + 1;
      publisher.sendPublish(topic, 'x', { qos: 1, messageId: id });
    }
    for (let i = 0; i < batch; i++) {
      const got = await subscriber.next('publish');
      assert.notEqual(got.messageId, held.messageId);
      assert.ok(got.messageId! > 0);
      subscriber.send({ cmd: 'puback', messageId: got.messageId });
    }
    for (let i = 0; i < batch; i++) await publisher.next('puback');
  }
  subscriber.send({ cmd: 'puback', messageId: held.messageId });
  await subscriber.nothing();
});

test('[MQTT-4.5.0-1] a message reaches every client that subscribed, present or absent', async (t) => {
  const topic = unique('t/');
  const filters = [topic, `${topic}/#`, topic.replace('t/', '+/')];
  const present = [];
  for (const filter of filters) {
    for (const version of versions) {
      const client = await broker.connect(t, { version });
      await client.subscribe(filter, 2);
      present.push(client);
    }
  }
  const clientId = unique();
  const absent = await broker.connect(t, { clientId, clean: false });
  await absent.subscribe(topic, 2);
  await absent.disconnect();
  const stranger = await broker.connect(t);
  await stranger.subscribe(`${topic}/+`, 2);
  const publisher = present[0]!;

  await publisher.publish(topic, 'to all', { qos: 2 });

  for (const client of present) {
    assert.equal((await client.receive()).payload?.toString(), 'to all');
    await client.nothing();
  }
  await stranger.nothing();
  const back = await broker.connect(t, { clientId, clean: false });
  assert.equal((await back.receive()).payload?.toString(), 'to all');
  await back.nothing();
});

test('[MQTT-4.5.0-1] a client that stalls does not keep messages from the others', async (t) => {
  const topic = unique('t/');
  const stalled = await broker.connect(t);
  await stalled.subscribe(topic, 1);
  const lively = await broker.connect(t);
  await lively.subscribe(topic, 1);
  const publisher = await broker.connect(t);
  stalled.stream.pause();

  for (let i = 0; i < 200; i++) await publisher.publish(topic, String(i), { qos: 1 });

  for (let i = 0; i < 200; i++) {
    assert.equal((await lively.receive()).payload?.toString(), String(i));
  }
  stalled.stream.resume();
  for (let i = 0; i < 200; i++) {
    assert.equal((await stalled.receive()).payload?.toString(), String(i));
  }
});
