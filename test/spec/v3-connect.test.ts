/**
 * MQTT 3.1.1, chapter 3.1: CONNECT, and what becomes of one that breaks its rules.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectBytes,
  expectCut,
  expectRefusal,
  field,
  hex,
  packet,
  sharedBroker,
  u16,
  unique,
} from '../harness/index.ts';

const broker = sharedBroker();

const id = field('refused');
const ACCEPTED = '20020000';

const BEFORE_CONNECT = {
  CONNACK: hex('20 02 00 00'),
  'PUBLISH at QoS 0': packet(0x30, field('a'), hex('78')),
  'PUBLISH at QoS 1': packet(0x32, field('a'), hex('00 01 78')),
  PUBACK: hex('40 02 00 01'),
  PUBREC: hex('50 02 00 01'),
  PUBREL: hex('62 02 00 01'),
  PUBCOMP: hex('70 02 00 01'),
  SUBSCRIBE: hex('82 06 00 01 00 01 61 00'),
  UNSUBSCRIBE: hex('a2 05 00 01 00 01 61'),
  PINGREQ: hex('c0 00'),
  DISCONNECT: hex('e0 00'),
  'type 15': hex('f0 00'),
  'an HTTP request': Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
};

for (const [name, bytes] of Object.entries(BEFORE_CONNECT)) {
  test(`[MQTT-3.1.0-1] ${name} before CONNECT closes the connection`, async (t) => {
    assert.deepEqual(await expectRefusal(t, broker, bytes), []);
  });
}

test('[MQTT-3.1.0-1] what looks like CONNECT but for its type closes the connection', async (t) => {
  for (const firstByte of [0x00, 0x20, 0x30, 0x32, 0x62, 0x82, 0xa2, 0xc0, 0xe0, 0xf0]) {
    const bytes = connectBytes({ firstByte, payload: [field(unique())] });
    assert.deepEqual(await expectRefusal(t, broker, bytes), [], `0x${firstByte.toString(16)}`);
  }
});

for (const version of [3, 4] as const) {
  test(`[MQTT-3.1.0-2] v${version}: a second CONNECT drops the client, its will goes out`, async (t) => {
    const topic = unique('will/');
    const watcher = await broker.connect(t);
    await watcher.subscribe(topic);
    const clientId = unique();
    const will = { topic, payload: 'gone' };

    const again = connectBytes({ level: version, payload: [field(clientId)] });
    await expectCut(t, broker, again, { version, clientId, will });

    assert.equal((await watcher.next('publish')).payload?.toString(), 'gone');
  });
}

test('[MQTT-3.1.0-2] a second CONNECT under another id drops the client too', (t) =>
  expectCut(t, broker, connectBytes({ payload: [field(unique())] })));

for (const name of ['MQTX', 'mqtt', 'MQTT5', 'MQIsdq', 'M', '']) {
  test(`[MQTT-3.1.2-1] protocol name '${name}' is never served as 3.1.1`, async (t) => {
    const answers = await expectRefusal(t, broker, connectBytes({ name, payload: [id] }));
    assert.ok(answers.length <= 1);
    for (const answer of answers) assert.equal(answer.raw.toString('hex'), '20020001');
  });
}

for (const level of [0, 1, 2]) {
  test(`[MQTT-3.1.2-2] [MQTT-3.2.2-5] [MQTT-3.2.2-4] level ${level}: CONNACK 0x01, then close`, async (t) => {
    const answers = await expectRefusal(t, broker, connectBytes({ level, payload: [id] }));
    assert.deepEqual(
      answers.map((one) => one.raw.toString('hex')),
      ['20020001'],
    );
  });
}

for (const level of [6, 7, 127]) {
  test(`[MQTT-3.1.2-2] level ${level} is refused as unsupported, then close`, async (t) => {
    // A broker that also speaks 5.0 may answer a level of the future in that form (0x84).
    const connect = connectBytes({ level, payload: [id] });
    const answers = await expectRefusal(t, broker, connect);
    assert.equal(answers.length, 1);
    const raw = answers[0]!.raw;
    assert.equal(raw[0], 0x20);
    assert.equal(raw[2], 0);
    assert.equal(raw[3], raw.length === 4 ? 0x01 : 0x84);
  });
}

const REFUSED = {
  '[MQTT-3.1.2-3] reserved connect flag set': connectBytes({ flags: 0x03, payload: [id] }),
  '[MQTT-3.1.2-9] Will Flag without will topic and message': connectBytes({
    flags: 0x06,
    payload: [id],
  }),
  '[MQTT-3.1.2-9] Will Flag without will message': connectBytes({
    flags: 0x06,
    payload: [id, field('topic')],
  }),
  '[MQTT-3.1.2-11] will fields without Will Flag': connectBytes({
    flags: 0x02,
    payload: [id, field('topic'), field('message')],
  }),
  '[MQTT-3.1.2-11] [MQTT-3.1.2-13] Will QoS 1 without Will Flag': connectBytes({
    flags: 0x0a,
    payload: [id],
  }),
  '[MQTT-3.1.2-11] [MQTT-3.1.2-13] Will QoS 2 without Will Flag': connectBytes({
    flags: 0x12,
    payload: [id],
  }),
  '[MQTT-3.1.2-11] [MQTT-3.1.2-15] Will Retain without Will Flag': connectBytes({
    flags: 0x22,
    payload: [id],
  }),
  '[MQTT-3.1.2-14] Will QoS 3': connectBytes({
    flags: 0x1e,
    payload: [id, field('topic'), field('message')],
  }),
  '[MQTT-3.1.2-14] [MQTT-3.1.2-13] Will QoS 3 without Will Flag': connectBytes({
    flags: 0x1a,
    payload: [id],
  }),
  '[MQTT-3.1.2-18] user name without its flag': connectBytes({
    flags: 0x02,
    payload: [id, field('user')],
  }),
  '[MQTT-3.1.2-19] User Name Flag without user name': connectBytes({ flags: 0x82, payload: [id] }),
  '[MQTT-3.1.2-19] User Name Flag with half a user name': connectBytes({
    flags: 0x82,
    payload: [id, hex('00 05 61')],
  }),
  '[MQTT-3.1.2-20] password without its flag': connectBytes({
    flags: 0x82,
    payload: [id, field('user'), field('secret')],
  }),
  '[MQTT-3.1.2-21] Password Flag without password': connectBytes({
    flags: 0xc2,
    payload: [id, field('user')],
  }),
  '[MQTT-3.1.2-22] Password Flag without User Name Flag': connectBytes({
    flags: 0x42,
    payload: [id, field('secret')],
  }),
  '[MQTT-3.1.3-3] no client id field': connectBytes(),
  '[MQTT-3.1.3-3] a client id cut short': connectBytes({ payload: [hex('00 04 61 62')] }),
  '[MQTT-3.1.4-1] no keep alive': packet(0x10, field('MQTT'), hex('04 02')),
  '[MQTT-3.1.4-1] nothing at all in CONNECT': hex('10 00'),
  '[MQTT-3.1.4-1] bytes left over': connectBytes({ payload: [id, hex('00')] }),
  '[MQTT-4.7.1-1] + in the will topic': connectBytes({
    flags: 0x06,
    payload: [id, field('a/+'), field('message')],
  }),
  '[MQTT-4.7.1-1] # in the will topic': connectBytes({
    flags: 0x06,
    payload: [id, field('#'), field('message')],
  }),
  '[MQTT-4.7.3-1] empty will topic': connectBytes({
    flags: 0x06,
    payload: [id, field(''), field('message')],
  }),
};

for (const [name, bytes] of Object.entries(REFUSED)) {
  test(`${name}: close without CONNACK`, async (t) => {
    assert.deepEqual(await expectRefusal(t, broker, bytes), []);
  });
}

test('[MQTT-3.1.4-1] [MQTT-3.2.2-6] a broken CONNECT takes nothing from the holder of its id', async (t) => {
  const clientId = unique();
  const topic = unique('t/');
  const holder = await broker.connect(t, { clientId, clean: false });
  await holder.subscribe(topic);

  const broken = connectBytes({ flags: 0x03, payload: [field(clientId)] });
  assert.deepEqual(await expectRefusal(t, broker, broken), []);

  await holder.publish(topic, 'still here', { qos: 1 });
  assert.equal((await holder.next('publish')).payload?.toString(), 'still here');
});

test('[MQTT-3.1.3-1] the fields of CONNECT are read in their order', async (t) => {
  const clientId = unique('id');
  const topic = unique('will/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic, 2);
  const client = await broker.open(t);

  client.sendBytes(
    connectBytes({
      flags: 0xd6,
      keepalive: 60,
      payload: [field(clientId), field(topic), field('message'), field('user'), field('secret')],
    }),
  );
  assert.equal((await client.next()).raw.toString('hex'), ACCEPTED);
  await broker.connect(t, { clientId });

  assert.deepEqual(await client.closed(), []);
  const will = await watcher.receive();
  assert.equal(will.payload?.toString(), 'message');
  assert.equal(will.qos, 2);
});

test('[MQTT-3.1.4-4] [MQTT-3.2.2-1] [MQTT-3.2.0-1] a valid CONNECT gets CONNACK 20 02 00 00', async (t) => {
  for (const level of [3, 4]) {
    const client = await broker.open(t);
    client.sendBytes(connectBytes({ level, payload: [field(unique())] }));
    assert.equal((await client.next()).raw.toString('hex'), ACCEPTED);
    await client.nothing();
  }
});

test('[MQTT-7.0.0-2] no user name, no password, nothing but the standard is needed', async (t) => {
  const topic = unique('t/');
  const one = await broker.connect(t);
  const other = await broker.connect(t, { version: 3 });
  await one.subscribe(topic, 2);

  await other.publish(topic, 'hello', { qos: 2 });

  assert.equal((await one.receive()).payload?.toString(), 'hello');
  await one.disconnect();
  await other.disconnect();
});

test('[MQTT-3.1.3-5] ids of 1 to 23 letters and digits are accepted', async (t) => {
  const ids = [
    '0',
    'Z',
    '0123456789abcdefghijklm',
    'nopqrstuvwxyzABCDEFGHIJ',
    'KLMNOPQRSTUVWXYZ0123456',
    'aaaaaaaaaaaaaaaaaaaaaaa',
  ];
  for (const clientId of ids) {
    for (const version of [3, 4] as const) {
      const client = await broker.connect(t, { clientId, version });
      assert.equal(client.connack?.raw.toString('hex'), ACCEPTED);
      await client.disconnect();
    }
  }
});

test('[MQTT-3.1.3-9] a longer id is accepted or refused with 0x02, by 3.1 and 3.1.1', async (t) => {
  for (const version of [3, 4] as const) {
    const clientId = unique('0123456789abcdefghijklmnopqrstuvwxyz');
    const client = await broker.connect(t, { clientId, version, mayFail: true });
    const code = client.connack?.returnCode;
    if (code === 0) await client.nothing();
    else {
      assert.equal(client.connack?.raw.toString('hex'), '20020002');
      assert.deepEqual(await client.closed(), []);
    }
  }
});

test('[MQTT-3.1.3-6] clients with an empty id get one of their own each', async (t) => {
  const topic = unique('t/');
  const clients = [await broker.open(t), await broker.open(t), await broker.open(t)];
  for (const client of clients) {
    client.sendBytes(connectBytes({ payload: [field('')] }));
    assert.equal((await client.next()).raw.toString('hex'), ACCEPTED);
    await client.subscribe(topic);
  }

  await clients[0]!.publish(topic, 'to all', { qos: 1 });

  for (const client of clients) {
    assert.equal((await client.first('publish')).payload?.toString(), 'to all');
    await client.nothing();
  }
});

test('[MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.1.3-9] [MQTT-3.2.2-4] [MQTT-3.2.2-5] empty id with CleanSession 0: CONNACK 0x02, then close', async (t) => {
  const answers = await expectRefusal(t, broker, connectBytes({ flags: 0, payload: [field('')] }));
  assert.deepEqual(
    answers.map((one) => one.raw.toString('hex')),
    ['20020002'],
  );
});

for (const flags of [0, 2]) {
  test(`[MQTT-3.1.3-9] v3: an empty id is refused with 0x02 (flags ${flags})`, async (t) => {
    const connect = connectBytes({ level: 3, flags, payload: [field('')] });
    const answers = await expectRefusal(t, broker, connect);
    assert.deepEqual(
      answers.map((one) => one.raw.toString('hex')),
      ['20020002'],
    );
  });
}

test('[MQTT-3.1.4-5] nothing sent behind a refused CONNECT is acted on', async (t) => {
  const topic = unique('t/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);
  const client = await broker.open(t);

  client.sendBytes(
    Buffer.concat([
      connectBytes({ flags: 0, payload: [field('')] }),
      packet(0x82, u16(1), field(topic), hex('00')),
      packet(0x33, field(topic), u16(2), Buffer.from('unheard')),
      hex('c0 00'),
    ]),
  );

  const answers = await client.closed();
  assert.deepEqual(
    answers.map((one) => one.raw.toString('hex')),
    ['20020002'],
  );
  await watcher.nothing();
  const late = await broker.connect(t);
  await late.subscribe(topic);
  await late.nothing();
});

test('[MQTT-3.1.4-4] packets right behind a good CONNECT are acted on, after its CONNACK', async (t) => {
  const topic = unique('t/');
  const client = await broker.open(t);

  client.sendBytes(
    Buffer.concat([
      connectBytes({ payload: [field(unique())] }),
      packet(0x82, u16(1), field(topic), hex('00')),
      packet(0x30, field(topic), Buffer.from('early')),
    ]),
  );

  const [connack, suback, publish] = await client.take(3);
  assert.equal(connack?.raw.toString('hex'), ACCEPTED);
  assert.equal(suback?.cmd, 'suback');
  assert.equal(publish?.payload?.toString(), 'early');
});

test('[MQTT-3.1.2-19] [MQTT-3.1.2-21] v3: fields missing in spite of flags are tolerated', async (t) => {
  for (const [flags, payload] of [
    [0x82, []],
    [0xc2, []],
    [0xc2, [field('user')]],
  ] as const) {
    const client = await broker.open(t, 3);
    client.sendBytes(connectBytes({ level: 3, flags, payload: [field(unique()), ...payload] }));
    assert.equal((await client.next()).raw.toString('hex'), ACCEPTED);
    await client.nothing();
  }
});

test('[MQTT-3.1.2-19] [MQTT-3.1.2-21] empty user name and password are fields like others', async (t) => {
  const client = await broker.open(t);
  client.sendBytes(connectBytes({ flags: 0xc2, payload: [field(unique()), field(''), field('')] }));
  assert.equal((await client.next()).raw.toString('hex'), ACCEPTED);
  await client.nothing();
});
