/**
 * MQTT 5.0, section 3.3.2.3.4: topic aliases, towards the broker and from it.
 *
 * That the broker never uses an alias beyond what a client allows, and none it did not set on
 * this connection, is checked by the client of the harness on every PUBLISH.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, nothingReaches, unique } from '../harness/v5-client.ts';
import { publishPacket } from '../harness/v5-packets.ts';
import { violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();

violation(
  broker,
  '[MQTT-3.3.2-8] Topic Alias 0',
  publishPacket('t', 'x', { properties: { topicAlias: 0 } }),
  [0x94],
);
violation(
  broker,
  '[MQTT-3.3.2-8] Topic Alias 0 at QoS 1',
  publishPacket('t', 'x', { qos: 1, packetId: 1, properties: { topicAlias: 0 } }),
  [0x94],
);
violation(
  broker,
  '[MQTT-3.3.2-9] [MQTT-3.2.2-17] Topic Alias 65535, above every sensible maximum',
  publishPacket('t', 'x', { properties: { topicAlias: 65_535 } }),
  [0x94],
);
violation(
  broker,
  '[MQTT-4.7.3-1] an alias never set, without a topic',
  publishPacket('', 'x', { properties: { topicAlias: 1 } }),
  [0x82, 0x94],
);

test('[MQTT-3.2.2-17] [MQTT-3.3.2-9] one above the announced maximum is refused with 0x94', async (t) => {
  const client = await connectClient(t, broker.port);
  const most = client.connack?.properties.topicAliasMaximum ?? 0;
  assert.ok(most > 0 && most < 65_535);

  client.send(publishPacket(unique('a/'), 'x', { properties: { topicAlias: most + 1 } }));

  await client.disconnected(0x94);
});

test('[MQTT-3.3.2-12] every alias from 1 to the announced maximum is taken', async (t) => {
  const root = unique('a/');
  const client = await connectClient(t, broker.port);
  const most = client.connack?.properties.topicAliasMaximum ?? 0;
  assert.ok(most > 0);
  const tried = Math.min(most, 2_000);
  await client.subscribe(`${root}/#`);

  for (let alias = most; alias > most - tried; alias--) {
    client.send(publishPacket(`${root}/${alias}`, 'set', { properties: { topicAlias: alias } }));
  }
  for (let alias = most; alias > most - tried; alias--) {
    const message = await client.message();
    assert.deepEqual([message.topic, message.payload], [`${root}/${alias}`, 'set']);
  }
  for (const alias of [1, most, Math.ceil(most / 2)]) {
    client.send(publishPacket(`${root}/${alias}`, 'set', { properties: { topicAlias: alias } }));
    assert.equal((await client.message()).payload, 'set');
    client.send(publishPacket('', 'used', { properties: { topicAlias: alias } }));
    const message = await client.message();
    assert.deepEqual([message.topic, message.payload], [`${root}/${alias}`, 'used']);
    assert.equal(message.properties.topicAlias, undefined);
  }
});

test('[MQTT-3.3.2-12] an alias can be given another topic', async (t) => {
  const [one, two] = [unique('a/'), unique('a/')];
  const client = await connectClient(t, broker.port);
  await client.subscribe([
    [one, 0],
    [two, 2],
  ]);
  const properties = { topicAlias: 1 };

  for (const [topic, seen] of [
    [one, one],
    ['', one],
    [two, two],
    ['', two],
    ['', two],
  ] as const) {
    await client.publish(topic, 'x', { qos: 2, properties });
    assert.equal((await client.receive()).topic, seen);
  }
});

test('[MQTT-3.3.2-7] an alias means nothing on the next connection, even of the same session', async (t) => {
  const topic = unique('a/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(topic);
  const first = await connectClient(t, broker.port, options);
  first.send(publishPacket(topic, 'x', { properties: { topicAlias: 1 } }));
  assert.equal((await watcher.message()).payload, 'x');
  await first.disconnect();

  const second = await connectClient(t, broker.port, options);
  assert.equal(second.connack?.sessionPresent, true);
  second.send(publishPacket('', 'y', { properties: { topicAlias: 1 } }));

  const packet = await second.next('disconnect');
  assert.ok([0x82, 0x94].includes(packet.reason));
  await second.closed();
  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.3.2-7] an alias of one client means nothing for another', async (t) => {
  const topic = unique('a/');
  const client = await connectClient(t, broker.port);
  const other = await connectClient(t, broker.port);
  client.send(publishPacket(topic, 'x', { properties: { topicAlias: 1 } }));
  await client.idle();

  other.send(publishPacket('', 'y', { properties: { topicAlias: 1 } }));

  assert.ok([0x82, 0x94].includes((await other.next('disconnect')).reason));
  await other.closed();
  await client.idle();
});

test('[MQTT-3.1.2-26] [MQTT-3.3.2-11] the broker stays within the Topic Alias Maximum of a client', async (t) => {
  const root = unique('long/topic/that/is/worth/an/alias/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, { properties: { topicAliasMaximum: 2 } });
  await client.subscribe(`${root}/#`, 1);
  let aliased = 0;

  for (let count = 0; count < 12; count++) {
    const topic = `${root}/${count % 3}`;
    await publisher.publish(topic, String(count), { qos: count % 2 });
    const message = await client.receive();
    assert.deepEqual([message.topic, message.payload], [topic, String(count)]);
    if (message.properties.topicAlias !== undefined) aliased += 1;
  }

  assert.ok(aliased > 0, 'the broker makes use of what the client allows');
});

test('[MQTT-3.1.2-26] [MQTT-3.3.2-7] after a reconnect the broker starts its aliases anew', async (t) => {
  const topic = unique('long/topic/that/is/worth/an/alias/');
  const publisher = await connectClient(t, broker.port);
  const options = {
    clientId: unique('c'),
    cleanStart: false,
    properties: { sessionExpiry: 60, topicAliasMaximum: 10 },
  };
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 1);
  for (const payload of ['a', 'b', 'c']) await publisher.publish(topic, payload, { qos: 1 });
  assert.equal((await first.receive()).payload, 'a'); // 'b' and 'c' stay open
  first.drop();
  await first.hungUp();
  await publisher.publish(topic, 'd', { qos: 1 });

  const second = await connectClient(t, broker.port, options);

  for (const payload of ['b', 'c', 'd']) {
    const message = await second.receive(); // an alias from before would fail in the harness
    assert.deepEqual([message.topic, message.payload], [topic, payload]);
  }
});

test('[MQTT-3.1.2-26] messages never sent for their size set no alias', async (t) => {
  const topic = unique('long/topic/that/is/worth/an/alias/');
  const publisher = await connectClient(t, broker.port);
  const properties = { topicAliasMaximum: 10, maximumPacketSize: 500 };
  const client = await connectClient(t, broker.port, { properties });
  await client.subscribe(topic, 1);

  await publisher.publish(topic, 'x'.repeat(600), { qos: 1 });
  for (const payload of ['a', 'b']) await publisher.publish(topic, payload, { qos: 1 });

  for (const payload of ['a', 'b']) {
    const message = await client.receive();
    assert.deepEqual([message.topic, message.payload], [topic, payload]);
  }
});

test('[MQTT-3.1.2-27] [MQTT-3.3.2-11] with no maximum, or 0, the broker uses no alias', async (t) => {
  const topic = unique('long/topic/that/is/worth/an/alias/');
  const publisher = await connectClient(t, broker.port);
  const silent = await connectClient(t, broker.port);
  const zero = await connectClient(t, broker.port, { properties: { topicAliasMaximum: 0 } });
  for (const client of [silent, zero]) await client.subscribe(topic);

  for (let count = 0; count < 5; count++) {
    publisher.send(publishPacket(topic, 'x', { properties: { topicAlias: 3 } }));
    for (const client of [silent, zero]) {
      const message = await client.message();
      assert.deepEqual(message.bytes, publishPacket(topic, 'x'));
    }
  }
});

for (const [when, first] of [
  ['the topic has one', true],
  ['all are taken', false],
] as const) {
  test(`[MQTT-3.1.2-25] what fits is sent, alias or not: ${when}`, async (t) => {
    const topic = unique(`size/${'long'.repeat(5)}/`);
    const maximumPacketSize = 100;
    const subscriber = await connectClient(t, broker.port, {
      properties: { maximumPacketSize, topicAliasMaximum: 1 },
    });
    const publisher = await connectClient(t, broker.port);
    const other = unique('size/');
    await subscriber.subscribe([
      [topic, 1],
      [other, 1],
    ]);
    const opening = first ? topic : other;
    await publisher.publish(opening, 'takes the alias', { qos: 1 });
    const head = await subscriber.receive();
    assert.equal(head.topic, opening);

    // Fixed header 2, topic length 2, packet id 2, properties 1, or 4 with an alias.
    const payload = 'x'.repeat(maximumPacketSize - 2 - 2 - 2 - (first ? 4 : 1 + topic.length));
    await publisher.publish(topic, `${payload}x`, { qos: 1 });
    await publisher.publish(topic, payload, { qos: 1 });

    assert.equal((await subscriber.receive()).payload, payload);
  });
}
