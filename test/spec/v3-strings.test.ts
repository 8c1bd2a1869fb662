/**
 * MQTT 3.1.1, chapter 1.5.3 and the string fields of every packet: UTF-8, checked.
 *
 * MQTT 3.1 lays no such duty on a broker, so it has no tests here.
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

const NOT_UTF8 = {
  'a lone continuation byte': '61 80',
  'a byte no form begins with': 'ff',
  'an overlong solidus': 'c0 af',
  'an overlong U+0000': 'c0 80',
  'an overlong three-byte form': 'e0 80 af',
  'an overlong four-byte form': 'f0 80 80 af',
  'the first high surrogate U+D800': 'ed a0 80',
  'the last low surrogate U+DFFF': 'ed bf bf',
  'a pair of surrogates': 'ed a0 bd ed b8 80',
  'a character beyond U+10FFFF': 'f4 90 80 80',
  'a five-byte form': 'f8 88 80 80 80',
  'a form cut short': '61 e2 82',
};

const subscribe = (filter: Uint8Array): Buffer =>
  packet(0x82, u16(1), field(filter), Buffer.from([0]));

/** Every string field: the packet around it, and whether that packet opens the connection. */
const FIELDS = [
  {
    name: '[MQTT-1.5.3-1] [MQTT-3.1.3-4] a client id that is not UTF-8',
    build: (text: Uint8Array) => connectBytes({ payload: [field(text)] }),
    opens: true,
  },
  {
    name: '[MQTT-1.5.3-1] [MQTT-3.1.3-10] a will topic that is not UTF-8',
    build: (text: Uint8Array) =>
      connectBytes({ flags: 0x06, payload: [field(unique()), field(text), field('x')] }),
    opens: true,
  },
  {
    name: '[MQTT-1.5.3-1] [MQTT-3.1.3-11] a user name that is not UTF-8',
    build: (text: Uint8Array) =>
      connectBytes({ flags: 0x82, payload: [field(unique()), field(text)] }),
    opens: true,
  },
  {
    name: '[MQTT-1.5.3-1] [MQTT-3.3.2-1] a topic name that is not UTF-8',
    build: (text: Uint8Array) => packet(0x30, field(text), Buffer.from('x')),
    opens: false,
  },
  {
    name: '[MQTT-1.5.3-1] [MQTT-3.8.3-1] a filter in SUBSCRIBE that is not UTF-8',
    build: subscribe,
    opens: false,
  },
  {
    name: '[MQTT-1.5.3-1] [MQTT-3.10.3-1] a filter in UNSUBSCRIBE that is not UTF-8',
    build: (text: Uint8Array) => packet(0xa2, u16(1), field(text)),
    opens: false,
  },
];

for (const { name, build, opens } of FIELDS) {
  test(`${name} closes the connection`, async (t) => {
    for (const [what, bytes] of Object.entries(NOT_UTF8)) {
      await t.test(what, async (t) => {
        if (opens) assert.deepEqual(await expectRefusal(t, broker, build(hex(bytes))), []);
        else await expectCut(t, broker, build(hex(bytes)));
      });
    }
  });
}

const NUL_FIELDS = [
  {
    name: '[MQTT-1.5.3-2] U+0000 in a client id',
    bytes: connectBytes({ payload: [field('a\0b')] }),
    opens: true,
  },
  {
    name: '[MQTT-1.5.3-2] [MQTT-4.7.3-2] U+0000 in a will topic',
    bytes: connectBytes({ flags: 0x06, payload: [field('n'), field('a\0b'), field('x')] }),
    opens: true,
  },
  {
    name: '[MQTT-1.5.3-2] U+0000 in a user name',
    bytes: connectBytes({ flags: 0x82, payload: [field('n'), field('\0')] }),
    opens: true,
  },
  {
    name: '[MQTT-1.5.3-2] [MQTT-4.7.3-2] U+0000 in a topic name',
    bytes: packet(0x30, field('a\0'), Buffer.from('x')),
    opens: false,
  },
  {
    name: '[MQTT-1.5.3-2] [MQTT-4.7.3-2] U+0000 in a filter of SUBSCRIBE',
    bytes: subscribe(Buffer.from('\0a')),
    opens: false,
  },
  {
    name: '[MQTT-1.5.3-2] [MQTT-4.7.3-2] U+0000 in a filter of UNSUBSCRIBE',
    bytes: packet(0xa2, u16(1), field('a/\0')),
    opens: false,
  },
];

for (const { name, bytes, opens } of NUL_FIELDS) {
  test(`${name} closes the connection`, async (t) => {
    if (opens) assert.deepEqual(await expectRefusal(t, broker, bytes), []);
    else await expectCut(t, broker, bytes);
  });
}

test('[MQTT-1.5.3-1] a bad filter behind good ones cuts off the whole SUBSCRIBE', async (t) => {
  const good = unique('t/');
  const publisher = await broker.connect(t);

  await expectCut(
    t,
    broker,
    packet(0x82, u16(9), field(good), hex('01'), field(hex('ff')), hex('01')),
  );

  await publisher.publish(good, 'x', { qos: 1 });
});

test('[MQTT-1.5.3-3] a BOM in a topic is a character like any other', async (t) => {
  const topic = unique('bom/');
  const withBom = `\uFEFF${topic}`;
  const plain = await broker.connect(t);
  const marked = await broker.connect(t);
  await plain.subscribe(topic);
  await marked.subscribe(withBom);

  await marked.publish(withBom, 'with', { qos: 1 });

  const got = await marked.next('publish');
  assert.deepEqual(got.raw, packet(0x30, field(Buffer.from(withBom)), Buffer.from('with')));
  assert.equal(got.raw.subarray(4, 7).toString('hex'), 'efbbbf');
  await marked.nothing();
  await plain.nothing();
});

test('[MQTT-1.5.3-3] a BOM in the middle of a topic stays there', async (t) => {
  const topic = `${unique('bom/')}/\uFEFF/end`;
  const client = await broker.connect(t);
  await client.subscribe(topic);

  await client.publish(topic, '', { qos: 1 });

  const got = await client.next('publish');
  assert.deepEqual(got.raw, packet(0x30, field(Buffer.from(topic))));
});

test('[MQTT-1.5.3-1] every length of UTF-8 form passes', async (t) => {
  const topic = `${unique('t/')}/é/€/퟿/\uE000/😀/\u{10FFFD}`;
  const client = await broker.connect(t, { username: 'ü😀', clientId: unique('é') });
  await client.subscribe(topic, 1);

  await client.publish(topic, 'x', { qos: 1 });

  const got = await client.receive();
  assert.equal(got.topic, topic);
  assert.deepEqual(got.raw.subarray(4, 4 + Buffer.byteLength(topic)), Buffer.from(topic));
});

test('[MQTT-3.1.3-11] password and will message are free binary', async (t) => {
  const topic = unique('will/');
  const watcher = await broker.connect(t);
  await watcher.subscribe(topic);
  const client = await broker.open(t);
  const secret = hex('00 ff c0 80 ed a0 80');

  client.sendBytes(
    connectBytes({
      flags: 0xc6,
      payload: [field(unique()), field(topic), field(secret), field('user'), field(secret)],
    }),
  );

  assert.equal((await client.next('connack')).raw.toString('hex'), '20020000');
  client.abort();
  assert.deepEqual((await watcher.next('publish')).payload, secret);
});
