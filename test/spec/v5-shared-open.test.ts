/**
 * MQTT 5.0, sections 4.4 and 4.8.2: what a member of a group has not acknowledged when its
 * connection breaks. It comes again to the member as it was sent, where nobody else took it.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { sharedBroker, startBroker } from '../harness/index.ts';
import { connectClient, elapse, unique, type V5Client } from '../harness/v5-client.ts';
import type { BrokerPacket } from '../harness/v5-decode.ts';
import type { ConnectOptions } from '../harness/v5-packets.ts';

const broker = sharedBroker();

/** Rows that nobody waits for are on disk by then. */
const ROWS_MS = 2_500;

function lasting(options: ConnectOptions = {}): ConnectOptions {
  return {
    clientId: unique('c'),
    cleanStart: false,
    properties: { sessionExpiry: 600 },
    ...options,
  };
}

async function publishAll(topic: string, payloads: readonly string[], qos: number): Promise<void> {
  const options = { clientId: unique('p') };
  const publisher = await connectClient({ after: () => undefined }, broker.port, options);
  for (const payload of payloads) await publisher.publish(topic, payload, { qos });
  await publisher.disconnect();
}

async function open(client: V5Client, count: number): Promise<BrokerPacket[]> {
  const packets: BrokerPacket[] = [];
  while (packets.length < count) packets.push(await client.message());
  return packets;
}

function shown(packets: readonly BrokerPacket[]): unknown[] {
  return packets.map(({ packetId, payload, qos }) => [packetId, payload, qos]);
}

async function breakOff(client: V5Client): Promise<void> {
  client.drop();
  await client.hungUp();
}

/** The client is back: all of that comes again, in its order, and nothing else. */
async function comesAgain(
  t: TestContext,
  port: number,
  options: ConnectOptions,
  sent: readonly BrokerPacket[],
): Promise<V5Client> {
  const back = await connectClient(t, port, options);
  assert.equal(back.connack?.sessionPresent, true);
  const again = await open(back, sent.length);
  assert.deepEqual(shown(again), shown(sent));
  assert.ok(again.every(({ dup }) => dup));
  await back.idle();
  for (const packet of again) await back.settle(packet);
  await back.idle();
  return back;
}

for (const qos of [1, 2]) {
  test(`[MQTT-4.4.0-1] [MQTT-4.3.2-1] what a group gave its only member at QoS ${qos} comes again under its packet id`, async (t) => {
    const topic = unique('s/');
    const options = lasting();
    const member = await connectClient(t, broker.port, options);
    await member.subscribe(`$share/g/${topic}`, qos);
    await publishAll(topic, ['a', 'b', 'c'], qos);
    const sent = await open(member, 3);
    await breakOff(member);

    const back = await comesAgain(t, broker.port, options, sent);

    await breakOff(back);
    await (await connectClient(t, broker.port, options)).idle();
  });

  test(`[MQTT-4.4.0-1] what two groups and a plain subscription gave at QoS ${qos} comes again, each as it was`, async (t) => {
    const topic = unique('s/');
    const options = lasting();
    const member = await connectClient(t, broker.port, options);
    for (const share of ['', '$share/one/', '$share/two/']) {
      await member.subscribe(`${share}${topic}`, qos);
    }
    await publishAll(topic, ['a', 'b'], qos);
    const sent = await open(member, 6);
    await breakOff(member);

    await comesAgain(t, broker.port, options, sent);
  });

  test(`[MQTT-4.4.0-1] [MQTT-4.8.2-4] what was published before the group had a durable member comes again to it at QoS ${qos}`, async (t) => {
    const topic = unique('s/');
    const passing = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
    await passing.subscribe(`$share/g/${topic}`, qos);
    await publishAll(topic, ['with the one who left', 'b', 'c'], qos);
    const options = lasting();
    const member = await connectClient(t, broker.port, options);
    await member.subscribe(`$share/g/${topic}`, qos);
    await passing.message();
    await breakOff(passing);
    const sent = await open(member, qos === 1 ? 3 : 2);
    await breakOff(member);

    await comesAgain(t, broker.port, options, sent);
  });

  test(`[MQTT-4.4.0-1] what a group gave at QoS ${qos} comes again to who has unsubscribed, the last of all`, async (t) => {
    const topic = unique('s/');
    const options = lasting();
    const member = await connectClient(t, broker.port, options);
    await member.subscribe(`$share/g/${topic}`, qos);
    await publishAll(topic, ['a', 'b'], qos);
    const sent = await open(member, 2);
    await member.unsubscribe(`$share/g/${topic}`);
    await breakOff(member);

    await comesAgain(t, broker.port, options, sent);
  });

  test(`[MQTT-4.4.0-1] what a group gave at QoS ${qos} comes again to who asked for QoS 0 since`, async (t) => {
    const topic = unique('s/');
    const options = lasting();
    const member = await connectClient(t, broker.port, options);
    await member.subscribe(`$share/g/${topic}`, qos);
    await publishAll(topic, ['a', 'b'], qos);
    const sent = await open(member, 2);
    await member.subscribe(`$share/g/${topic}`, 0);
    await breakOff(member);

    await comesAgain(t, broker.port, options, sent);
  });
}

