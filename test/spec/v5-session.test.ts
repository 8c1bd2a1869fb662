/**
 * MQTT 5.0, sections 3.1.2.4, 3.1.2.11.2, 3.1.3.1, 3.1.4 and 4.1: sessions.
 *
 * A session is known by what it keeps: subscriptions, messages for an absent client, and
 * Session Present. Its end is known by the will that fires with it.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, elapse, nothingReaches, openClient, unique } from '../harness/v5-client.ts';
import {
  type ConnectOptions,
  connectPacket,
  disconnectPacket,
  PINGREQ,
} from '../harness/v5-packets.ts';

const broker = sharedBroker();
const NEVER = 0xffff_ffff;

/** A client of that id with a session that outlives it. */
function lasting(clientId: string, cleanStart = false): ConnectOptions {
  return { clientId, cleanStart, properties: { sessionExpiry: 3_600 } };
}

test('[MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-3.1.3-2] a session is continued with its subscriptions', async (t) => {
  const clientId = unique('c');
  const topic = unique('s/');
  const sender = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, lasting(clientId, true));
  assert.equal(first.connack?.sessionPresent, false);
  await first.subscribe(topic, 2, { subscriptionIds: [7] });
  await first.disconnect();

  const second = await connectClient(t, broker.port, lasting(clientId));
  await sender.publish(topic, 'live', { qos: 2 });

  assert.equal(second.connack?.sessionPresent, true);
  const message = await second.receive();
  assert.deepEqual([message.payload, message.qos], ['live', 2]);
  assert.deepEqual(message.properties.subscriptionIds, [7]);
  const other = await connectClient(t, broker.port, lasting(unique('c')));
  assert.equal(other.connack?.sessionPresent, false);
});

test('[MQTT-3.1.2-23] [MQTT-4.5.0-1] QoS 1 and 2 messages for an absent client are kept, in order', async (t) => {
  const clientId = unique('c');
  const topic = unique('s/');
  const sender = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, lasting(clientId));
  await first.subscribe(topic, 2);
  first.drop();
  await first.closed();

  for (let index = 0; index < 30; index++) {
    const code = await sender.publish(topic, String(index), { qos: 1 + (index % 2) });
    assert.equal(code, 0);
  }
  const second = await connectClient(t, broker.port, lasting(clientId));

  // The standard asks for order at each QoS; this broker keeps it across them.
  for (let index = 0; index < 30; index++) {
    const message = await second.receive();
    assert.deepEqual([message.payload, message.dup], [String(index), false]);
    assert.equal(message.qos, 1 + (index % 2));
  }
  await nothingReaches(second, sender);
});

test('[MQTT-3.1.2-6] [MQTT-3.2.2-3] Clean Start 0 without a session makes one', async (t) => {
  const client = await connectClient(t, broker.port, { cleanStart: false });

  assert.equal(client.connack?.sessionPresent, false);
  const topic = unique('s/');
  await client.subscribe(topic, 1);
  await client.publish(topic, 'x', { qos: 1 });
  assert.equal((await client.receive()).payload, 'x');
});

test('[MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.4-4] Clean Start 1 throws the old session away', async (t) => {
  const clientId = unique('c');
  const topic = unique('s/');
  const sender = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, lasting(clientId));
  await first.subscribe(topic, 1);
  await first.disconnect();
  await sender.publish(topic, 'for the old session', { qos: 1 });

  const second = await connectClient(t, broker.port, lasting(clientId, true));
  assert.equal(second.connack?.sessionPresent, false);
  await sender.publish(topic, 'nobody subscribed', { qos: 1 });
  await nothingReaches(second, sender);
  await second.disconnect();

  const third = await connectClient(t, broker.port, lasting(clientId));
  assert.equal(third.connack?.sessionPresent, true);
  await nothingReaches(third, sender);
});

test('[MQTT-4.1.0-2] an expiry of 0, or none, ends the session with the connection', async (t) => {
  for (const properties of [{}, { sessionExpiry: 0 }]) {
    const clientId = unique('c');
    const topic = unique('s/');
    const sender = await connectClient(t, broker.port);
    const first = await connectClient(t, broker.port, { clientId, properties });
    await first.subscribe(topic, 1);
    await first.disconnect();

    assert.equal(await sender.publish(topic, 'x', { qos: 1 }), 0x10);
    const second = await connectClient(t, broker.port, { clientId, cleanStart: false });

    assert.equal(second.connack?.sessionPresent, false);
  }
});

