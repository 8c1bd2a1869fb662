/** Eclipse Paho, the one for browsers (over WebSocket) and the one for Python. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { type BrokerProcess, startBroker } from '../harness/broker-process.ts';
import { createAuthority } from '../harness/certificates.ts';
import { until } from '../harness/echo-listener.ts';
import { unique } from '../harness/index.ts';
import { runProgram } from '../harness/program.ts';
import { findPahoPython, needs } from '../harness/tool.ts';

/** The parts of the browser client that are used here. */
interface PahoMessage {
  destinationName: string;
  qos: number;
  retained: boolean;
  readonly payloadString: string;
  readonly payloadBytes: Uint8Array;
}

interface PahoClient {
  onMessageArrived: (message: PahoMessage) => void;
  onConnectionLost: (response: { readonly errorCode: number }) => void;
  onMessageDelivered: (message: PahoMessage) => void;
  connect(options: object): void;
  subscribe(filter: string, options: object): void;
  unsubscribe(filter: string, options: object): void;
  send(message: PahoMessage): void;
  disconnect(): void;
  isConnected(): boolean;
}

interface Paho {
  readonly Client: new (url: string, clientId: string) => PahoClient;
  readonly Message: new (payload: string | Uint8Array) => PahoMessage;
}

let paho: Paho;
let broker: BrokerProcess;
const cleanUps: (() => void | Promise<void>)[] = [];
const scope = { after: (cleanUp: () => void | Promise<void>) => void cleanUps.unshift(cleanUp) };