test('[MQTT-4.8.2-4] what another member took meanwhile at QoS 1 does not come again', async (t) => {
  const topic = unique('s/');
  const options = lasting();
  const member = await connectClient(t, broker.port, options);
  await member.subscribe(`$share/g/${topic}`, 1);
  await publishAll(topic, ['a', 'b', 'c'], 1);
  const sent = await open(member, 3);
  const other = await connectClient(t, broker.port, lasting());
  await other.subscribe(`$share/g/${topic}`, 1);
  await breakOff(member);

  const taken = await open(other, 3);
  const back = await connectClient(t, broker.port, options);
  await back.idle();
  await breakOff(other);

  // What the other one has left goes back to the group, and is new to the first.
  const given = await open(back, 3);
  assert.deepEqual(given.map((packet) => packet.payload).sort(), ['a', 'b', 'c']);
  assert.ok(given.every(({ dup }) => !dup));
  const ids = new Set(sent.map(({ packetId }) => packetId));
  assert.ok(given.every(({ packetId }) => !ids.has(packetId)));
  assert.equal(taken.length, 3);
});

test('[MQTT-4.8.2-4] a member that comes and goes is owed the rest, and the others nothing of it', async (t) => {
  const topic = unique('s/');
  const options = lasting();
  let member = await connectClient(t, broker.port, options);
  await member.subscribe(`$share/g/${topic}`, 1);
  await publishAll(topic, ['a', 'b', 'c'], 1);
  let sent = await open(member, 3);
  while (sent.length > 0) {
    await member.settle(sent[0]!);
    await member.idle();
    await breakOff(member);
    member = await connectClient(t, broker.port, options);
    const again = await open(member, sent.length - 1);
    assert.deepEqual(shown(again), shown(sent.slice(1)));
    await member.idle();
    sent = again;
  }
});