test('[MQTT-4.1.0-2] [MQTT-3.1.2-8] a session ends when its expiry interval is over', async (t) => {
  const clientId = unique('c');
  const will = { topic: unique('will/'), payload: 'over', properties: { willDelay: 3_600 } };
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(will.topic);
  const first = await connectClient(t, broker.port, {
    clientId,
    will,
    properties: { sessionExpiry: 1 },
  });
  first.drop();

  const message = await watcher.message(); // the will is earlier than its delay: session end
  const second = await connectClient(t, broker.port, { clientId, cleanStart: false });

  assert.equal(message.payload, 'over');
  assert.equal(second.connack?.sessionPresent, false);
});

test('[MQTT-3.1.2-23] the expiry runs from the close, anew each time', async (t) => {
  const clientId = unique('c');
  const options = { clientId, cleanStart: false, properties: { sessionExpiry: 3 } };
  let client = await connectClient(t, broker.port, options);

  for (let round = 0; round < 3; round++) {
    await elapse(1_200);
    await client.disconnect();
    client = await connectClient(t, broker.port, options);
    assert.equal(client.connack?.sessionPresent, true);
  }
});

test('[MQTT-4.1.0-1] the session lives as long as the connection, even past its interval', async (t) => {
  const topic = unique('s/');
  const client = await connectClient(t, broker.port, { properties: { sessionExpiry: 1 } });
  await client.subscribe(topic, 1);

  await elapse(2_100);

  await client.publish(topic, 'still here', { qos: 1 });
  assert.equal((await client.receive()).payload, 'still here');
});

test('[MQTT-3.1.2-23] an interval of 0xFFFFFFFF never ends', async (t) => {
  const clientId = unique('c');
  const properties = { sessionExpiry: NEVER };
  const first = await connectClient(t, broker.port, { clientId, properties });
  await first.disconnect();

  await elapse(1_100);

  const second = await connectClient(t, broker.port, { clientId, cleanStart: false, properties });
  assert.equal(second.connack?.sessionPresent, true);
  await second.disconnect(0, { sessionExpiry: 0 });
});

test('[MQTT-4.1.0-2] DISCONNECT may shorten the expiry to 0', async (t) => {
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, lasting(clientId));
  await first.disconnect(0, { sessionExpiry: 0 });

  const second = await connectClient(t, broker.port, lasting(clientId));

  assert.equal(second.connack?.sessionPresent, false);
});

test('[MQTT-3.1.2-23] DISCONNECT may lengthen the expiry', async (t) => {
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, { clientId, properties: { sessionExpiry: 1 } });
  await first.disconnect(0, { sessionExpiry: NEVER });

  await elapse(2_100);

  const second = await connectClient(t, broker.port, { clientId, cleanStart: false });
  assert.equal(second.connack?.sessionPresent, true);
});

test('[MQTT-4.13.1-1] DISCONNECT may not give an expiry to a session that had none', async (t) => {
  const clientId = unique('c');
  const will = { topic: unique('will/'), payload: 'not a valid DISCONNECT' };
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(will.topic);
  const client = await connectClient(t, broker.port, { clientId, will });

  client.send(disconnectPacket(0, { sessionExpiry: 5 }));

  await client.disconnected(0x82);
  assert.equal((await watcher.message()).payload, 'not a valid DISCONNECT');
  const second = await connectClient(t, broker.port, { clientId, cleanStart: false });
  assert.equal(second.connack?.sessionPresent, false);
});

test('[MQTT-4.13.1-1] an expiry of 0 in DISCONNECT after 0 in CONNECT is no fault', async (t) => {
  const client = await connectClient(t, broker.port);

  client.send(disconnectPacket(0, { sessionExpiry: 0 }));

  await client.closed();
});

test('[MQTT-3.1.3-5] ids of 1 to 23 letters and digits are taken', async (t) => {
  const letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  const ids = [letters.slice(0, 23), letters.slice(23, 46), letters.slice(39), 'Z', '7'];

  for (const clientId of ids) {
    const client = await connectClient(t, broker.port, { clientId });
    assert.equal(client.connack?.properties.assignedClientId, undefined);
    await client.disconnect();
  }
});

