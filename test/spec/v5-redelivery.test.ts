/**
 * MQTT 5.0, section 4.4: what is sent again is what was sent.
 *
 * RETAIN and Subscription Identifiers say by which subscriptions a message came. Sent again they
 * are compared with the first time, whatever the client has subscribed to meanwhile.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, unique, type V5Client } from '../harness/v5-client.ts';
import type { BrokerPacket } from '../harness/v5-decode.ts';
import {
  type ConnectOptions,
  NO_LOCAL,
  publishPacket,
  RETAIN_AS_PUBLISHED,
  RETAIN_NEVER,
} from '../harness/v5-packets.ts';

const broker = sharedBroker();

function lasting(properties = {}): ConnectOptions {
  const clientId = unique('c');
  return { clientId, cleanStart: false, properties: { sessionExpiry: 600, ...properties } };
}

/** What a message sent again has in common with the first time. */
function shown(message: BrokerPacket): unknown[] {
  const { packetId, payload, qos, retain, properties } = message;
  return [packetId, payload, qos, retain, properties.subscriptionIds];
}

/** On the next connection `sent` comes again as it was, and nothing else; twice. */
async function comesAgain(
  t: TestContext,
  client: V5Client,
  options: ConnectOptions,
  sent: readonly BrokerPacket[],
): Promise<void> {
  let before = client;
  for (let round = 0; round < 2; round++) {
    before.drop();
    await before.hungUp();
    const next = await connectClient(t, broker.port, options);
    for (const message of sent) {
      const again = await next.message();
      assert.equal(again.dup, true);
      assert.deepEqual(shown(again), shown(message));
    }
    await next.idle();
    before = next;
  }
}

/** What a client does to its subscriptions while messages are open; none of it fetches others. */
const CHANGES: readonly {
  readonly name: string;
  change(client: V5Client, filter: string, root: string): Promise<unknown>;
}[] = [
  { name: 'which stands', change: (client) => client.idle() },
  { name: 'then ended', change: (client, filter) => client.unsubscribe(filter) },
  {
    name: 'then made anew without either',
    change: (client, filter) => client.subscribe(filter, 1 | RETAIN_NEVER),
  },
  {
    name: 'then joined by others',
    async change(client, _filter, root) {
      const options = 2 | RETAIN_NEVER;
      await client.subscribe(`${root}/#`, options, { subscriptionIds: [300] });
      await client.subscribe(`${root}/+`, options, { subscriptionIds: [301] });
    },
  },
];

for (const [share, name] of [
  ['', 'a subscription'],
  ['$share/g/', 'a shared subscription'],
] as const) {
  for (const { name: event, change } of CHANGES) {
    test(`[MQTT-4.4.0-1] [MQTT-3.3.1-13] [MQTT-3.3.4-3] RETAIN and identifier come again as by ${name}, ${event}`, async (t) => {
      const root = unique('d/');
      const topic = `${root}/x`;
      const publisher = await connectClient(t, broker.port);
      const options = lasting();
      const client = await connectClient(t, broker.port, options);
      const filter = `${share}${topic}`;
      await client.subscribe(filter, 2 | RETAIN_AS_PUBLISHED, { subscriptionIds: [7] });
      for (const [payload, retain] of [
        ['kept', true],
        ['passing', false],
      ] as const) {
        await publisher.publish(topic, payload, { qos: 2, retain });
      }
      const sent = [await client.message(), await client.message()];
      assert.deepEqual(
        sent.map(({ retain, properties }) => [retain, properties.subscriptionIds]),
        [
          [true, [7]],
          [false, [7]],
        ],
      );
      await change(client, filter, root);

      await comesAgain(t, client, options, sent);
    });
  }
}

test('[MQTT-4.4.0-1] [MQTT-3.3.4-3] [MQTT-3.8.3-3] a message of its own comes again without those that are No Local', async (t) => {
  const root = unique('d/');
  const options = lasting();
  const client = await connectClient(t, broker.port, options);
  await client.subscribe(`${root}/#`, 1, { subscriptionIds: [1] });
  const local = 1 | NO_LOCAL | RETAIN_AS_PUBLISHED;
  await client.subscribe(`${root}/+`, local, { subscriptionIds: [2] });
  client.sendPublish(`${root}/x`, 'own', { qos: 1, retain: true, packetId: 50 });
  const message = await client.find('publish');
  assert.deepEqual([message.retain, message.properties.subscriptionIds], [false, [1]]);
  await client.next('puback');

  await comesAgain(t, client, options, [message]);
});

test('[MQTT-4.4.0-1] [MQTT-3.3.4-5] two copies of a retained message come again, each with its own identifier', async (t) => {
  const root = unique('d/');
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(`${root}/x`, 'stored', { qos: 2, retain: true });
  const options = lasting();
  const client = await connectClient(t, broker.port, options);
  await client.subscribe(`${root}/#`, 1, { subscriptionIds: [1] });
  const sent = [await client.message()];
  await client.subscribe(`${root}/+`, 2, { subscriptionIds: [2] });
  sent.push(await client.message());
  assert.deepEqual(
    sent.map(({ retain, properties }) => [retain, properties.subscriptionIds]),
    [
      [true, [1]],
      [true, [2]],
    ],
  );

  await comesAgain(t, client, options, sent);
});

for (const qos of [1, 2]) {
  test(`[MQTT-4.4.0-1] [MQTT-3.1.2-24] a QoS ${qos} message as large as its client takes comes again, whatever was subscribed to meanwhile`, async (t) => {
    const root = unique('d/');
    const topic = `${root}/x`;
    const maximumPacketSize = 120;
    const publisher = await connectClient(t, broker.port);
    const options = lasting({ maximumPacketSize });
    const client = await connectClient(t, broker.port, options);
    await client.subscribe(topic, 2);
    const overhead = publishPacket(topic, '', { qos }).length;
    await publisher.publish(topic, 'x'.repeat(maximumPacketSize - overhead), { qos });
    const message = await client.message();
    assert.equal(message.bytes.length, maximumPacketSize);
    await client.subscribe(`${root}/+`, 2, { subscriptionIds: [300] });

    await comesAgain(t, client, options, [message]);
  });
}

test('[MQTT-4.4.0-1] [MQTT-3.1.2-24] [MQTT-3.1.2-25] what has become too large for its client is over', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = lasting();
  const client = await connectClient(t, broker.port, options);
  await client.subscribe(topic, 1, { subscriptionIds: [300] });
  const size = publishPacket(topic, 'x', { qos: 1, properties: { subscriptionIds: [300] } }).length;
  for (const payload of ['xx', 'x']) await publisher.publish(topic, payload, { qos: 1 });
  await client.message();
  const small = await client.message();
  assert.equal(small.bytes.length, size);
  client.drop();
  await client.hungUp();
  const properties = { sessionExpiry: 600, maximumPacketSize: size };

  const second = await connectClient(t, broker.port, { ...options, properties });

  const again = await second.receive();
  assert.deepEqual(shown(again), shown(small));
  await second.idle();
});
