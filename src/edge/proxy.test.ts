/** The PROXY header in front of every kind of listener. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after, describe, test, type TestContext } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { WebSocket } from 'ws';
import { createAuthority } from '../../test/harness/certificates.ts';
import {
  type EchoListener,
  type EchoOptions,
  openEcho,
  until,
} from '../../test/harness/echo-listener.ts';

const authority = createAuthority({ after });
const server = authority.issue('localhost');
const URLS = [
  'mqtt://127.0.0.1:0',
  'mqtts://127.0.0.1:0',
  'ws://127.0.0.1:0/mqtt',
  'wss://127.0.0.1:0/mqtt',
];
const VERSION_1 = Buffer.from('PROXY TCP4 203.0.113.7 192.0.2.1 40001 1883\r\n');
const HEADERS: [string, Buffer][] = [
  ['version 1', VERSION_1],
  ['version 2', version2([203, 0, 113, 7], 40_001)],
];

for (const url of URLS) {
  describe(`PROXY before ${url}`, () => {
    for (const [name, header] of HEADERS) {
      test(`${name}: the broker is told the address the proxy tells`, async (t) => {
        const echo = await openProxied(t, url);
        const client = await dial(t, echo, header);

        assert.equal(await client.ask('hello'), 'hello');

        const peer = echo.guests[0]?.transport.peer;
        assert.partialDeepStrictEqual(peer, { address: '203.0.113.7', port: 40_001 });
        client.socket.destroy();
        await until(() => echo.guests[0]?.closedCount === 1, 'closed');
        assert.equal(echo.sockets.count, 0);
      });
    }

    test('a peer without a header is closed and counted', async (t) => {
      const echo = await openProxied(t, url);
      const client = dialRaw(t, echo);
      client.write('GET /mqtt HTTP/1.1\r\n\r\n');

      await closed(client);

      assert.equal(echo.count('refused proxyHeader'), 1);
      await until(() => echo.sockets.count === 0, 'its place is free again');
    });

    test('a peer that never finishes its header is closed', async (t) => {
      const echo = await openProxied(t, url, { handshakeMs: 50 });
      const client = dialRaw(t, echo);
      client.write('PROXY TCP4 ');

      await closed(client);

      assert.equal(echo.count('refused proxyTimeout'), 1);
    });

    if (url.startsWith('mqtt:')) return;
    test('the deadline counts on behind the header', async (t) => {
      const echo = await openProxied(t, url, { handshakeMs: 50 });
      const client = dialRaw(t, echo);
      client.write(VERSION_1);

      await closed(client);

      const reason = url.startsWith('ws:') ? 'httpTimeout' : 'tlsTimeout';
      assert.equal(echo.count(`refused ${reason}`), 1);
    });
  });
}

describe('PROXY header', () => {
  for (const url of ['mqtt://127.0.0.1:0', 'ws://127.0.0.1:0/mqtt']) {
    test(`may come in one piece with what follows, or byte by byte: ${url}`, async (t) => {
      const echo = await openProxied(t, url);
      const framed = Buffer.from([0x82, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
      const follows = url.startsWith('ws')
        ? Buffer.concat([Buffer.from(UPGRADE), framed])
        : Buffer.from('hi');
      dialRaw(t, echo).write(Buffer.concat([VERSION_1, follows]));
      const slow = dialRaw(t, echo);
      for (const byte of VERSION_1) {
        slow.write(Buffer.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      for (const byte of follows) slow.write(Buffer.of(byte));

      await until(
        () => echo.guests.length === 2 && echo.guests.every((guest) => guest.received === 'hi'),
        'both messages',
      );
    });
  }

  test('may come in one piece with the start of a TLS handshake', async (t) => {
    const echo = await openProxied(t, 'mqtts://127.0.0.1:0');
    const proxy = createServer((near) => {
      const far = dialRaw(t, echo);
      near.on('error', () => {});
      near.once('data', (hello) => {
        far.write(Buffer.concat([VERSION_1, hello]));
        near.pipe(far).pipe(near);
      });
    }).listen(0, '127.0.0.1');
    t.after(() => proxy.close());
    await once(proxy, 'listening');
    const { port } = proxy.address() as { port: number };
    const client = secure(t, connect(port, '127.0.0.1'));
    client.write('hello');

    assert.equal(String((await once(client, 'data'))[0]), 'hello');
  });

  test('without an address leaves the address of the socket', async (t) => {
    for (const header of [Buffer.from('PROXY UNKNOWN\r\n'), version2Local()]) {
      const echo = await openProxied(t, 'mqtt://127.0.0.1:0');
      const client = await dial(t, echo, header);
      await client.ask('hello');

      const peer = echo.guests[0]?.transport.peer;
      assert.partialDeepStrictEqual(peer, {
        address: '127.0.0.1',
        port: client.socket.localPort,
      });
    }
  });

  test('tells the server name where the client tells us none', async (t) => {
    const header = version2([203, 0, 113, 7], 40_001, 'Tenant-1.example');
    const plain = await openProxied(t, 'mqtt://127.0.0.1:0');
    await (await dial(t, plain, header)).ask('hello');
    const encrypted = await openProxied(t, 'mqtts://127.0.0.1:0');
    await (await dial(t, encrypted, header)).ask('hello');

    assert.equal(plain.guests[0]?.transport.peer.serverName, 'tenant-1.example');
    assert.equal(encrypted.guests[0]?.transport.peer.serverName, 'localhost');
  });

  test('is not looked for where none is expected', async (t) => {
    const echo = await openEcho(t);
    const client = await dial(t, echo, VERSION_1);

    await client.ask('hello');

    assert.equal(echo.guests[0]?.transport.peer.address, '127.0.0.1');
    assert.ok(echo.guests[0]?.received.startsWith('PROXY'));
  });
});

const UPGRADE =
  'GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
  'Sec-WebSocket-Protocol: mqtt\r\n\r\n';

interface Client {
  readonly socket: Socket;
  ask(text: string): Promise<string>;
}

function openProxied(
  t: TestContext,
  url: string,
  options: EchoOptions = {},
): Promise<EchoListener> {
  const tls = { ...server, clientCertificates: 'off' } as const;
  return openEcho(t, { url, tls, proxyProtocol: true, ...options });
}

function dialRaw(t: TestContext, echo: EchoListener): Socket {
  const socket = connect(echo.port, '127.0.0.1');
  socket.on('error', () => {});
  t.after(() => void socket.destroy());
  return socket;
}

/** Sends `header`, then speaks whatever the listener does. */
async function dial(t: TestContext, echo: EchoListener, header: Buffer): Promise<Client> {
  const socket = dialRaw(t, echo);
  await once(socket, 'connect');
  socket.write(header);
  const encrypted = echo.url.startsWith('mqtts') || echo.url.startsWith('wss');
  const stream = encrypted ? secure(t, socket) : socket;
  if (!echo.url.startsWith('ws')) {
    return {
      socket,
      ask: async (text) => {
        stream.write(text);
        return String((await once(stream, 'data'))[0]);
      },
    };
  }
  const client = new WebSocket('ws://localhost/mqtt', 'mqtt', { createConnection: () => stream });
  t.after(() => client.terminate());
  client.on('error', () => {});
  await once(client, 'open');
  return {
    socket,
    ask: async (text) => {
      client.send(Buffer.from(text));
      return String((await once(client, 'message'))[0]);
    },
  };
}

function secure(t: TestContext, socket: Socket): Socket {
  const client = connectTls({ socket, servername: 'localhost', ca: authority.certificate });
  client.on('error', () => {});
  t.after(() => void client.destroy());
  return client;
}

function closed(client: Socket): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()));
}

function version2(address: number[], port: number, authorityName = ''): Buffer {
  const name = Buffer.from(authorityName);
  const tlv = name.length === 0 ? name : Buffer.concat([Buffer.of(2, 0, name.length), name]);
  const body = Buffer.concat([
    Buffer.from([...address, 192, 0, 2, 1, port >> 8, port & 0xff, 0x07, 0x5b]),
    tlv,
  ]);
  const head = Buffer.from('0d0a0d0a000d0a515549540a21110000', 'hex');
  head.writeUInt16BE(body.length, 14);
  return Buffer.concat([head, body]);
}

function version2Local(): Buffer {
  return Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');
}
