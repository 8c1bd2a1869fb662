/**
 * MQTT.js, the most used client of Node and browsers: every version over every kind of door.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext } from 'node:test';
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { type BrokerProcess, startBroker } from '../harness/broker-process.ts';
import { type CertificateAuthority, createAuthority } from '../harness/certificates.ts';
import { until } from '../harness/echo-listener.ts';
import { unique } from '../harness/index.ts';
import { needs } from '../harness/tool.ts';

const TOOLS = needs('openssl');
const SCHEMES = ['mqtt', 'mqtts', 'ws', 'wss'] as const;
const VERSIONS = [3, 4, 5] as const;
type Version = (typeof VERSIONS)[number];

let broker: BrokerProcess;
let authority: CertificateAuthority;
const cleanUps: (() => void | Promise<void>)[] = [];
const scope = { after: (cleanUp: () => void | Promise<void>) => void cleanUps.unshift(cleanUp) };

before(async () => {
  if (TOOLS.skip !== undefined) return;
  authority = createAuthority(scope);
  const { certificateFile, keyFile } = authority.issue('localhost');
  broker = await startBroker(scope, {
    listen: SCHEMES.map((scheme) => `${scheme}://127.0.0.1:0`),
    args: ['--tls-cert', certificateFile, '--tls-key', keyFile],
  });
});
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

interface Heard {
  readonly topic: string;
  readonly payload: Buffer;
  readonly packet: IPublishPacket;
}

interface Client {
  readonly mqtt: MqttClient;
  readonly heard: Heard[];
  /** The next messages, in order. */
  take(count: number): Promise<Heard[]>;
}

function urlOf(scheme: (typeof SCHEMES)[number]): string {
  return broker.urls[SCHEMES.indexOf(scheme)]!;
}

async function connect(
  t: TestContext,
  version: Version,
  options: IClientOptions & { readonly url?: string } = {},
): Promise<Client> {
  const { url = urlOf('mqtt'), ...rest } = options;
  const client = mqtt.connect(url, {
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    clientId: unique(),
    reconnectPeriod: 0,
    ca: authority.certificate,
    ...rest,
  });
  t.after(() => void client.end(true));
  const heard: Heard[] = [];
  client.on('message', (topic, payload, packet) => void heard.push({ topic, payload, packet }));
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve());
    client.once('error', reject);
    client.once('close', () => reject(new Error('closed')));
  });
  client.on('error', () => undefined);
  return {
    mqtt: client,
    heard,
    take: async (count) => {
      await until(() => heard.length >= count, `${count} messages`);
      return heard.splice(0, count);
    },
  };
}

for (const scheme of SCHEMES) {
  for (const version of VERSIONS) {
    test(
      `${scheme}, version ${version}: messages of each quality, and retained ones`,
      TOOLS,
      async (t) => {
        const url = urlOf(scheme);
        const [alice, bob] = [
          await connect(t, version, { url }),
          await connect(t, version, { url }),
        ];
        const topic = unique('t/');
        await bob.mqtt.subscribeAsync(`${topic}/#`, { qos: 2 });

        for (const qos of [0, 1, 2] as const) {
          await alice.mqtt.publishAsync(`${topic}/${qos}`, Buffer.of(0, 255, qos), { qos });
        }

        for (const [qos, { topic: name, payload, packet }] of (await bob.take(3)).entries()) {
          assert.equal(name, `${topic}/${qos}`);
          assert.deepEqual([...payload], [0, 255, qos]);
          assert.equal(packet.qos, qos);
          assert.equal(packet.retain, false);
        }
        await alice.mqtt.publishAsync(`${topic}/kept`, 'kept', { qos: 1, retain: true });
        assert.equal((await bob.take(1))[0]!.packet.retain, false);
        const late = await connect(t, version, { url });
        await late.mqtt.subscribeAsync(`${topic}/kept`);
        const [kept] = await late.take(1);
        assert.equal(kept!.packet.retain, true);
        assert.equal(kept!.payload.toString(), 'kept');
        await bob.mqtt.unsubscribeAsync(`${topic}/#`);
        for (const client of [alice, bob, late]) await client.mqtt.endAsync();
      },
    );
  }

  test(
    `${scheme}: five megabytes and a thousand messages arrive whole and in order`,
    TOOLS,
    async (t) => {
      const url = urlOf(scheme);
      const topic = unique('t/');
      const [alice, bob] = [await connect(t, 5, { url }), await connect(t, 4, { url })];
      await bob.mqtt.subscribeAsync(topic, { qos: 1 });
      const large = Buffer.alloc(5 * 1024 * 1024, 'large payload ');

      await alice.mqtt.publishAsync(topic, large, { qos: 1 });
      const [came] = await bob.take(1);
      assert.ok(came!.payload.equals(large));

      const sent = Array.from({ length: 1_000 }, (_, i) =>
        alice.mqtt.publishAsync(topic, String(i), { qos: 1 }),
      );
      const many = await bob.take(1_000);
      await Promise.all(sent);
      assert.deepEqual(
        many.map(({ payload }) => Number(payload.toString())),
        Array.from({ length: 1_000 }, (_, i) => i),
      );
    },
  );

  test(`${scheme}: the will of a client whose connection breaks`, TOOLS, async (t) => {
    const topic = unique('will/');
    const witness = await connect(t, 5);
    await witness.mqtt.subscribeAsync(topic, { qos: 1 });
    for (const version of VERSIONS) {
      const will = { topic, payload: Buffer.from(`v${version}`), qos: 1 as const, retain: false };
      const client = await connect(t, version, { url: urlOf(scheme), will });

      client.mqtt.stream.destroy();

      const [message] = await witness.take(1);
      assert.equal(message!.payload.toString(), `v${version}`);
    }
  });
}