test('[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] an empty id gets one of its own, with either Clean Start', async (t) => {
  const ids = new Set<string>();

  for (const cleanStart of [true, false, true, false]) {
    const client = await connectClient(t, broker.port, { clientId: '', cleanStart });
    const assigned = client.connack?.properties.assignedClientId;
    assert.ok(assigned !== undefined && assigned.length > 0);
    assert.equal(client.connack?.sessionPresent, false);
    ids.add(assigned);
  }

  assert.equal(ids.size, 4);
});

test('[MQTT-3.1.3-7] [MQTT-3.1.3-2] an assigned id opens its session again', async (t) => {
  const topic = unique('s/');
  const properties = { sessionExpiry: 60 };
  const first = await connectClient(t, broker.port, {
    clientId: '',
    cleanStart: false,
    properties,
  });
  const clientId = first.connack?.properties.assignedClientId ?? '';
  await first.subscribe(topic, 1);
  await first.disconnect();
  const sender = await connectClient(t, broker.port);
  await sender.publish(topic, 'kept', { qos: 1 });

  const second = await connectClient(t, broker.port, { clientId, cleanStart: false, properties });

  assert.equal(second.connack?.sessionPresent, true);
  assert.equal((await second.receive()).payload, 'kept');
});

test('[MQTT-3.1.4-3] [MQTT-4.13.2-1] a second connection of an id ends the first with 0x8E', async (t) => {
  const clientId = unique('c');
  const topic = unique('s/');
  const bystander = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, lasting(clientId));
  await first.subscribe(topic, 1);

  const second = await connectClient(t, broker.port, lasting(clientId));

  await first.disconnected(0x8e);
  assert.equal(second.connack?.sessionPresent, true);
  await bystander.publish(topic, 'to the new one', { qos: 1 });
  assert.equal((await second.receive()).payload, 'to the new one');
  await second.idle();
});

test('[MQTT-3.1.4-3] [MQTT-3.1.2-4] a takeover with Clean Start 1 begins anew', async (t) => {
  const clientId = unique('c');
  const topic = unique('s/');
  const sender = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, lasting(clientId));
  await first.subscribe(topic, 1);

  const second = await connectClient(t, broker.port, lasting(clientId, true));

  await first.disconnected(0x8e);
  assert.equal(second.connack?.sessionPresent, false);
  assert.equal(await sender.publish(topic, 'nobody', { qos: 1 }), 0x10);
  await nothingReaches(second, sender);
});

test('[MQTT-3.1.4-3] [MQTT-4.1.0-2] a takeover of a session without expiry finds none', async (t) => {
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, { clientId, cleanStart: false });

  const second = await connectClient(t, broker.port, { clientId, cleanStart: false });

  await first.disconnected(0x8e);
  assert.equal(second.connack?.sessionPresent, false);
});

test('[MQTT-3.1.4-3] many takeovers at once leave exactly one connection', async (t) => {
  const clientId = unique('c');
  const clients = await Promise.all(Array.from({ length: 12 }, () => openClient(t, broker.port)));
  for (const client of clients) client.sendConnect(lasting(clientId));

  for (const client of clients) assert.equal((await client.next('connack')).reason, 0);
  for (const client of clients) client.send(PINGREQ);
  let alive = 0;
  for (const client of clients) {
    let packet = await client.next();
    if (packet.type === 'pingresp') {
      packet = await Promise.race([client.next(), elapse(300).then(() => packet)]);
    }
    if (packet.type === 'pingresp') alive += 1;
    else assert.equal(packet.reason, 0x8e);
  }

  assert.equal(alive, 1);
});

test('[MQTT-3.1.4-5] [MQTT-3.2.0-1] an accepted CONNECT is answered by CONNACK 0x00, then what was sent early', async (t) => {
  const client = await openClient(t, broker.port);

  client.send(connectPacket({ clientId: unique('c') }), PINGREQ);

  const connack = await client.next('connack');
  assert.deepEqual([connack.reason, connack.sessionPresent], [0, false]);
  await client.next('pingresp');
});
