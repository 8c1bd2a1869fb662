/**
 * MQTT 3.1.1, chapter 4.7: topic names, filters, wildcards, and topics that begin with `$`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expectCut, field, hex, packet, sharedBroker, u16, unique } from '../harness/index.ts';

const broker = sharedBroker();

/** Filter, topics it matches, topics it does not; all below a root of their own. */
const BELOW: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['sport/#', ['sport', 'sport/', 'sport/a', 'sport/a/b/c', 'sport//'], ['sports', 'a/sport', '']],
  [
    'sport/+',
    ['sport/', 'sport/a', 'sport/+x'.replace('+', '')],
    ['sport', 'sport/a/b', 'sports/a'],
  ],
  ['+', ['sport', 'a', ''], ['sport/', '/sport', 'a/b']],
  ['+/+', ['a/b', '/b', 'a/', '/'], ['a', 'a/b/c', '//']],
  ['/+', ['/a', '/'], ['a', '/a/', 'x/a']],
  ['+/tennis/#', ['a/tennis', '/tennis', 'a/tennis/', 'a/tennis/b/c'], ['tennis', 'a/b/tennis']],
  ['sport/+/player', ['sport/a/player', 'sport//player'], ['sport/player', 'sport/a/b/player']],
  ['#', ['', '/', 'a', 'a/b', '//'], []],
  ['/#', ['/', '/a', '//'], ['a', 'a/']],
  ['+/#', ['', 'a', 'a/', '/', 'a/b/c'], []],
  ['a', ['a'], ['A', 'a/', '/a', 'a ', 'b', 'ä']],
  ['Ab C', ['Ab C'], ['ab C', 'Ab  C', 'Ab%20C', 'AbC']],
  ['a//b', ['a//b'], ['a/b', 'a///b']],
  ['+/+/+', ['//', 'a/b/c', 'a//c'], ['/', 'a/b', 'a/b/c/d']],
  ['a/+/+/#', ['a/b/c', 'a//', 'a/b/c/d'], ['a/b', 'a']],
  ['$x/#', ['$x', '$x/a'], ['x', 'a/$x']],
  ['a/$b/+', ['a/$b/c'], ['a/b/c', 'a/$b']],
  ['.*', ['.*'], ['a', 'ab', '.']],
];

for (const [filter, matching, others] of BELOW) {
  test(`[MQTT-3.3.2-3] [MQTT-4.7.3-4] below a root, '${filter}' matches what it should`, async (t) => {
    const root = unique('m');
    for (const version of [3, 4] as const) {
      const publisher = await broker.connect(t);
      const subscriber = await broker.connect(t, { version });
      await subscriber.subscribe(`${root}/${filter}`);

      for (const topic of [...others, ...matching]) {
        await publisher.publish(`${root}/${topic}`, topic, { qos: 1 });
      }

      for (const topic of matching) {
        const got = await subscriber.next('publish');
        assert.equal(got.topic, `${root}/${topic}`);
      }
      await subscriber.nothing();
    }
  });
}

test('[MQTT-3.3.2-3] `#` at the root of a filter matches its parent level', async (t) => {
  const root = unique('m');
  const client = await broker.connect(t);
  await client.subscribe(`${root}/#`);
  await client.publish(root, 'parent', { qos: 1 });
  assert.equal((await client.next('publish')).topic, root);
});

test('[MQTT-4.7.3-4] a leading, a trailing and a lone slash make levels of their own', async (t) => {
  const name = unique('m');
  const client = await broker.connect(t);
  await client.subscribe(`/${name}`);
  for (const topic of [name, `${name}/`, `/${name}/`, `//${name}`, `/${name}`]) {
    await client.publish(topic, topic, { qos: 1 });
  }
  assert.equal((await client.next('publish')).topic, `/${name}`);
  await client.nothing();
});

test('[MQTT-4.7.3-4] equal looks are not equal bytes: no normalization', async (t) => {
  const root = unique('m');
  const client = await broker.connect(t);
  const composed = `${root}/\u00e9`;
  const decomposed = `${root}/e\u0301`;
  await client.subscribe(composed);

  await client.publish(decomposed, 'x', { qos: 1 });
  await client.nothing();
  await client.publish(composed, 'y', { qos: 1 });

  const got = await client.next('publish');
  assert.deepEqual(got.raw, packet(0x30, field(composed), Buffer.from('y')));
});

for (const filter of ['#', '+/#', '+/+', '+/+/+', '+']) {
  test(`[MQTT-4.7.2-1] '${filter}' does not match topics that begin with $`, async (t) => {
    const name = unique('n');
    const publisher = await broker.connect(t);
    const wild = await broker.connect(t);
    const exact = await broker.connect(t);
    const topics = [`$${name}`, `$${name}/a`, `$${name}/a/b`];
    // A retained one must not come through the wildcard either.
    for (const topic of topics) await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    await exact.subscribe(`$${name}/#`);
    await wild.subscribe(filter);

    for (const topic of topics) await publisher.publish(topic, 'live', { qos: 1 });

    for (let i = 0; i < topics.length * 2; i++) {
      assert.ok((await exact.next('publish')).topic!.startsWith(`$${name}`));
    }
    await exact.nothing();
    wild.sendBytes('c0 00');
    for (let got = await wild.next(); got.cmd !== 'pingresp'; got = await wild.next()) {
      assert.ok(!got.topic!.startsWith('$'), `heard ${got.topic}`);
    }
    for (const topic of topics) await publisher.publish(topic, '', { qos: 1, retain: true });
  });
}