describe('sessions', () => {
  for (const version of VERSIONS) {
    test(
      `version ${version}: what came while it was away comes when it is back, each once`,
      TOOLS,
      async (t) => {
        const topic = unique('t/');
        const options: IClientOptions = {
          clientId: unique(),
          clean: false,
          ...(version === 5 && { properties: { sessionExpiryInterval: 3600 } }),
        };
        const first = await connect(t, version, options);
        await first.mqtt.subscribeAsync(topic, { qos: 2 });
        await first.mqtt.endAsync();
        const sender = await connect(t, 4);
        for (let i = 0; i < 50; i++) {
          await sender.mqtt.publishAsync(topic, String(i), { qos: i % 2 === 0 ? 1 : 2 });
        }

        const second = await connect(t, version, options);

        const came = await second.take(50);
        const numbers = came.map(({ payload }) => Number(payload.toString()));
        assert.deepEqual(
          numbers.sort((a, b) => a - b),
          Array.from({ length: 50 }, (_, i) => i),
        );
        await second.mqtt.publishAsync(topic, 'last', { qos: 1 });
        assert.equal((await second.take(1))[0]!.payload.toString(), 'last');
      },
    );
  }

  test(
    'a client that reconnects by itself misses nothing of QoS 1 and repeats nothing of QoS 2',
    TOOLS,
    async (t) => {
      const topic = unique('t/');
      const receiver = await connect(t, 5, {
        clean: false,
        reconnectPeriod: 20,
        properties: { sessionExpiryInterval: 3600 },
      });
      await receiver.mqtt.subscribeAsync(topic, { qos: 2 });
      const sender = await connect(t, 5);

      for (let i = 0; i < 200; i++) {
        if (i % 50 === 25) receiver.mqtt.stream.destroy();
        await sender.mqtt.publishAsync(topic, String(i), { qos: i % 2 === 0 ? 2 : 1 });
      }

      const numbers = (): number[] =>
        receiver.heard.map(({ payload }) => Number(payload.toString()));
      await until(() => new Set(numbers()).size === 200, 'all messages');
      const twice = numbers().filter((number, index, all) => all.indexOf(number) < index);
      assert.deepEqual(
        twice.filter((number) => number % 2 === 0),
        [],
      );
    },
  );

  test('what was acknowledged to the sender survives a broker that is killed', TOOLS, async (t) => {
    const own = await startBroker(t, { listen: ['mqtt://127.0.0.1:0'] });
    const topic = unique('t/');
    const keep = { clean: false, properties: { sessionExpiryInterval: 3600 } };
    const receiver = await connect(t, 5, { ...keep, url: own.url, clientId: 'receiver' });
    await receiver.mqtt.subscribeAsync(topic, { qos: 1 });
    await receiver.mqtt.endAsync();
    const sender = await connect(t, 5, { url: own.url });
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => sender.mqtt.publishAsync(topic, String(i), { qos: 1 })),
    );

    await own.kill();
    await own.restart();

    const again = await connect(t, 5, { ...keep, url: own.url, clientId: 'receiver' });
    const came = await again.take(100);
    assert.deepEqual(
      came.map(({ payload }) => Number(payload.toString())),
      Array.from({ length: 100 }, (_, i) => i),
    );
  });
});

