/**
 * MQTT 5.0, sections 3.3.1.3 and 3.8.3.1: retained messages and the options about them.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, elapse, nothingReaches, unique } from '../harness/v5-client.ts';
import {
  publishPacket,
  RETAIN_AS_PUBLISHED,
  RETAIN_IF_NEW,
  RETAIN_NEVER,
  subscribePacket,
} from '../harness/v5-packets.ts';
import { violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();

violation(
  broker,
  '[MQTT-4.13.1-1] Retain Handling 3',
  subscribePacket(1, [['a', 0x30]]),
  [0x81, 0x82],
);

for (const qos of [0, 1, 2]) {
  test(`[MQTT-3.3.1-5] a retained message replaces the earlier one, at QoS ${qos}`, async (t) => {
    const topic = unique('r/');
    const client = await connectClient(t, broker.port);
    await client.publish(topic, 'old', { retain: true, qos: 1 });
    await client.publish(topic, 'new', { retain: true, qos });
    const late = await connectClient(t, broker.port);

    await late.subscribe(topic, 2);

    const message = await late.receive();
    assert.deepEqual([message.payload, message.retain, message.qos], ['new', true, qos]);
    assert.equal(message.dup, false);
    await nothingReaches(late, client);
  });
}

test('[MQTT-3.3.1-5] [MQTT-3.8.4-8] a retained message comes at the lower of published and granted QoS', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.publish(topic, 'x', { retain: true, qos: 2 });

  for (const granted of [0, 1, 2]) {
    const late = await connectClient(t, broker.port);
    await late.subscribe(topic, granted);
    assert.equal((await late.receive()).qos, granted);
  }
});

test('[MQTT-3.3.1-5] a retained message outlives the session of its publisher', async (t) => {
  const topic = unique('r/');
  const first = await connectClient(t, broker.port);
  await first.publish(topic, 'stays', { retain: true, qos: 1 });
  await first.disconnect();
  const late = await connectClient(t, broker.port);

  await late.subscribe(topic);

  assert.equal((await late.message()).payload, 'stays');
});

test('[MQTT-3.3.1-6] [MQTT-3.3.1-7] an empty retained message is delivered, deletes, and is not kept', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  const plain = await connectClient(t, broker.port);
  const asPublished = await connectClient(t, broker.port);
  await client.publish(topic, 'x', { retain: true, qos: 1 });
  await plain.subscribe(topic, 1 | RETAIN_NEVER);
  await asPublished.subscribe(topic, 1 | RETAIN_NEVER | RETAIN_AS_PUBLISHED);

  await client.publish(topic, '', { retain: true, qos: 1 });

  for (const [watcher, retain] of [
    [plain, false],
    [asPublished, true],
  ] as const) {
    const message = await watcher.receive();
    assert.deepEqual([message.payload, message.retain], ['', retain]);
  }
  const late = await connectClient(t, broker.port);
  await late.subscribe(topic, 1);
  await nothingReaches(late, client);
});

test('[MQTT-3.3.1-7] an empty retained message is kept nowhere, even where none was', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.publish(topic, '', { retain: true, qos: 2, properties: { contentType: 'c' } });

  await client.subscribe(topic, 1);

  await nothingReaches(client, client);
});

test('[MQTT-3.3.1-8] a message without RETAIN neither enters nor changes the store', async (t) => {
  const kept = unique('r/');
  const other = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.publish(kept, 'kept', { retain: true, qos: 1 });
  await client.publish(kept, 'passing', { qos: 1 });
  await client.publish(kept, '', { qos: 1 });
  await client.publish(other, 'passing', { qos: 1 });

  await client.subscribe([
    [kept, 1],
    [other, 1],
  ]);

  const message = await client.receive();
  assert.deepEqual([message.topic, message.payload, message.retain], [kept, 'kept', true]);
  await nothingReaches(client, client);
});

test('[MQTT-3.3.1-9] Retain Handling 0: every subscribe sends them', async (t) => {
  const root = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.publish(`${root}/1`, 'one', { retain: true, qos: 1 });
  await client.publish(`${root}/2`, 'two', { retain: true, qos: 1 });

  for (let round = 0; round < 3; round++) {
    await client.subscribe(`${root}/+`, 1);
    const payloads = [(await client.receive()).payload, (await client.receive()).payload];
    assert.deepEqual(payloads.sort(), ['one', 'two']);
  }
  await nothingReaches(client, client);
});

test('[MQTT-3.3.1-10] Retain Handling 1: only a new subscription sends them', async (t) => {
  const topic = unique('r/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const client = await connectClient(t, broker.port, options);
  await client.publish(topic, 'x', { retain: true, qos: 1 });

  await client.subscribe(topic, 1 | RETAIN_IF_NEW);
  assert.equal((await client.receive()).retain, true);
  await client.subscribe(topic, 0 | RETAIN_IF_NEW); // stands, with another QoS
  await nothingReaches(client, client);
  await client.disconnect();
  const back = await connectClient(t, broker.port, options);
  await back.subscribe(topic, 1 | RETAIN_IF_NEW); // stands in the session
  await nothingReaches(back, back);
  await back.unsubscribe(topic);
  await back.subscribe(topic, 1 | RETAIN_IF_NEW); // new again
  assert.equal((await back.receive()).payload, 'x');
});

test('[MQTT-3.3.1-11] Retain Handling 2: none are sent, live ones come', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.publish(topic, 'stored', { retain: true, qos: 1 });

  await client.subscribe(topic, 1 | RETAIN_NEVER);
  await nothingReaches(client, client);
  await client.publish(topic, 'live', { retain: true, qos: 1 });

  const message = await client.receive();
  assert.deepEqual([message.payload, message.retain], ['live', false]);
});

test('[MQTT-3.3.1-12] Retain As Published 0: what is forwarded has RETAIN 0', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1);

  for (const retain of [false, true]) {
    await client.publish(topic, 'x', { retain, qos: 1 });
    assert.equal((await client.receive()).retain, false);
  }
});

test('[MQTT-3.3.1-13] Retain As Published 1: what is forwarded has the RETAIN of its publisher', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2 | RETAIN_AS_PUBLISHED);

  for (const qos of [0, 1, 2]) {
    for (const retain of [true, false]) {
      await client.publish(topic, 'x', { retain, qos });
      const message = await client.receive();
      assert.deepEqual([message.retain, message.qos], [retain, qos]);
    }
  }
});

test('[MQTT-3.3.1-13] Retain As Published holds for what waits for an absent client', async (t) => {
  const topic = unique('r/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const first = await connectClient(t, broker.port, options);
  const plainTopic = unique('r/');
  await first.subscribe([
    [topic, 1 | RETAIN_AS_PUBLISHED],
    [plainTopic, 1],
  ]);
  await first.disconnect();
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(topic, 'a', { retain: true, qos: 1 });
  await publisher.publish(topic, 'b', { retain: false, qos: 1 });
  await publisher.publish(plainTopic, 'c', { retain: true, qos: 1 });

  const second = await connectClient(t, broker.port, options);

  const seen = [await second.receive(), await second.receive(), await second.receive()];
  assert.deepEqual(
    seen.map((one) => [one.payload, one.retain]),
    [
      ['a', true],
      ['b', false],
      ['c', false],
    ],
  );
});

test('[MQTT-3.3.1-9] what a subscribe triggers has RETAIN 1, whatever Retain As Published says', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.publish(topic, 'x', { retain: true, qos: 1 });

  for (const options of [1, 1 | RETAIN_AS_PUBLISHED]) {
    await client.subscribe(topic, options);
    assert.equal((await client.receive()).retain, true);
  }
});

test('[MQTT-3.8.4-4] replacing a subscription sends retained messages again and loses nothing', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(topic, 'stored', { retain: true, qos: 1 });
  await client.subscribe(topic, 1);
  assert.equal((await client.receive()).payload, 'stored');
  const numbers: string[] = [];
  let stored = 0;

  const publishing = (async () => {
    for (let count = 0; count < 200; count++)
      await publisher.publish(topic, String(count), { qos: 1 });
  })();
  for (let round = 0; round < 20; round++) {
    await client.subscribe(topic, round % 2 === 0 ? 2 : 1);
  }
  await publishing;
  while (numbers.length < 200 || stored < 20) {
    const message = await client.receive();
    if (message.retain) stored += 1;
    else numbers.push(message.payload);
  }

  assert.equal(stored, 20);
  assert.deepEqual(
    numbers,
    Array.from({ length: 200 }, (_, index) => String(index)),
  );
  await nothingReaches(client, publisher);
});

test('[MQTT-3.3.1-9] [MQTT-3.8.4-5] each filter of one SUBSCRIBE has its own options', async (t) => {
  const root = unique('r/');
  const client = await connectClient(t, broker.port);
  for (const name of ['a', 'b', 'c'])
    await client.publish(`${root}/${name}`, name, { retain: true, qos: 1 });

  await client.subscribe([
    [`${root}/a`, 1],
    [`${root}/b`, 1 | RETAIN_NEVER],
    [`${root}/c`, 0 | RETAIN_IF_NEW],
  ]);

  const seen = [await client.receive(), await client.receive()];
  assert.deepEqual(
    new Map(seen.map((one) => [one.payload, one.qos])),
    new Map([
      ['a', 1],
      ['c', 0],
    ]),
  );
  await nothingReaches(client, client);
});

test('[MQTT-3.3.1-5] ending sessions and subscriptions leaves retained messages alone', async (t) => {
  const topic = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1);
  await client.publish(topic, 'x', { retain: true, qos: 1 });
  await client.receive();
  await client.unsubscribe(topic);
  await client.disconnect();

  const late = await connectClient(t, broker.port, { clientId: client.clientId, cleanStart: true });
  await late.subscribe(topic, 1);

  assert.equal((await late.receive()).payload, 'x');
});

test('[MQTT-3.3.2-5] [MQTT-3.3.2-6] a retained message carries the rest of its interval, then is gone', async (t) => {
  const topic = unique('r/');
  const lasting = unique('r/');
  const client = await connectClient(t, broker.port);
  await client.publish(topic, 'x', { retain: true, qos: 1, properties: { messageExpiry: 1 } });
  await client.publish(lasting, 'y', { retain: true, qos: 1, properties: { messageExpiry: 500 } });

  await elapse(2_200);

  await client.subscribe([
    [topic, 1],
    [lasting, 1],
  ]);
  const message = await client.receive();
  assert.equal(message.payload, 'y');
  const rest = message.properties.messageExpiry ?? 0;
  assert.ok(rest < 500 && rest > 400);
  await nothingReaches(client, client);
});

test('[MQTT-3.3.1-9] many retained messages all come, past every window', async (t) => {
  const root = unique('r/');
  const client = await connectClient(t, broker.port);
  for (let index = 0; index < 300; index++) {
    client.send(publishPacket(`${root}/${index}`, String(index), { retain: true, qos: 0 }));
  }
  await client.idle();
  for (let index = 300; index < 340; index++) {
    await client.publish(`${root}/${index}`, String(index), { retain: true, qos: 1 });
  }
  const late = await connectClient(t, broker.port, { properties: { receiveMaximum: 3 } });

  await late.subscribe(`${root}/#`, 1);

  const seen = new Set<string>();
  for (let count = 0; count < 340; count++) {
    const message = await late.receive();
    assert.equal(message.retain, true);
    seen.add(message.payload);
  }
  assert.equal(seen.size, 340);
});
