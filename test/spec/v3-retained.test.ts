/**
 * MQTT 3.1.1: retained messages (3.3.1.3, 3.1.2.4, 3.8.4).
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type Received, sharedBroker, unique } from '../harness/index.ts';

const broker = sharedBroker();

const summary = (publish: Received): unknown[] => [
  publish.topic,
  publish.payload?.toString(),
  publish.qos,
  publish.retain,
  publish.dup,
];

/** What a new subscriber is sent for `filter`, up to and not including the end of it. */
async function keptFor(t: TestContext, filter: string, count: number): Promise<unknown[]> {
  const late = await broker.connect(t);
  await late.subscribe(filter, 2);
  const kept: unknown[] = [];
  while (kept.length < count) kept.push(summary(await late.receive()));
  await late.nothing();
  return kept;
}

for (const version of [3, 4] as const) {
  for (const qos of [0, 1, 2] as const) {
    for (const granted of [0, 1, 2] as const) {
      test(`[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8] v${version}: retained at QoS ${qos}, subscribed at QoS ${granted}`, async (t) => {
        const topic = unique('kept/');
        const publisher = await broker.connect(t, { version });
        await publisher.publish(topic, 'kept', { qos, retain: true });
        await publisher.nothing();
        await publisher.disconnect();

        for (let i = 0; i < 2; i++) {
          const late = await broker.connect(t, { version });
          await late.subscribe(topic, granted);
          const got = await late.receive();
          assert.deepEqual(summary(got), [topic, 'kept', Math.min(qos, granted), true, false]);
          await late.nothing();
        }
      });
    }
  }
}

test('[MQTT-3.3.1-6] a new subscription gets the last retained message only', async (t) => {
  const topic = unique('kept/');
  const publisher = await broker.connect(t);
  for (const [payload, qos] of [
    ['first', 2],
    ['second', 0],
    ['third', 1],
  ] as const) {
    await publisher.publish(topic, payload, { qos, retain: true });
  }

  assert.deepEqual(await keptFor(t, topic, 1), [[topic, 'third', 1, true, false]]);
});

test('[MQTT-3.3.1-6] a wildcard gets the retained message of each topic it matches', async (t) => {
  const root = unique('kept/');
  const publisher = await broker.connect(t);
  const topics = [`${root}`, `${root}/a`, `${root}/a/b`, `${root}/c`, `${root}/`, `${root}/c/b`];
  for (const topic of topics) await publisher.publish(topic, topic, { qos: 1, retain: true });
  await publisher.publish(`${root}x`, 'not below it', { qos: 1, retain: true });

  const expected: Record<string, string[]> = {
    [`${root}/#`]: topics,
    [`${root}/+`]: [`${root}/a`, `${root}/c`, `${root}/`],
    [`${root}/+/b`]: [`${root}/a/b`, `${root}/c/b`],
    [`${root}/a/#`]: [`${root}/a`, `${root}/a/b`],
    [root]: [root],
    [`${root}/none`]: [],
  };
  for (const [filter, wanted] of Object.entries(expected)) {
    const got = (await keptFor(t, filter, wanted.length)) as [string, string, ...unknown[]][];
    assert.deepEqual(got.map(([topic]) => topic).sort(), [...wanted].sort(), filter);
    for (const [topic, payload, , retain] of got)
      assert.deepEqual([payload, retain], [topic, true]);
  }
});

test('[MQTT-3.3.1-7] QoS 0 with RETAIN 1 evicts the older retained message', async (t) => {
  const topic = unique('kept/');
  const publisher = await broker.connect(t);
  await publisher.publish(topic, 'older', { qos: 2, retain: true });

  await publisher.publish(topic, 'newer', { qos: 0, retain: true });
  await publisher.nothing();

  assert.deepEqual(await keptFor(t, topic, 1), [[topic, 'newer', 0, true, false]]);
});