for (const qos of [1, 2]) {
  test(`[MQTT-4.4.0-1] [MQTT-3.1.4-3] what a group gave at QoS ${qos} comes again to the connection that takes over`, async (t) => {
    const topic = unique('s/');
    const options = lasting();
    const member = await connectClient(t, broker.port, options);
    await member.subscribe(`$share/g/${topic}`, qos);
    await publishAll(topic, ['a', 'b'], qos);
    const sent = await open(member, 2);

    await comesAgain(t, broker.port, options, sent);

    assert.equal((await member.next('disconnect')).reason, 0x8e);
  });

  const goes = qos === 1 ? 'goes to another' : 'goes to nobody else';
  test(`[MQTT-4.8.2-5] [MQTT-3.1.2-4] what a group gave at QoS ${qos} ${goes} when the session is begun anew`, async (t) => {
    const topic = unique('s/');
    const options = lasting();
    const member = await connectClient(t, broker.port, options);
    await member.subscribe(`$share/g/${topic}`, qos);
    const other = await connectClient(t, broker.port, lasting());
    await other.subscribe(`$share/g/${topic}`, qos);
    await other.disconnect();
    await publishAll(topic, ['a', 'b'], qos);
    await open(member, 2);
    await breakOff(member);

    const anew = await connectClient(t, broker.port, { ...options, cleanStart: true });
    const back = await connectClient(t, broker.port, lasting({ clientId: other.clientId }));

    const taken = qos === 1 ? await open(back, 2) : [];
    assert.deepEqual(taken.map(({ payload }) => payload).sort(), qos === 1 ? ['a', 'b'] : []);
    await back.idle();
    await anew.idle();
  });
}

for (const qos of [1, 2]) {
  test(`[MQTT-4.4.0-1] what a group gave at QoS ${qos} comes once after kill -9, to the member that had it`, async (t) => {
    const own = await startBroker(t);
    const options = lasting();
    const member = await connectClient(t, own.port, options);
    await member.subscribe('$share/g/t', qos);
    const publisher = await connectClient(t, own.port);
    for (const payload of ['a', 'b', 'c']) await publisher.publish('t', payload, { qos });
    const sent = await open(member, 3);
    await elapse(ROWS_MS);
    await own.kill();
    await own.restart();

    await comesAgain(t, own.port, options, sent);
  });

  test(`[MQTT-4.8.2-1] what a group gave at QoS ${qos} just before kill -9 comes once`, async (t) => {
    const own = await startBroker(t);
    const options = lasting();
    const member = await connectClient(t, own.port, options);
    await member.subscribe('$share/g/t', qos);
    const publisher = await connectClient(t, own.port);
    for (const payload of ['a', 'b', 'c']) await publisher.publish('t', payload, { qos });
    await open(member, 3);
    await own.kill();
    await own.restart();

    const back = await connectClient(t, own.port, options);
    const again = await open(back, 3);
    assert.deepEqual(again.map(({ payload }) => payload).sort(), ['a', 'b', 'c']);
    await back.idle();
    for (const packet of again) await back.settle(packet);
    await back.idle();
  });
}

test('[MQTT-4.8.2-4] after kill -9 what another member took at QoS 1 does not come again', async (t) => {
  const own = await startBroker(t);
  const options = lasting();
  const member = await connectClient(t, own.port, options);
  await member.subscribe('$share/g/t', 1);
  const publisher = await connectClient(t, own.port);
  for (const payload of ['a', 'b']) await publisher.publish('t', payload, { qos: 1 });
  await open(member, 2);
  await elapse(ROWS_MS);
  await own.kill();
  await own.restart();
  const other = await connectClient(t, own.port);
  await other.subscribe('$share/g/t', 1);
  for (const packet of await open(other, 2)) await other.settle(packet);

  const back = await connectClient(t, own.port, options);

  await back.idle();
});

test('[MQTT-4.8.2-5] a QoS 2 delivery sent to a member without a session goes to no other after kill -9', async (t) => {
  const own = await startBroker(t);
  const away = await connectClient(t, own.port, lasting());
  await away.subscribe('$share/g/t', 2);
  await away.disconnect();
  const passing = await connectClient(t, own.port);
  await passing.subscribe('$share/g/t', 2);
  const publisher = await connectClient(t, own.port);
  for (const payload of ['a', 'b', 'c']) await publisher.publish('t', payload, { qos: 2 });
  await open(passing, 3);
  await own.kill();
  await own.restart();

  const back = await connectClient(t, own.port, lasting({ clientId: away.clientId }));

  assert.equal(back.connack?.sessionPresent, true);
  await back.idle();
});
