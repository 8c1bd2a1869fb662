/**
 * MQTT 3.1.1: clean and kept sessions, Session Present, takeover (3.1.2.4, 3.1.4, 3.2.2.2, 4.1).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Received, sharedBroker, unique, type WireClient } from '../harness/index.ts';

const broker = sharedBroker();

for (const version of [3, 4] as const) {
  const present = version === 3 ? '20020000' : '20020100';

  test(`[MQTT-3.1.2-4] [MQTT-3.2.2-3] [MQTT-3.2.2-2] [MQTT-4.1.0-1] v${version}: CleanSession 0 finds its session again`, async (t) => {
    const clientId = unique();
    const topic = unique('t/');
    const publisher = await broker.connect(t);
    const first = await broker.connect(t, { version, clientId, clean: false });
    assert.equal(first.connack?.raw.toString('hex'), '20020000');
    await first.subscribe(topic, 1);
    await first.disconnect();

    const second = await broker.connect(t, { version, clientId, clean: false });
    assert.equal(second.connack?.raw.toString('hex'), present);
    await publisher.publish(topic, 'for the old subscription', { qos: 1 });

    const got = await second.receive();
    assert.equal(got.payload?.toString(), 'for the old subscription');
    assert.equal(got.qos, 1);
    second.abort();
    const third = await broker.connect(t, { version, clientId, clean: false });
    assert.equal(third.connack?.raw.toString('hex'), present);
    await third.nothing();
  });

  test(`[MQTT-3.1.2-5] v${version}: QoS 1 and 2 messages wait for an absent client, each QoS in order`, async (t) => {
    const clientId = unique();
    const topic = unique('t/');
    const publisher = await broker.connect(t);
    const before = await broker.connect(t, { version, clientId, clean: false });
    await before.subscribe([
      { topic: `${topic}/two`, qos: 2 },
      { topic: `${topic}/one`, qos: 1 },
    ]);
    await before.disconnect();

    await publisher.publish(`${topic}/two`, '1', { qos: 2 });
    await publisher.publish(`${topic}/one`, '2', { qos: 1 });
    await publisher.publish(`${topic}/two`, '3', { qos: 1 });
    await publisher.publish(`${topic}/one`, '4', { qos: 2 });
    await publisher.publish(unique('other/'), 'not for it', { qos: 1 });

    const after = await broker.connect(t, { version, clientId, clean: false });
    const got: Received[] = [];
    while (got.length < 4) got.push(await after.first('publish'));
    for (const publish of got) await after.ack(publish);
    // Each QoS keeps its order; between them none is laid down [MQTT-4.6.0-6].
    const ofQos = (qos: number): unknown[] =>
      got
        .filter((one) => one.qos === qos)
        .map((one) => [one.payload?.toString(), one.dup, one.retain]);
    assert.deepEqual(ofQos(2), [['1', false, false]]);
    assert.deepEqual(ofQos(1), [
      ['2', false, false],
      ['3', false, false],
      ['4', false, false],
    ]);
    await after.nothing();
  });

  test(`[MQTT-3.1.2-6] [MQTT-3.2.2-1] [MQTT-3.1.4-3] v${version}: CleanSession 1 throws the old session away`, async (t) => {
    const clientId = unique();
    const topic = unique('t/');
    const publisher = await broker.connect(t);
    const kept = await broker.connect(t, { version, clientId, clean: false });
    await kept.subscribe(topic, 1);
    await kept.disconnect();
    await publisher.publish(topic, 'queued, then thrown away', { qos: 1 });

    const clean = await broker.connect(t, { version, clientId, clean: true });
    assert.equal(clean.connack?.raw.toString('hex'), '20020000');
    await publisher.publish(topic, 'nobody subscribed', { qos: 1 });
    await clean.nothing();
    await clean.disconnect();

    const last = await broker.connect(t, { version, clientId, clean: false });
    assert.equal(last.connack?.raw.toString('hex'), '20020000');
    await last.nothing();
  });

  test(`[MQTT-3.1.2-6] v${version}: a session begun with CleanSession 1 ends with its connection`, async (t) => {
    const clientId = unique();
    const topic = unique('t/');
    const publisher = await broker.connect(t);
    for (const end of ['disconnect', 'abort'] as const) {
      const clean = await broker.connect(t, { version, clientId, clean: true });
      await clean.subscribe(topic, 1);
      await clean[end]();
    }
    // The takeover below settles the aborted connection before anything is published.
    const later = await broker.connect(t, { version, clientId, clean: false });
    assert.equal(later.connack?.raw.toString('hex'), '20020000');
    await publisher.publish(topic, 'lost', { qos: 1 });
    await later.nothing();
  });

  test(`[MQTT-3.1.4-2] v${version}: a second connection with the same id drops the first`, async (t) => {
    const clientId = unique();
    const topic = unique('t/');
    const publisher = await broker.connect(t);
    const older = await broker.connect(t, { version, clientId, clean: false });
    await older.subscribe(topic, 1);

    const newer = await broker.connect(t, { version, clientId, clean: false });

    assert.deepEqual(await older.closed(), []);
    assert.equal(newer.connack?.raw.toString('hex'), present);
    await publisher.publish(topic, 'x', { qos: 1 });
    assert.equal((await newer.receive()).payload?.toString(), 'x');
    await newer.nothing();
    await publisher.nothing();
  });
}

test('[MQTT-3.1.4-2] [MQTT-3.1.2-6] takeover with CleanSession 1 starts afresh', async (t) => {
  const clientId = unique();
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const older = await broker.connect(t, { clientId, clean: false });
  await older.subscribe(topic, 1);

  const newer = await broker.connect(t, { clientId, clean: true });

  assert.deepEqual(await older.closed(), []);
  assert.equal(newer.connack?.raw.toString('hex'), '20020000');
  await publisher.publish(topic, 'x', { qos: 1 });
  await newer.nothing();
});

test('[MQTT-3.1.4-2] of twenty quick connections with one id, the last stays', async (t) => {
  const clientId = unique();
  const clients = [];
  for (let i = 0; i < 20; i++) clients.push(await broker.connect(t, { clientId, clean: false }));
  const last = clients.pop()!;

  for (const older of clients) assert.deepEqual(await older.closed(), []);
  await last.nothing();
});

test('[MQTT-3.1.3-2] sessions are told apart by client id, letter by letter', async (t) => {
  const clientId = unique();
  const topic = unique('t/');
  const one = await broker.connect(t, { clientId: `${clientId}a`, clean: false });
  await one.subscribe(topic, 1);
  await one.disconnect();

  for (const other of [`${clientId}A`, clientId, `${clientId}ab`]) {
    const client = await broker.connect(t, { clientId: other, clean: false });
    assert.equal(client.connack?.sessionPresent, false);
    await client.publish(topic, 'x', { qos: 1 });
    await client.nothing();
  }

  const again = await broker.connect(t, { clientId: `${clientId}a`, clean: false });
  assert.equal(again.connack?.sessionPresent, true);
  for (let i = 0; i < 3; i++) await again.receive();
  await again.nothing();
});

test('[MQTT-4.1.0-2] a session lives on for as long as its connection, however it was begun', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const client = await broker.connect(t, { clean: true });
  await client.subscribe(topic, 1);

  for (let i = 0; i < 50; i++) await publisher.publish(topic, String(i), { qos: 1 });

  for (let i = 0; i < 50; i++) {
    assert.equal((await client.receive()).payload?.toString(), String(i));
  }
});

test('[MQTT-3.1.2-4] subscriptions of a kept session can be changed when it is resumed', async (t) => {
  const clientId = unique();
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const first = await broker.connect(t, { clientId, clean: false });
  await first.subscribe([`${topic}/a`, `${topic}/b`], 1);
  await first.disconnect();
  const second = await broker.connect(t, { clientId, clean: false });
  await second.unsubscribe(`${topic}/a`);
  await second.disconnect();

  await publisher.publish(`${topic}/a`, 'a', { qos: 1 });
  await publisher.publish(`${topic}/b`, 'b', { qos: 1 });

  const third = await broker.connect(t, { clientId, clean: false });
  assert.equal((await third.receive()).payload?.toString(), 'b');
  await third.nothing();
});

test('[MQTT-3.2.0-1] a resumed session hears CONNACK before its messages', async (t) => {
  const clientId = unique();
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const first = await broker.connect(t, { clientId, clean: false });
  await first.subscribe(topic, 1);
  first.abort();
  for (let i = 0; i < 10; i++) await publisher.publish(topic, String(i), { qos: 1 });

  // `connect` takes the first packet and fails unless it is CONNACK.
  const second = await broker.connect(t, { clientId, clean: false });

  for (let i = 0; i < 10; i++) {
    assert.equal((await second.receive()).payload?.toString(), String(i));
  }
});

test('[MQTT-3.1.2-4] a session passes between 3.1 and 3.1.1', async (t) => {
  const clientId = unique();
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const old = await broker.connect(t, { clientId, clean: false, version: 3 });
  await old.subscribe(topic, 2);
  await old.disconnect();
  await publisher.publish(topic, 'x', { qos: 2 });

  const young = await broker.connect(t, { clientId, clean: false, version: 4 });

  assert.equal(young.connack?.sessionPresent, true);
  const got = await young.receive();
  assert.deepEqual([got.payload?.toString(), got.qos], ['x', 2]);
});

test('[MQTT-3.1.3-2] no id is taken for another, whatever characters it has', async (t) => {
  const base = unique();
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const endings = [
    '',
    '/',
    '/1',
    '/0001',
    ':1',
    '.',
    '#',
    '+',
    ' ',
    '%2F',
    '\u0001',
    '\u00e9',
    '//',
  ];
  const connect = (ending: string, clean = false): Promise<WireClient> =>
    broker.connect(t, { clientId: `${base}${ending}`, clean });
  for (const [i, ending] of endings.entries()) {
    const client = await connect(ending);
    assert.equal(client.connack?.sessionPresent, false, `'${ending}'`);
    await client.subscribe(`${topic}/${i}`, 1);
    client.sendPublish(`${topic}/in`, ending, { qos: 2, messageId: 1 });
    await client.next('pubrec');
    await client.disconnect();
  }
  for (const i of endings.keys()) await publisher.publish(`${topic}/${i}`, String(i), { qos: 1 });
  const watcher = await broker.connect(t);
  await watcher.subscribe(`${topic}/in`, 2);

  await (await connect('', true)).disconnect();

  for (const [i, ending] of endings.entries()) {
    const client = await connect(ending);
    assert.equal(client.connack?.sessionPresent, i > 0, `'${ending}'`);
    if (i > 0) {
      assert.equal((await client.receive()).payload?.toString(), String(i));
      client.sendPublish(`${topic}/in`, 'a repeat', { qos: 2, messageId: 1, dup: true });
      await client.next('pubrec');
    }
    await client.nothing();
  }
  await watcher.nothing();
});