for (const version of [3, 4] as const) {
  test(`[MQTT-3.3.1-9] v${version}: a subscription that already stands gets RETAIN 0`, async (t) => {
    const topic = unique('kept/');
    const client = await broker.connect(t, { version });
    await client.subscribe(topic, 2);

    for (const qos of [0, 1, 2] as const) {
      await client.publish(topic, `live ${qos}`, { qos, retain: true });
      const got = await client.receive();
      assert.deepEqual(summary(got), [topic, `live ${qos}`, qos, false, false]);
    }
    await client.nothing();
  });

  test(`[MQTT-3.3.1-9] v${version}: what waited for an absent client has RETAIN 0`, async (t) => {
    const topic = unique('kept/');
    const clientId = unique();
    const publisher = await broker.connect(t);
    const before = await broker.connect(t, { version, clientId, clean: false });
    await before.subscribe(topic, 1);
    await before.disconnect();

    await publisher.publish(topic, 'queued', { qos: 1, retain: true });

    const after = await broker.connect(t, { version, clientId, clean: false });
    assert.deepEqual(summary(await after.receive()), [topic, 'queued', 1, false, false]);
    await after.nothing();
  });

  for (const qos of [0, 1, 2] as const) {
    test(`[MQTT-3.3.1-10] [MQTT-3.3.1-11] v${version}: an empty payload at QoS ${qos} is delivered and clears the topic`, async (t) => {
      const topic = unique('kept/');
      const client = await broker.connect(t, { version });
      await client.publish(topic, 'kept', { qos: 1, retain: true });
      await client.subscribe(topic, 2);
      assert.equal((await client.receive()).retain, true);

      await client.publish(topic, '', { qos, retain: true });

      assert.deepEqual(summary(await client.receive()), [topic, '', qos, false, false]);
      await client.nothing();
      assert.deepEqual(await keptFor(t, topic, 0), []);
      assert.deepEqual(await keptFor(t, `${topic}/#`, 0), []);
    });
  }
}

test('[MQTT-3.3.1-11] an empty payload on a topic without retained message is not kept', async (t) => {
  const topic = unique('kept/');
  const publisher = await broker.connect(t);
  await publisher.publish(topic, '', { qos: 1, retain: true });
  assert.deepEqual(await keptFor(t, topic, 0), []);
  await publisher.publish(topic, 'kept', { qos: 1, retain: true });
  assert.deepEqual(await keptFor(t, topic, 1), [[topic, 'kept', 1, true, false]]);
});

test('[MQTT-3.3.1-10] clearing one topic leaves its neighbours', async (t) => {
  const root = unique('kept/');
  const publisher = await broker.connect(t);
  for (const topic of [root, `${root}/a`, `${root}/b`]) {
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
  }

  await publisher.publish(`${root}/a`, '', { qos: 1, retain: true });

  const left = (await keptFor(t, `${root}/#`, 2)) as [string][];
  assert.deepEqual(left.map(([topic]) => topic).sort(), [root, `${root}/b`]);
});

test('[MQTT-3.3.1-12] RETAIN 0 neither enters nor changes the store', async (t) => {
  const root = unique('kept/');
  const publisher = await broker.connect(t);
  await publisher.publish(`${root}/a`, 'kept', { qos: 1, retain: true });

  for (const qos of [0, 1, 2] as const) {
    await publisher.publish(`${root}/a`, 'passing', { qos });
    await publisher.publish(`${root}/a`, '', { qos });
    await publisher.publish(`${root}/b`, 'passing', { qos });
  }
  await publisher.nothing();

  assert.deepEqual(await keptFor(t, `${root}/#`, 1), [[`${root}/a`, 'kept', 1, true, false]]);
});

test("[MQTT-3.1.2-7] retained messages outlive their publisher's session", async (t) => {
  const topic = unique('kept/');
  const clientId = unique();
  for (const clean of [true, false]) {
    const publisher = await broker.connect(t, { clientId, clean });
    await publisher.publish(`${topic}/${clean}`, 'kept', { qos: 1, retain: true });
    await publisher.disconnect();
  }
  await (await broker.connect(t, { clientId, clean: true })).disconnect();

  const kept = (await keptFor(t, `${topic}/+`, 2)) as [string][];
  assert.deepEqual(kept.map(([name]) => name).sort(), [`${topic}/false`, `${topic}/true`]);
});

