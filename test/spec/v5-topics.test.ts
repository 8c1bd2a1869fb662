/**
 * MQTT 5.0, sections 4.5 and 4.7: which topic matches which filter.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, nothingReaches, unique } from '../harness/v5-client.ts';
import { publishPacket, text } from '../harness/v5-packets.ts';

const broker = sharedBroker();

// Filter, topics it matches, topics it does not; `R` stands for a name of the test's own.
// biome-ignore format: a table reads in columns
const TABLE: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['R/sport/tennis/#', ['R/sport/tennis', 'R/sport/tennis/a', 'R/sport/tennis/a/b', 'R/sport/tennis/'], ['R/sport', 'R/sport/tennisx']],
  ['R/+', ['R/a', 'R/'], ['R', 'R/a/b', '/R/a', 'R//']],
  ['R/+/c', ['R/b/c', 'R//c'], ['R/c', 'R/b/x/c', 'R/b/c/', 'R/b/C']],
  ['R/#', ['R', 'R/', 'R/a', 'R//', 'R/a/b/c/d/e'], ['Rx', '/R']],
  ['+/R', ['/R', 'a/R'], ['R', 'a/b/R', 'a/R/']],
  ['/R', ['/R'], ['R', '//R', '/R/']],
  ['R/+/+/d', ['R/b/c/d', 'R///d'], ['R/b/d', 'R/b/c/c/d']],
  ['R/a b/c', ['R/a b/c'], ['R/a  b/c', 'R/a%20b/c', 'R/ab/c']],
  ['R//', ['R//'], ['R/', 'R', 'R///']],
  ['R/$x', ['R/$x'], ['R/x']],
  ['R/+/#', ['R/a', 'R/', 'R/a/b', 'R/$a/b'], ['R']],
];
for (const [filter, matching, others] of TABLE) {
  test(`[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-4] [MQTT-3.3.2-3] filter ${filter}`, async (t) => {
    const root = unique('m');
    const client = await connectClient(t, broker.port);
    const own = (pattern: string): string => pattern.replace('R', root);
    await client.subscribe(own(filter), 0);

    for (const topic of [...matching, ...others]) client.send(publishPacket(own(topic), topic));

    for (const topic of matching) assert.equal((await client.message()).topic, own(topic));
    await nothingReaches(client, client);
  });
}

test('[MQTT-4.7.3-4] names are compared as they are: case, composition, look-alikes and spaces count', async (t) => {
  const root = unique('m/');
  const client = await connectClient(t, broker.port);
  await client.subscribe([
    [`${root}/\u00e9`, 0],
    [`${root}/ACCOUNTS`, 0],
    [`${root}/ `, 0],
  ]);

  const names = [
    'e\u0301',
    '\u00e9',
    'Accounts',
    'accounts',
    'ACCOUNTS',
    'ACCOUNTS ',
    ' ',
    '  ',
    '\u00a0',
  ];
  for (const name of names) client.send(publishPacket(`${root}/${name}`, 'x'));

  for (const name of ['\u00e9', 'ACCOUNTS', ' ']) {
    assert.equal((await client.message()).topic, `${root}/${name}`);
  }
  await nothingReaches(client, client);
});

test('[MQTT-4.7.2-1] a filter that begins with a wildcard does not match a topic that begins with $', async (t) => {
  const root = unique('m');
  const wide = await connectClient(t, broker.port);
  const exact = await connectClient(t, broker.port);
  await wide.subscribe([
    ['#', 0],
    [`+/${root}`, 0],
    [`+/${root}/#`, 0],
    ['+/+', 0],
  ]);
  await exact.subscribe(`$mine/${root}/#`, 0);

  exact.send(publishPacket(`$mine/${root}`, 'one'), publishPacket(`$mine/${root}/x`, 'two'));

  assert.equal((await exact.message()).payload, 'one');
  assert.equal((await exact.message()).payload, 'two');
  exact.send(publishPacket(`${root}/end`, 'end'));
  // Other tests of this file do not run at the same time; whatever comes is from here.
  assert.equal((await wide.message()).payload, 'end');
});

test('[MQTT-4.7.2-1] nor does it fetch what is retained under such a topic', async (t) => {
  const root = unique('m');
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(`$mine/${root}`, 'hidden', { retain: true, qos: 1 });
  const client = await connectClient(t, broker.port);
  await client.subscribe([
    [`+/${root}`, 1],
    [`+/${root}/#`, 1],
  ]);
  await nothingReaches(client, publisher);

  await client.subscribe(`$mine/${root}`, 1);

  assert.equal((await client.receive()).payload, 'hidden');
});

test('[MQTT-4.5.0-1] a message is added to every session with a matching subscription', async (t) => {
  const root = unique('m');
  const publisher = await connectClient(t, broker.port);
  const filters = [`${root}/a`, `${root}/+`, `${root}/#`, `+/a`, `+/+`, `#`];
  const watchers = [];
  for (const filter of filters) {
    const watcher = await connectClient(t, broker.port);
    await watcher.subscribe(filter, 2);
    watchers.push(watcher);
  }

  for (const qos of [0, 1, 2]) await publisher.publish(`${root}/a`, String(qos), { qos });

  for (const watcher of watchers) {
    for (const qos of [0, 1, 2]) {
      const message = await watcher.receive();
      assert.deepEqual(
        [message.topic, message.payload, message.qos],
        [`${root}/a`, String(qos), qos],
      );
    }
  }
});

test('[MQTT-4.7.3-1] the longest topic fits: 65,535 bytes, and as many as that deep', async (t) => {
  const client = await connectClient(t, broker.port);
  const root = unique('long');
  const long = root + 'x'.repeat(65_535 - root.length);
  await client.subscribe(long);

  client.send(publishPacket(long, 'x'));

  const message = await client.message();
  assert.equal(message.topic, long);
  assert.ok(message.bytes.includes(text(long)));
});

test('[MQTT-4.7.3-4] wildcard characters are ordinary in a client id', async (t) => {
  const client = await connectClient(t, broker.port, { clientId: `${unique('c')}+/#` });

  await client.idle();
});
