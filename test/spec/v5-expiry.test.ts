/**
 * MQTT 5.0, sections 3.3.2.3.3 and 4.3: message expiry.
 *
 * A message not yet sent to a subscriber is dropped when its time is over; one that has been
 * sent is carried to its end. Time itself is the stimulus here, hence `elapse`.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import {
  connectClient,
  elapse,
  nothingReaches,
  unique,
  type V5Client,
} from '../harness/v5-client.ts';
import type { ConnectOptions } from '../harness/v5-packets.ts';

const broker = sharedBroker();

/** The options of a client whose subscription to `topic` outlives it; it has just gone. */
async function absent(t: TestContext, topic: string, window?: number): Promise<ConnectOptions> {
  const properties = {
    sessionExpiry: 600,
    ...(window === undefined ? {} : { receiveMaximum: window }),
  };
  const options = { clientId: unique('c'), cleanStart: false, properties };
  const client = await connectClient(t, broker.port, options);
  await client.subscribe(topic, 2);
  await client.disconnect();
  return options;
}

async function send(
  client: V5Client,
  topic: string,
  payload: string,
  qos: number,
  messageExpiry?: number,
): Promise<void> {
  await client.publish(topic, payload, {
    qos,
    properties: messageExpiry === undefined ? {} : { messageExpiry },
  });
}

test('[MQTT-3.3.2-6] delivered at once, the interval is the one received', async (t) => {
  const topic = unique('e/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);

  for (const qos of [0, 1, 2]) {
    await send(client, topic, 'x', qos, 1_000);
    const rest = (await client.receive()).properties.messageExpiry ?? 0;
    assert.ok(rest <= 1_000 && rest > 900);
  }
  await send(client, topic, 'y', 1);
  assert.equal((await client.receive()).properties.messageExpiry, undefined);
});

test('[MQTT-3.3.2-6] the longest interval is no trouble', async (t) => {
  const topic = unique('e/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1);

  await send(client, topic, 'x', 1, 0xffff_ffff);

  const rest = (await client.receive()).properties.messageExpiry ?? 0;
  assert.ok(rest <= 0xffff_ffff && rest > 0xffff_ff00);
});

test('[MQTT-3.3.2-6] what waited for a client carries the rest of its interval', async (t) => {
  const topic = unique('e/');
  const publisher = await connectClient(t, broker.port);
  const options = await absent(t, topic);
  for (const qos of [1, 2]) await send(publisher, topic, 'x', qos, 500);

  await elapse(1_300);

  const client = await connectClient(t, broker.port, options);
  for (const qos of [1, 2]) {
    const message = await client.receive();
    const rest = message.properties.messageExpiry ?? 0;
    assert.equal(message.qos, qos);
    assert.ok(rest < 500 && rest > 400);
  }
});

test('[MQTT-3.3.2-5] what waited too long is deleted, its neighbours are not', async (t) => {
  const topic = unique('e/');
  const publisher = await connectClient(t, broker.port);
  const options = await absent(t, topic);
  await send(publisher, topic, 'kept 1', 1);
  await send(publisher, topic, 'gone 1', 1, 1);
  await send(publisher, topic, 'kept 2', 2, 600);
  await send(publisher, topic, 'gone 2', 2, 1);
  await send(publisher, topic, 'kept 3', 1);

  await elapse(2_200);

  const client = await connectClient(t, broker.port, options);
  const kept = new Set<string>();
  for (let count = 0; count < 3; count++) kept.add((await client.receive()).payload);
  assert.deepEqual([...kept].sort(), ['kept 1', 'kept 2', 'kept 3']);
  await nothingReaches(client, publisher);
});

test('[MQTT-3.3.2-5] what waits behind a full window expires there', async (t) => {
  const topic = unique('e/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
  await client.subscribe(topic, 1);
  await send(publisher, topic, 'open', 1);
  const open = await client.message();
  await send(publisher, topic, 'too late', 1, 1);
  await send(publisher, topic, 'in time', 1, 600);

  await elapse(2_200);
  client.ack('puback', open.packetId);

  const message = await client.receive();
  assert.equal(message.payload, 'in time');
  assert.ok((message.properties.messageExpiry ?? 0) < 600);
  await nothingReaches(client, publisher);
});

test('[MQTT-3.3.2-5] one subscriber in time and one too late: only the second copy is deleted', async (t) => {
  const topic = unique('e/');
  const publisher = await connectClient(t, broker.port);
  const options = await absent(t, topic);
  const present = await connectClient(t, broker.port);
  await present.subscribe(topic, 1);

  await send(publisher, topic, 'x', 1, 1);
  assert.equal((await present.receive()).payload, 'x');
  await elapse(2_200);

  const late = await connectClient(t, broker.port, options);
  await nothingReaches(late, publisher);
});

test('[MQTT-4.3.3-7] [MQTT-4.3.3-13] an exchange begun is carried to its end though the message expires', async (t) => {
  const topic = unique('e/');
  const publisher = await connectClient(t, broker.port);
  const options = await absent(t, topic);
  const first = await connectClient(t, broker.port, options);
  for (const payload of ['received', 'unanswered']) await send(publisher, topic, payload, 2, 1);
  const received = await first.message();
  const unanswered = await first.message();
  first.ack('pubrec', received.packetId);
  await first.next('pubrel');
  first.drop();
  await first.hungUp();

  await elapse(2_200);

  const second = await connectClient(t, broker.port, options);
  const resent = [await second.next(), await second.next()];
  const again = resent.find((one) => one.type === 'publish');
  const pubrel = resent.find((one) => one.type === 'pubrel');
  assert.equal(pubrel?.packetId, received.packetId);
  assert.deepEqual(
    [again?.packetId, again?.payload, again?.dup],
    [unanswered.packetId, 'unanswered', true],
  );
  second.ack('pubcomp', received.packetId);
  if (again !== undefined) await second.settle(again);
  await nothingReaches(second, publisher);
});

test('[MQTT-4.3.3-13] as a receiver the broker finishes QoS 2 for a message that expires meanwhile', async (t) => {
  const topic = unique('e/');
  const publisher = await connectClient(t, broker.port);
  publisher.sendPublish(topic, 'x', { qos: 2, packetId: 9, properties: { messageExpiry: 1 } });
  await publisher.next('pubrec');

  await elapse(2_200);

  publisher.release(9);
  const pubcomp = await publisher.next('pubcomp');
  assert.deepEqual([pubcomp.packetId, pubcomp.reason], [9, 0]);
});

test('[MQTT-3.3.2-5] an interval of 0 expires at once: nothing is kept for later', async (t) => {
  const topic = unique('e/');
  const publisher = await connectClient(t, broker.port);
  const options = await absent(t, topic);
  await publisher.publish(topic, 'x', { qos: 1, retain: true, properties: { messageExpiry: 0 } });

  await elapse(1_100);

  const client = await connectClient(t, broker.port, options);
  await nothingReaches(client, publisher);
  await client.subscribe(topic, 1);
  await nothingReaches(client, publisher);
});

test('[MQTT-3.3.2-6] an interval of 0 is forwarded as 0, to a durable session too', async (t) => {
  const topic = unique('expiry/');
  const publisher = await connectClient(t, broker.port);
  const subscriber = await connectClient(t, broker.port, { properties: { sessionExpiry: 60 } });
  await subscriber.subscribe(topic, 1);

  await publisher.publish(topic, 'now or never', { qos: 1, properties: { messageExpiry: 0 } });

  assert.equal((await subscriber.receive()).properties.messageExpiry, 0);
});