test('[MQTT-4.7.2-1] `$x/+` and `$x/#` do match, as the $ is not under the wildcard', async (t) => {
  const name = `$${unique('n')}`;
  const publisher = await broker.connect(t);
  for (const filter of [`${name}/+`, `${name}/#`, `${name}/a`]) {
    const client = await broker.connect(t);
    await client.subscribe(filter);
    await publisher.publish(`${name}/a`, 'x', { qos: 1 });
    assert.equal((await client.next('publish')).topic, `${name}/a`);
    await client.nothing();
  }
});

test('[MQTT-4.7.2-1] $SYS topics of the broker do not come through #', async (t) => {
  const wild = await broker.connect(t);
  await wild.subscribe('#');
  await wild.subscribe('+/broker/#');
  wild.sendBytes('c0 00');
  for (let got = await wild.next(); got.cmd !== 'pingresp'; got = await wild.next()) {
    assert.ok(!got.topic!.startsWith('$'), `heard ${got.topic}`);
  }
});

const INVALID_FILTERS = {
  '[MQTT-4.7.1-2] a/#/b': 'a/#/b',
  '[MQTT-4.7.1-2] a#': 'a#',
  '[MQTT-4.7.1-2] #a': '#a',
  '[MQTT-4.7.1-2] #/': '#/',
  '[MQTT-4.7.1-2] ##': '##',
  '[MQTT-4.7.1-2] a/#b': 'a/#b',
  '[MQTT-4.7.1-3] a+': 'a+',
  '[MQTT-4.7.1-3] +a': '+a',
  '[MQTT-4.7.1-3] a/+b': 'a/+b',
  '[MQTT-4.7.1-3] a/b+/c': 'a/b+/c',
  '[MQTT-4.7.1-3] ++': '++',
  '[MQTT-4.7.1-3] +#': '+#',
};

for (const [name, filter] of Object.entries(INVALID_FILTERS)) {
  test(`${name} in SUBSCRIBE closes or is refused with 0x80`, async (t) => {
    const good = unique('t/');
    const client = await broker.connect(t);
    client.sendBytes(packet(0x82, u16(1), field(filter), hex('01'), field(good), hex('01')));

    const answer = await client.nextOrClose();

    if (answer !== undefined) assert.equal(answer.raw.toString('hex'), '900400018001');
  });

  test(`${name} in UNSUBSCRIBE closes or deletes nothing`, async (t) => {
    const client = await broker.connect(t);
    client.sendBytes(packet(0xa2, u16(1), field(filter)));
    const answer = await client.nextOrClose();
    if (answer !== undefined) assert.equal(answer.raw.toString('hex'), 'b0020001');
  });
}

test('[MQTT-4.7.3-1] an empty filter in SUBSCRIBE closes the connection', async (t) => {
  await expectCut(t, broker, packet(0x82, u16(1), field(''), hex('01')));
  await expectCut(t, broker, packet(0x82, u16(1), field('good'), hex('01'), field(''), hex('01')));
});

test('[MQTT-4.7.3-1] an empty filter in UNSUBSCRIBE closes the connection', (t) =>
  expectCut(t, broker, packet(0xa2, u16(1), field(''))));

test('[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3] wildcards in their places are granted', async (t) => {
  const client = await broker.connect(t);
  const root = unique('t');
  const filters = [`${root}/#`, `${root}/+`, `+/${root}/+/x/#`, `/+/${root}`, `${root}/+/+/+`];
  assert.deepEqual((await client.subscribe(filters, 1)).granted, [1, 1, 1, 1, 1]);
  assert.deepEqual(
    (await client.subscribe(['#', '+', '/', '/#', '/+'], 0)).granted,
    [0, 0, 0, 0, 0],
  );
});

test('[MQTT-4.7.3-4] long topics are compared to their last byte', async (t) => {
  const root = unique('t');
  const long = `${root}/${'x'.repeat(2_000)}`;
  const client = await broker.connect(t);
  await client.subscribe(`${long}a`);
  await client.publish(`${long}b`, 'no', { qos: 1 });
  await client.publish(`${long}a`, 'yes', { qos: 1 });
  assert.equal((await client.next('publish')).payload?.toString(), 'yes');
  await client.nothing();
});

// `$share` is not of 3.1.1; brokers offer it, and what is no shared subscription is left as it is.
test('what begins like a shared subscription and is none is a filter like others', async (t) => {
  const client = await broker.connect(t);
  const root = unique('t');
  const filters = [`$share//${root}`, `$share/${root}`, `$share/${root}/`];

  assert.deepEqual((await client.subscribe(filters, 1)).granted, [1, 1, 1]);

  for (const topic of filters) {
    await client.publish(topic, 'x', { qos: 1 });
    assert.equal((await client.next('publish')).topic, topic);
  }
});
