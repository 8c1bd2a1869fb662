/**
 * Clients behind a load balancer: a PROXY header, written by hand, in front of every kind of door.
 *
 * The broker logs the address a client came from, so the log tells whether the header was believed.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import mqtt from 'mqtt';
import { startBroker } from '../harness/broker-process.ts';
import { createAuthority } from '../harness/certificates.ts';
import { until } from '../harness/echo-listener.ts';
import { introduce, sharedBroker, unique, WireClient } from '../harness/index.ts';
import { needs } from '../harness/tool.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** Version 2: command, family and protocol, addresses. */
function header2(command: number, family: number, addresses: Uint8Array): Buffer {
  const length = Buffer.of(addresses.length >> 8, addresses.length & 0xff);
  return Buffer.concat([SIGNATURE, Buffer.of(0x20 | command, family), length, addresses]);
}

const V1_TCP4 = Buffer.from('PROXY TCP4 203.0.113.7 192.0.2.1 41000 1883\r\n');
const V1_TCP6 = Buffer.from('PROXY TCP6 2001:db8::7 2001:db8::1 41000 1883\r\n');
const V1_UNKNOWN = Buffer.from('PROXY UNKNOWN\r\n');
const PORTS = Buffer.of(0xa0, 0x28, 0x07, 0x5b);
const V2_TCP4 = header2(1, 0x11, Buffer.concat([Buffer.of(203, 0, 113, 8, 192, 0, 2, 1), PORTS]));
const V2_TCP6 = header2(
  1,
  0x21,
  Buffer.concat([
    Buffer.from('20010db8000000000000000000000009', 'hex'),
    Buffer.from('20010db8000000000000000000000001', 'hex'),
    PORTS,
  ]),
);
/** A health check of the balancer's own, with an extension nobody knows. */
const V2_LOCAL = header2(0, 0x00, Buffer.of(0xee, 0, 1, 42));

// biome-ignore format: a table reads in columns
const HEADERS: readonly (readonly [string, Buffer])[] = [
  ['v1 TCP4',    V1_TCP4],
  ['v1 TCP6',    V1_TCP6],
  ['v1 UNKNOWN', V1_UNKNOWN],
  ['v2 TCP4',    V2_TCP4],
  ['v2 TCP6',    V2_TCP6],
  ['v2 LOCAL',   V2_LOCAL],
];

const broker = sharedBroker({ memory: true, args: ['--proxy-protocol'] });

async function dial(t: TestContext, port: number): Promise<Socket> {
  const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true });
  t.after(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

describe('MQTT behind a header', () => {
  for (const [name, header] of HEADERS) {
    test(`${name}: the client is served, however the header is cut`, async (t) => {
      for (const cut of [header.length, 1, 13]) {
        const socket = await dial(t, broker.port);
        socket.write(header.subarray(0, cut));
        if (cut < header.length) {
          await new Promise((resolve) => setImmediate(resolve));
          socket.write(header.subarray(cut));
        }
        const client = await introduce(new WireClient(socket, 4));
        const topic = unique('t/');
        await client.subscribe(topic, 1);

        await client.publish(topic, 'x', { qos: 1 });

        assert.equal((await client.receive()).payload?.toString(), 'x');
        await client.disconnect();
      }
    });
  }

  test('header and CONNECT may come in one piece', async (t) => {
    const socket = await dial(t, broker.port);
    const client = new WireClient(socket, 4);
    const clientId = unique();
    const connect = client.encode({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId,
      clean: true,
      keepalive: 0,
    });

    client.sendBytes(Buffer.concat([V2_TCP4, connect, Buffer.from('c000', 'hex')]));

    await client.next('connack');
    await client.next('pingresp');
  });

  test('without a header, or with half a one, nobody is served', async (t) => {
    const without = new WireClient(await dial(t, broker.port), 4);
    without.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId: unique(),
      clean: true,
      keepalive: 0,
    });
    assert.deepEqual(await without.closed(), []);

    for (const bad of [
      'PROXY TCP4 203.0.113.7\r\n',
      'PROXY TCP4 a b c d\r\n',
      'GET / HTTP/1.1\r\n',
    ]) {
      const client = new WireClient(await dial(t, broker.port), 4);
      client.sendBytes(Buffer.from(bad));
      assert.deepEqual(await client.closed(), [], bad);
    }
  });
});

describe('a balancer in front', () => {
  /** Passes every connection on, with a header before it. */
  async function openBalancer(t: TestContext, target: number, header: Buffer): Promise<number> {
    const server = createServer((front) => {
      const back = connectTcp({ port: target, host: '127.0.0.1', noDelay: true });
      back.write(header);
      front.pipe(back).pipe(front);
      for (const socket of [front, back]) {
        socket.on('error', () => undefined);
        socket.on('close', () => {
          front.destroy();
          back.destroy();
        });
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => void server.close());
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    return address.port;
  }

  test('MQTT.js over TCP, TLS, WebSocket and secure WebSocket', needs('openssl'), async (t) => {
    const authority = createAuthority(t);
    const { certificateFile, keyFile } = authority.issue('localhost');
    const own = await startBroker(t, {
      memory: true,
      listen: ['mqtt', 'mqtts', 'ws', 'wss'].map((scheme) => `${scheme}://127.0.0.1:0`),
      args: ['--proxy-protocol', '--tls-cert', certificateFile, '--tls-key', keyFile],
    });
    for (const [index, url] of own.urls.entries()) {
      const header = index % 2 === 0 ? V1_TCP4 : V2_TCP6;
      const through = new URL(url);
      through.port = String(await openBalancer(t, Number(through.port), header));
      const client = await mqtt.connectAsync(through.href, {
        protocolVersion: 5,
        reconnectPeriod: 0,
        ca: authority.certificate,
      });
      const heard: string[] = [];
      client.on('message', (_topic, payload) => void heard.push(payload.toString()));
      await client.subscribeAsync('a', { qos: 1 });

      await client.publishAsync('a', url, { qos: 1 });

      await until(() => heard.length === 1, 'the message');
      assert.deepEqual(heard, [url]);
      await client.endAsync();
    }
  });

  test('the address in the header is the one that is logged', async (t) => {
    const own = await startBroker(t, {
      memory: true,
      args: ['--proxy-protocol', '--log-level', 'debug'],
    });
    for (const [header, address] of [
      [V1_TCP4, '203.0.113.7'],
      [V2_TCP6, '2001:db8::9'],
    ] as const) {
      const socket = await dial(t, own.port);
      socket.write(header);
      const client = await introduce(new WireClient(socket, 4));

      client.sendBytes('00 00'); // a violation

      await client.closed();
      for (const event of ['client connected', 'protocol violation']) {
        const line = new RegExp(`${event} .*address=${address} `);
        await until(() => line.test(own.output()), `${event} from ${address} in the log`);
      }
    }
  });
});
