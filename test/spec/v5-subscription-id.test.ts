/**
 * MQTT 5.0, sections 3.8.2.1.2 and 3.3.4: subscription identifiers.
 *
 * TernMQ sends one copy of a message however many filters match, so all identifiers stand in it.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, nothingReaches, unique, type V5Client } from '../harness/v5-client.ts';
import { publishPacket, subscribePacket } from '../harness/v5-packets.ts';

const broker = sharedBroker();

/** The identifiers that come with the next message, in ascending order. */
async function nextIds(client: V5Client): Promise<readonly number[]> {
  const { subscriptionIds = [] } = (await client.receive()).properties;
  return [...subscriptionIds].sort((a, b) => a - b);
}

test('[MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5] one copy lists the identifiers of all matching subscriptions that have one', async (t) => {
  const root = unique('i/');
  const client = await connectClient(t, broker.port);
  const other = await connectClient(t, broker.port);
  await client.subscribe(`${root}/#`, 0, { subscriptionIds: [300] });
  await client.subscribe(`${root}/+/x`, 2, { subscriptionIds: [1] });
  await client.subscribe(`${root}/a/+`, 1);
  await client.subscribe(`${root}/b/x`, 2, { subscriptionIds: [44] });

  for (const [topic, ids] of [
    ['a/x', [1, 300]],
    ['b/x', [1, 44, 300]],
    ['a/y', [300]],
  ] as const) {
    await other.publish(`${root}/${topic}`, 'x', { qos: 1 });
    assert.deepEqual(await nextIds(client), ids);
  }
  await nothingReaches(client, other);
});

test('[MQTT-3.3.4-4] the same identifier on two matching filters is listed once or for each', async (t) => {
  const root = unique('i/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(
    [
      [`${root}/#`, 1],
      [`${root}/x`, 1],
    ],
    0,
    { subscriptionIds: [8] },
  );

  await client.publish(`${root}/x`, 'x', { qos: 1 });

  assert.deepEqual([...new Set(await nextIds(client))], [8]);
  await nothingReaches(client, client);
});

test('[MQTT-3.3.4-3] a message has no identifier where no subscription has one', async (t) => {
  const topic = unique('i/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1);
  const other = await connectClient(t, broker.port);
  await other.subscribe(topic, 1, { subscriptionIds: [9] });

  await client.publish(topic, 'x', { qos: 1 });

  assert.deepEqual(await nextIds(client), []);
  assert.deepEqual(await nextIds(other), [9]);
});

test('[MQTT-3.8.4-3] [MQTT-3.3.4-3] a new SUBSCRIBE replaces the identifier, or drops it', async (t) => {
  const topic = unique('i/');
  const client = await connectClient(t, broker.port);

  for (const ids of [[5], [6], [], [7]]) {
    await client.subscribe(topic, 1, ids.length === 0 ? {} : { subscriptionIds: ids });
    await client.publish(topic, 'x', { qos: 1 });
    assert.deepEqual(await nextIds(client), ids);
  }
});

test('[MQTT-3.10.4-2] UNSUBSCRIBE drops the identifier with the subscription', async (t) => {
  const root = unique('i/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(`${root}/#`, 1, { subscriptionIds: [5] });
  await client.subscribe(`${root}/x`, 1, { subscriptionIds: [6] });

  await client.unsubscribe(`${root}/#`);
  await client.publish(`${root}/x`, 'x', { qos: 1 });

  assert.deepEqual(await nextIds(client), [6]);
});

test('[MQTT-3.3.4-3] one identifier stands for all filters of its SUBSCRIBE', async (t) => {
  const [one, two] = [unique('i/'), unique('i/')];
  const client = await connectClient(t, broker.port);
  await client.subscribe(
    [
      [one, 1],
      [two, 1],
    ],
    0,
    { subscriptionIds: [77] },
  );

  for (const topic of [one, two]) {
    await client.publish(topic, 'x', { qos: 1 });
    assert.deepEqual(await nextIds(client), [77]);
  }
});

test('[MQTT-3.3.4-3] retained messages carry the identifier of the subscription that fetched them', async (t) => {
  const topic = unique('i/');
  const client = await connectClient(t, broker.port);
  await client.publish(topic, 'x', { qos: 1, retain: true });
  await client.subscribe(`${topic}/#`, 1, { subscriptionIds: [3] });
  assert.deepEqual(await nextIds(client), [3]);

  await client.subscribe(topic, 1, { subscriptionIds: [4] });

  assert.deepEqual(await nextIds(client), [4]);
});

test('[MQTT-3.3.4-3] [MQTT-3.3.4-4] messages that waited for the client carry the identifiers too', async (t) => {
  const root = unique('i/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const other = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(`${root}/#`, 2, { subscriptionIds: [3] });
  await first.subscribe(`${root}/+`, 2, { subscriptionIds: [268_435_455] });
  await first.disconnect();
  await other.publish(`${root}/x`, 'x', { qos: 2 });
  await other.publish(`${root}/x/y`, 'x', { qos: 2 });

  const second = await connectClient(t, broker.port, options);

  assert.deepEqual(await nextIds(second), [3, 268_435_455]);
  assert.deepEqual(await nextIds(second), [3]);
});

test('[MQTT-3.3.4-3] a message sent again carries its identifier again', async (t) => {
  const topic = unique('i/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const other = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 1, { subscriptionIds: [12] });
  await other.publish(topic, 'x', { qos: 1 });
  await first.message();
  first.drop();
  await first.hungUp();

  const second = await connectClient(t, broker.port, options);

  const message = await second.receive();
  assert.deepEqual([message.dup, message.properties.subscriptionIds], [true, [12]]);
});

test('[MQTT-3.3.4-3] a message published before a SUBSCRIBE has no identifier of it', async (t) => {
  const topic = unique('i/');
  const client = await connectClient(t, broker.port, { properties: { sessionExpiry: 60 } });
  await client.subscribe(`${topic}/#`, 1, { subscriptionIds: [1] });
  await client.subscribe(`${topic}/x/#`, 0, { subscriptionIds: [3] });

  const later = subscribePacket(client.freshId(), [[`${topic}/+`, 1]], { subscriptionIds: [2] });
  client.send(publishPacket(`${topic}/x`, 'x', { qos: 1, packetId: client.freshId() }), later);

  await client.find('puback');
  await client.find('suback');
  assert.deepEqual(await nextIds(client), [1, 3]);
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(`${topic}/x`, 'y', { qos: 1 });
  assert.deepEqual(await nextIds(client), [1, 2, 3]);
});

test('[MQTT-3.3.4-3] shared subscriptions have identifiers of their own', async (t) => {
  const topic = unique('i/');
  const client = await connectClient(t, broker.port);
  const other = await connectClient(t, broker.port);
  await client.subscribe(`$share/g/${topic}`, 1, { subscriptionIds: [21] });

  await other.publish(topic, 'x', { qos: 1 });

  assert.deepEqual(await nextIds(client), [21]);
});