test('[MQTT-3.1.2-7] the end of a subscriber, its session and its subscription leave them alone', async (t) => {
  const topic = unique('kept/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  await publisher.publish(topic, 'kept', { qos: 1, retain: true });
  const subscriber = await broker.connect(t, { clientId, clean: false });
  await subscriber.subscribe(topic, 1);
  await subscriber.receive();
  await subscriber.unsubscribe(topic);
  await subscriber.disconnect();
  await (await broker.connect(t, { clientId, clean: true })).disconnect();

  assert.deepEqual(await keptFor(t, topic, 1), [[topic, 'kept', 1, true, false]]);
});

test('[MQTT-3.3.1-8] [MQTT-3.8.4-3] subscribing again sends the retained message again', async (t) => {
  const topic = unique('kept/');
  const client = await broker.connect(t);
  await client.publish(topic, 'kept', { qos: 1, retain: true });

  for (const granted of [0, 1, 2, 0] as const) {
    await client.subscribe(topic, granted);
    assert.deepEqual(summary(await client.receive()), [
      topic,
      'kept',
      Math.min(1, granted),
      true,
      false,
    ]);
    await client.nothing();
  }
});

test('[MQTT-3.3.1-6] a resumed session is not sent retained messages again', async (t) => {
  const topic = unique('kept/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  await publisher.publish(topic, 'kept', { qos: 1, retain: true });
  const before = await broker.connect(t, { clientId, clean: false });
  await before.subscribe(topic, 1);
  await before.receive();
  await before.nothing();
  await before.disconnect();

  const after = await broker.connect(t, { clientId, clean: false });

  await after.nothing();
});

test('[MQTT-3.3.1-6] a retained message of a topic matched by several filters of one SUBSCRIBE', async (t) => {
  const topic = unique('kept/');
  const client = await broker.connect(t);
  await client.publish(`${topic}/a`, 'kept', { qos: 1, retain: true });

  const suback = await client.subscribe([`${topic}/a`, `${topic}/+`, `${topic}/none`], 1);

  assert.deepEqual(suback.granted, [1, 1, 1]);
  // Each of the two matching filters is a subscription of its own [MQTT-3.8.4-4].
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(summary(await client.receive()), [`${topic}/a`, 'kept', 1, true, false]);
  }
  await client.nothing();
});

test('[MQTT-3.3.1-6] a hundred retained messages come to a wildcard', async (t) => {
  const root = unique('kept/');
  const publisher = await broker.connect(t);
  for (let i = 0; i < 100; i++)
    publisher.sendPublish(`${root}/${i}`, String(i), { qos: 1, retain: true });
  for (let i = 0; i < 100; i++) await publisher.next('puback');

  const kept = (await keptFor(t, `${root}/+`, 100)) as [string, string][];

  assert.equal(new Set(kept.map(([topic]) => topic)).size, 100);
  for (const [topic, payload] of kept) assert.equal(topic, `${root}/${payload}`);
});

test('[MQTT-3.3.1-6] [MQTT-4.1.0-1] what a kept session is owed when the line breaks comes when it is resumed', async (t) => {
  const count = 1_300; // more than may be open at once
  const parent = unique('kept');
  const publisher = await broker.connect(t);
  for (let i = 0; i < count; i++) {
    publisher.sendPublish(`${parent}/${i}`, 'kept', { qos: 1, retain: true });
  }
  await publisher.take(count, 'puback');
  const clientId = unique();
  const first = await broker.connect(t, { clientId, clean: false });
  await first.subscribe(`${parent}/#`, 1);
  const topics = new Set<string>();
  for (let i = 0; i < 100; i++) topics.add((await first.next('publish')).topic!);
  first.abort();

  const second = await broker.connect(t, { clientId, clean: false, autoAck: true });
  assert.equal(second.connack?.sessionPresent, true);
  while (topics.size < count) {
    const message = await second.next('publish');
    assert.equal(message.retain, true);
    topics.add(message.topic!);
  }
});
