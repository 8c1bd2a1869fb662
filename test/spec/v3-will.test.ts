/**
 * MQTT 3.1.1: the will, when it goes out and when it must not (3.1.2.5 to 3.1.2.7, 3.14.4).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { hex, packet, type Qos, sharedBroker, unique } from '../harness/index.ts';

const broker = sharedBroker();

for (const version of [3, 4] as const) {
  test(`[MQTT-3.1.2-8] v${version}: the will goes out when the connection is reset`, async (t) => {
    const topic = unique('will/');
    const watcher = await broker.connect(t, { version });
    await watcher.subscribe(topic);
    const client = await broker.connect(t, { version, will: { topic, payload: 'gone' } });

    client.abort();

    const will = await watcher.next('publish');
    assert.deepEqual(
      [will.topic, will.payload?.toString(), will.qos, will.retain, will.dup],
      [topic, 'gone', 0, false, false],
    );
    await watcher.nothing();
  });

  test(`[MQTT-3.1.2-10] [MQTT-3.14.4-3] v${version}: DISCONNECT cancels the will`, async (t) => {
    const topic = unique('will/');
    const clientId = unique();
    const watcher = await broker.connect(t, { version });
    await watcher.subscribe(topic);
    const will = { topic, payload: 'gone', retain: true };
    const client = await broker.connect(t, { version, clientId, clean: false, will });

    assert.deepEqual(await client.disconnect(), []);

    await watcher.nothing();
    // Nor does the session's next connection, which has no will, send it.
    const again = await broker.connect(t, { version, clientId, clean: false });
    again.abort();
    (await broker.connect(t, { version, clientId, clean: true })).abort();
    await watcher.nothing();
    const late = await broker.connect(t, { version });
    await late.subscribe(topic);
    await late.nothing();
  });

  test(`[MQTT-3.1.2-8] [MQTT-3.1.4-2] v${version}: takeover sends the older connection's will`, async (t) => {
    const topic = unique('will/');
    const clientId = unique();
    const watcher = await broker.connect(t);
    await watcher.subscribe(topic);
    const older = await broker.connect(t, {
      version,
      clientId,
      will: { topic, payload: 'the older one' },
    });

    const newer = await broker.connect(t, {
      version,
      clientId,
      will: { topic, payload: 'the newer one' },
    });

    assert.deepEqual(await older.closed(), []);
    assert.equal((await watcher.next('publish')).payload?.toString(), 'the older one');
    await newer.nothing();
    await watcher.nothing();
    newer.abort();
    assert.equal((await watcher.next('publish')).payload?.toString(), 'the newer one');
  });
}

test('[MQTT-3.1.2-8] the will goes out when the client ends without DISCONNECT', async (t) => {
  const topic = unique('will/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);
  const client = await broker.connect(t, { will: { topic, payload: 'gone' } });

  client.stream.end();

  assert.equal((await watcher.next('publish')).payload?.toString(), 'gone');
  assert.deepEqual(await client.closed(), []);
});

const ERRORS = {
  'a malformed packet': hex('00 00'),
  'a PUBLISH with a wildcard': packet(0x30, hex('00 01 23')),
  'a SUBSCRIBE with wrong flags': hex('80 06 00 01 00 01 61 00'),
  'a DISCONNECT with wrong flags': hex('e1 00'),
  'a DISCONNECT with a body': hex('e0 01 00'),
};

for (const [name, bytes] of Object.entries(ERRORS)) {
  test(`[MQTT-3.1.2-8] [MQTT-4.8.0-1] the will goes out when the broker closes over ${name}`, async (t) => {
    const topic = unique('will/');
    const watcher = await broker.connect(t);
    await watcher.subscribe(topic);
    const client = await broker.connect(t, { will: { topic, payload: 'gone' } });

    client.sendBytes(bytes);

    assert.deepEqual(await client.closed(), []);
    assert.equal((await watcher.next('publish')).payload?.toString(), 'gone');
    await watcher.nothing();
  });
}

test('[MQTT-3.1.2-10] a will goes out once only', async (t) => {
  const topic = unique('will/');
  const clientId = unique();
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);
  const client = await broker.connect(t, {
    clientId,
    clean: false,
    will: { topic, payload: 'gone' },
  });
  client.abort();
  assert.equal((await watcher.next('publish')).payload?.toString(), 'gone');

  for (let i = 0; i < 3; i++) {
    (await broker.connect(t, { clientId, clean: false })).abort();
  }
  await (await broker.connect(t, { clientId, clean: true })).disconnect();

  await watcher.nothing();
});

test('[MQTT-3.1.2-12] without Will Flag the end of the connection publishes nothing', async (t) => {
  const clientId = unique();
  const watcher = await broker.connect(t);
  await watcher.subscribe(['#', '/#', '+/+']);
  const client = await broker.connect(t, { clientId });

  client.abort();

  // A successor under the same id has its CONNACK only after the old connection is settled.
  const successor = await broker.connect(t, { clientId });
  await successor.disconnect();
  await watcher.nothing();
});

for (const willQos of [0, 1, 2] as const) {
  for (const granted of [0, 1, 2] as const) {
    test(`[MQTT-3.1.2-8] [MQTT-3.8.4-6] a will of QoS ${willQos} reaches a subscription of QoS ${granted}`, async (t) => {
      const topic = unique('will/');
      const watcher = await broker.connect(t);
      await watcher.subscribe(topic, granted);
      const client = await broker.connect(t, { will: { topic, payload: 'gone', qos: willQos } });

      client.abort();

      const will = await watcher.receive();
      assert.equal(will.qos, Math.min(willQos, granted));
      assert.equal(will.payload?.toString(), 'gone');
      await watcher.nothing();
    });
  }
}

test('[MQTT-3.1.2-16] Will Retain 0: the will is not stored, nor does it disturb what is', async (t) => {
  const topic = unique('will/');
  const watcher = await broker.connect(t);
  await watcher.publish(`${topic}/kept`, 'kept', { qos: 1, retain: true });
  await watcher.subscribe(`${topic}/new`);
  for (const part of ['new', 'kept']) {
    const will = { topic: `${topic}/${part}`, payload: 'gone', qos: 1 as Qos };
    const client = await broker.connect(t, { will });
    await watcher.subscribe(`${topic}/${part}`);
    if (part === 'kept') assert.equal((await watcher.next('publish')).payload?.toString(), 'kept');

    client.abort();

    const got = await watcher.next('publish');
    assert.deepEqual([got.payload?.toString(), got.retain], ['gone', false]);
  }

  const late = await broker.connect(t);
  await late.subscribe(`${topic}/#`);
  assert.equal((await late.next('publish')).payload?.toString(), 'kept');
  await late.nothing();
});

for (const qos of [0, 1, 2] as const) {
  test(`[MQTT-3.1.2-17] Will Retain 1, QoS ${qos}: the will is stored as retained message`, async (t) => {
    const topic = unique('will/');
    const watcher = await broker.connect(t);
    await watcher.publish(topic, 'replaced by the will', { qos: 1, retain: true });
    await watcher.subscribe(topic, 2);
    assert.equal((await watcher.receive()).retain, true);
    const client = await broker.connect(t, { will: { topic, payload: 'gone', qos, retain: true } });

    client.abort();

    const live = await watcher.receive();
    assert.deepEqual([live.payload?.toString(), live.retain, live.qos], ['gone', false, qos]);
    const late = await broker.connect(t);
    await late.subscribe(topic, 2);
    const kept = await late.receive();
    assert.deepEqual([kept.payload?.toString(), kept.retain, kept.qos], ['gone', true, qos]);
    await late.nothing();
  });
}

test('[MQTT-3.1.2-17] [MQTT-3.3.1-10] an empty retained will clears its topic', async (t) => {
  const topic = unique('will/');
  const watcher = await broker.connect(t);
  await watcher.publish(topic, 'kept', { qos: 1, retain: true });
  await watcher.subscribe(topic);
  assert.equal((await watcher.next('publish')).retain, true);
  const client = await broker.connect(t, { will: { topic, payload: '', qos: 0, retain: true } });

  client.abort();

  const live = await watcher.next('publish');
  assert.deepEqual([live.payload?.length, live.retain], [0, false]);
  const late = await broker.connect(t);
  await late.subscribe(topic);
  await late.nothing();
});

test('[MQTT-3.1.2-9] an empty will message is published as such', async (t) => {
  const topic = unique('will/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic, 1);
  const client = await broker.connect(t, { will: { topic, payload: '', qos: 1 } });

  client.abort();

  const will = await watcher.receive();
  assert.deepEqual([will.payload?.length, will.qos], [0, 1]);
});

test("[MQTT-3.1.2-8] the will waits in an absent subscriber's session", async (t) => {
  const topic = unique('will/');
  const clientId = unique();
  const absent = await broker.connect(t, { clientId, clean: false });
  await absent.subscribe(topic, 1);
  await absent.disconnect();
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);
  const client = await broker.connect(t, { will: { topic, payload: 'gone', qos: 1 } });

  client.abort();
  await watcher.next('publish');

  const back = await broker.connect(t, { clientId, clean: false });
  assert.equal((await back.receive()).payload?.toString(), 'gone');
  await back.nothing();
});

test("[MQTT-3.1.2-8] a client's will can reach its own kept session", async (t) => {
  const topic = unique('will/');
  const clientId = unique();
  const will = { topic, payload: 'mine', qos: 1 as Qos };
  const client = await broker.connect(t, { clientId, clean: false, will });
  await client.subscribe(topic, 1);
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);

  client.abort();
  await watcher.next('publish');

  const back = await broker.connect(t, { clientId, clean: false });
  assert.equal((await back.receive()).payload?.toString(), 'mine');
  await back.nothing();
});

test('[MQTT-3.1.2-10] each connection has the will of its own CONNECT', async (t) => {
  const topic = unique('will/');
  const clientId = unique();
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);
  const will = (payload: string) => ({ clientId, clean: false, will: { topic, payload } });
  await (await broker.connect(t, will('first'))).disconnect();

  (await broker.connect(t, will('second'))).abort();

  assert.equal((await watcher.next('publish')).payload?.toString(), 'second');
  await watcher.nothing();
});

test('[MQTT-3.14.4-3] packets before DISCONNECT in one write are acted on, those behind are not', async (t) => {
  const topic = unique('t/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(`${topic}/#`);
  const client = await broker.connect(t, { will: { topic: `${topic}/will`, payload: 'gone' } });
  const publish = (payload: string): Buffer =>
    client.encode({ cmd: 'publish', topic: `${topic}/live`, payload, qos: 0 });

  client.sendBytes(Buffer.concat([publish('before'), hex('e0 00'), publish('behind')]));

  assert.deepEqual(await client.closed(), []);
  assert.equal((await watcher.next('publish')).payload?.toString(), 'before');
  await watcher.nothing();
});

test('[MQTT-3.14.4-3] the broker closes after DISCONNECT, saying nothing', async (t) => {
  for (const version of [3, 4] as const) {
    const client = await broker.connect(t, { version });
    const ended = once(client.stream, 'close');
    client.sendBytes('e0 00');
    assert.deepEqual(await client.closed(), []);
    await ended;
  }
});

test('[MQTT-3.1.2-24] [MQTT-3.1.2-8] silence of 1.5 keep alives cuts the connection, the will goes out', async (t) => {
  const topic = unique('will/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(`${topic}/+`);
  const option = (name: string, keepalive: number) => ({
    keepalive,
    will: { topic: `${topic}/${name}`, payload: name },
  });
  const without = await broker.connect(t, option('without', 0));
  const lively = await broker.connect(t, option('lively', 1));
  const long = await broker.connect(t, option('long', 60));
  const silent = [
    await broker.connect(t, { version: 4, ...option('silent', 1) }),
    await broker.connect(t, { version: 3, ...option('silent3', 1) }),
  ];

  const pinging = setInterval(() => lively.sendBytes('c0 00'), 200);
  t.after(() => clearInterval(pinging));

  for (const one of silent) assert.deepEqual(await one.closed(10_000), []);
  const wills = await watcher.take(2, 'publish');
  assert.deepEqual(
    new Set(wills.map((one) => one.payload?.toString())),
    new Set(['silent', 'silent3']),
  );
  clearInterval(pinging);
  for (const one of [lively, without, long]) assert.equal(one.isClosed, false);
  await without.nothing();
  await long.nothing();
  await watcher.nothing();
});

test('[MQTT-3.1.2-24] any packet from the client counts as a sign of life, one to it does not', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const talking = await broker.connect(t, { keepalive: 1 });
  const listening = await broker.connect(t, { keepalive: 1 });
  await listening.subscribe(topic);

  const chatter = setInterval(() => {
    talking.sendPublish(`${topic}/talk`, 'x');
    publisher.sendPublish(topic, 'y');
  }, 200);
  t.after(() => clearInterval(chatter));

  const heard = await listening.closed(10_000);
  clearInterval(chatter);
  assert.ok(heard.length > 0 && heard.every((one) => one.cmd === 'publish'));
  await talking.nothing();
});

test('[MQTT-3.1.2-24] half a packet is no sign of life', async (t) => {
  const client = await broker.connect(t, { keepalive: 1 });
  client.sendBytes('30 10 00');
  assert.deepEqual(await client.closed(10_000), []);
});