before(async () => {
  // It looks for what a browser has when it is loaded, and lists the storage by its keys.
  const storage = Object.create({
    setItem(this: Record<string, string>, key: string, value: string) {
      this[key] = value;
    },
    getItem(this: Record<string, string>, key: string) {
      return this[key] ?? null;
    },
    removeItem(this: Record<string, string>, key: string) {
      delete this[key];
    },
  }) as object;
  for (const name of ['setItem', 'getItem', 'removeItem']) {
    Object.defineProperty(Object.getPrototypeOf(storage), name, { enumerable: false });
  }
  const browser = { WebSocket, localStorage: storage };
  for (const [name, value] of Object.entries(browser)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  paho = createRequire(import.meta.url)('paho-mqtt') as Paho;
  broker = await startBroker(scope, { listen: ['ws://127.0.0.1:0', 'mqtt://127.0.0.1:0'] });
});
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

interface Browser {
  readonly client: PahoClient;
  readonly heard: PahoMessage[];
  readonly delivered: string[];
  take(count: number): Promise<PahoMessage[]>;
  subscribe(filter: string, qos: number): Promise<number>;
  publish(topic: string, payload: string | Uint8Array, qos?: number, retained?: boolean): void;
}

async function open(t: TestContext, mqttVersion: 3 | 4, options: object = {}): Promise<Browser> {
  const { clientId = unique(), ...rest } = options as { clientId?: string };
  const client = new paho.Client(broker.urls[0]!, clientId);
  const heard: PahoMessage[] = [];
  const delivered: string[] = [];
  client.onMessageArrived = (message) => void heard.push(message);
  client.onMessageDelivered = (message) => void delivered.push(message.payloadString);
  t.after(() => {
    if (client.isConnected()) client.disconnect();
  });
  await new Promise((resolve, reject) => {
    const onFailure = (failure: unknown): void => reject(new Error(JSON.stringify(failure)));
    client.connect({ mqttVersion, onSuccess: resolve, onFailure, ...rest });
  });
  return {
    client,
    heard,
    delivered,
    take: async (count) => {
      await until(() => heard.length >= count, `${count} messages`);
      return heard.splice(0, count);
    },
    subscribe: (filter, qos) =>
      new Promise((resolve, reject) => {
        const onSuccess = (response: { readonly grantedQos: ArrayLike<number> }): void =>
          resolve(response.grantedQos[0]!);
        client.subscribe(filter, { qos, onSuccess, onFailure: reject });
      }),
    publish: (topic, payload, qos = 0, retained = false) => {
      const message = new paho.Message(payload);
      Object.assign(message, { destinationName: topic, qos, retained });
      client.send(message);
    },
  };
}

describe('Paho for browsers', () => {
  for (const version of [3, 4] as const) {
    test(`version ${version}: messages of each quality, and retained ones`, async (t) => {
      const [alice, bob] = [await open(t, version), await open(t, version)];
      const topic = unique('t/');
      assert.equal(await bob.subscribe(`${topic}/#`, 2), 2);

      for (const qos of [0, 1, 2]) alice.publish(`${topic}/é`, `hello ${qos}`, qos);

      const texts = (await bob.take(3)).map(({ destinationName, payloadString, qos }) => [
        destinationName,
        payloadString,
        qos,
      ]);
      assert.deepEqual(
        texts,
        [0, 1, 2].map((qos) => [`${topic}/é`, `hello ${qos}`, qos]),
      );
      alice.publish(`${topic}/bytes`, Uint8Array.of(0, 128, 255), 1, true);
      assert.deepEqual([...(await bob.take(1))[0]!.payloadBytes], [0, 128, 255]);
      await until(() => alice.delivered.length >= 3, 'acknowledgements');
      const late = await open(t, version);
      await late.subscribe(`${topic}/bytes`, 1);
      assert.equal((await late.take(1))[0]!.retained, true);
    });

    test(`version ${version}: what came while it was away comes when it is back`, async (t) => {
      const topic = unique('t/');
      const options = { clientId: unique(), cleanSession: false };
      const first = await open(t, version, options);
      await first.subscribe(topic, 1);
      first.client.disconnect();
      const sender = await open(t, version);
      for (let i = 0; i < 20; i++) sender.publish(topic, String(i), 1);
      await until(() => sender.delivered.length === 20, 'acknowledgements');

      const second = await open(t, version, options);

      const came = await second.take(20);
      assert.deepEqual(
        came.map(({ payloadString }) => Number(payloadString)),
        Array.from({ length: 20 }, (_, i) => i),
      );
    });
  }

  test('the will of a page that is closed', async (t) => {
    const topic = unique('will/');
    const witness = await open(t, 4);
    await witness.subscribe(topic, 1);
    const willMessage = new paho.Message('gone');
    Object.assign(willMessage, { destinationName: topic, qos: 1, retained: false });
    const sockets: WebSocket[] = [];
    const Recorded = class extends WebSocket {
      constructor(...words: ConstructorParameters<typeof WebSocket>) {
        super(...words);
        sockets.push(this);
      }
    };
    Object.assign(globalThis, { WebSocket: Recorded });
    t.after(() => void Object.assign(globalThis, { WebSocket }));
    const page = await open(t, 4, { willMessage });
    page.client.onConnectionLost = () => undefined;

    sockets[0]!.terminate();

    assert.equal((await witness.take(1))[0]!.payloadString, 'gone');
  });

  test('a thousand messages in order, and one of five megabytes', async (t) => {
    const topic = unique('t/');
    const [alice, bob] = [await open(t, 4), await open(t, 4)];
    await bob.subscribe(topic, 1);
    const large = new Uint8Array(5 * 1024 * 1024).fill(7);

    for (let i = 0; i < 1_000; i++) alice.publish(topic, String(i), 1);
    alice.publish(topic, large, 1);

    const came = await bob.take(1_001);
    const numbers = came.slice(0, 1_000).map(({ payloadString }) => Number(payloadString));
    assert.deepEqual(
      numbers,
      Array.from({ length: 1_000 }, (_, i) => i),
    );
    assert.ok(Buffer.from(came[1_000]!.payloadBytes).equals(Buffer.from(large)));
  });
});

describe('Paho for Python', () => {
  const script = join(import.meta.dirname, 'clients-paho.py');

  async function run(version: number, words: readonly string[]): Promise<object> {
    const command = [findPahoPython()!, script, String(version)];
    const result = await runProgram(words, { command });
    assert.equal(result.code, 0, result.stderr);
    return JSON.parse(result.stdout) as object;
  }

  function expected(version: number): object {
    return {
      codes: [0, 0],
      qos: [
        ['0', 0],
        ['1', 1],
        ['2', 2],
      ],
      inOrder: true,
      largeSize: 2_000_000,
      retained: [['kept', 1, true]],
      presentAtFirst: false,
      presentLater: version > 3, // 3.1 has no such flag
      missed: Array.from({ length: 20 }, (_, i) => String(i)),
      will: [['gone', 1]],
      ...(version === 5 && {
        properties: [
          [
            ['colour', 'red'],
            ['colour', 'blue'],
          ],
          'answers',
          [0, 1],
        ],
      }),
    };
  }

  for (const version of [3, 4, 5]) {
    for (const [transport, index] of [
      ['tcp', 1],
      ['websockets', 0],
    ] as const) {
      test(`version ${version} over ${transport}`, needs('python3-paho'), async () => {
        const { port } = new URL(broker.urls[index]!);

        assert.deepEqual(await run(version, [transport, port]), expected(version));
      });
    }
  }

  test('over TLS', needs('python3-paho', 'openssl'), async (t) => {
    const authority = createAuthority(t);
    const { certificateFile, keyFile } = authority.issue('localhost');
    const own = await startBroker(t, {
      listen: ['mqtts://127.0.0.1:0', 'wss://127.0.0.1:0'],
      args: ['--tls-cert', certificateFile, '--tls-key', keyFile],
    });
    for (const [index, transport] of ['tcp', 'websockets'].entries()) {
      const { port } = new URL(own.urls[index]!);
      const words = [transport, port, authority.certificateFile];

      assert.deepEqual(await run(5, words), expected(5));
    }
  });
});