describe('5.0', () => {
  test('properties come through as they were', TOOLS, async (t) => {
    const topic = unique('t/');
    const [alice, bob] = [await connect(t, 5), await connect(t, 5)];
    await bob.mqtt.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 300 } });
    const properties = {
      payloadFormatIndicator: true,
      contentType: 'text/plain',
      responseTopic: 'answers/é',
      correlationData: Buffer.of(0, 1, 255),
      userProperties: { one: '1', two: ['2', 'zwei'] },
    };

    await alice.mqtt.publishAsync(topic, 'x', { qos: 1, properties });

    const [message] = await bob.take(1);
    const came = message!.packet.properties!;
    const userProperties = { ...came.userProperties }; // theirs has no prototype
    assert.deepEqual({ ...came, userProperties }, { ...properties, subscriptionIdentifier: 300 });
  });

  test('request and response', TOOLS, async (t) => {
    const [asker, answerer] = [await connect(t, 5), await connect(t, 5)];
    const topic = unique('ask/');
    const responseTopic = unique('answer/');
    await asker.mqtt.subscribeAsync(responseTopic);
    await answerer.mqtt.subscribeAsync(topic);
    answerer.mqtt.on('message', (_topic, payload, { properties }) => {
      const { responseTopic: to, correlationData } = properties!;
      answerer.mqtt.publish(to!, `${payload.toString()}!`, {
        properties: { correlationData: correlationData! },
      });
    });

    const correlationData = Buffer.from('42');
    await asker.mqtt.publishAsync(topic, 'hello', {
      properties: { responseTopic, correlationData },
    });

    const [answer] = await asker.take(1);
    assert.equal(answer!.payload.toString(), 'hello!');
    assert.ok(Buffer.from(answer!.packet.properties!.correlationData!).equals(correlationData));
  });

  test('shared subscriptions: each message to one member', TOOLS, async (t) => {
    const topic = unique('work/');
    const members = [await connect(t, 5), await connect(t, 5), await connect(t, 4)];
    for (const { mqtt: one } of members) {
      await one.subscribeAsync(`$share/g/${topic}/#`, { qos: 1 });
    }
    const sender = await connect(t, 5);

    for (let i = 0; i < 60; i++) await sender.mqtt.publishAsync(`${topic}/${i}`, 'x', { qos: 1 });

    const count = (): number => members.reduce((sum, { heard }) => sum + heard.length, 0);
    await until(() => count() >= 60, 'all messages');
    const topics = members.flatMap(({ heard }) => heard.map(({ topic: name }) => name));
    assert.equal(new Set(topics).size, 60);
    assert.equal(topics.length, 60);
    for (const { heard } of members) assert.ok(heard.length > 0, 'everybody has some');
  });

  test('topic aliases, given by the client and taken by it', TOOLS, async (t) => {
    const base = unique('t/');
    const sender = await connect(t, 5, { autoUseTopicAlias: true, autoAssignTopicAlias: true });
    const receiver = await connect(t, 5, { properties: { topicAliasMaximum: 3 } });
    await receiver.mqtt.subscribeAsync(`${base}/#`, { qos: 1 });
    const sent = Array.from({ length: 40 }, (_, i) => `${base}/${i % 5}`);

    for (const topic of sent) await sender.mqtt.publishAsync(topic, 'x', { qos: 1 });

    const came = await receiver.take(40);
    assert.deepEqual(
      came.map(({ topic }) => topic),
      sent,
    );
    assert.ok(came.some(({ packet }) => packet.properties?.topicAlias !== undefined));
  });

  test('what the broker says in CONNACK is understood', TOOLS, async (t) => {
    const client = mqtt.connect(urlOf('mqtt'), {
      protocolVersion: 5,
      clientId: '',
      reconnectPeriod: 0,
    });
    t.after(() => void client.end(true));
    const connack = await new Promise<mqtt.IConnackPacket>((resolve, reject) => {
      client.once('connect', resolve);
      client.once('error', reject);
    });

    assert.equal(connack.reasonCode, 0);
    assert.match(connack.properties!.assignedClientIdentifier!, /^auto-/);
    assert.ok(connack.properties!.receiveMaximum! > 0);
    assert.ok(connack.properties!.topicAliasMaximum! > 0);
  });

  test('a client taken over is told so', TOOLS, async (t) => {
    const clientId = unique();
    const first = await connect(t, 5, { clientId });
    const told = new Promise<number>((resolve) => {
      first.mqtt.once('disconnect', ({ reasonCode }) => resolve(reasonCode!));
    });

    await connect(t, 5, { clientId });

    assert.equal(await told, 0x8e);
  });
});
