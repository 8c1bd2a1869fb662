/** WebSocket through a real listener: frames, and the upgrades that are refused. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { after, describe, test, type TestContext } from 'node:test';
import { type ClientOptions, WebSocket } from 'ws';
import { createAuthority } from '../../test/harness/certificates.ts';
import {
  type EchoListener,
  type EchoOptions,
  openEcho,
  until,
} from '../../test/harness/echo-listener.ts';

const MEGABYTE = Buffer.alloc(1024 * 1024, 7);
/** What a paused connection may read ahead, and a read or two. */
const READ_BYTES_MAX = 512 * 1024;
const authority = createAuthority({ after });
const server = authority.issue('localhost');

describe('WebSocket', () => {
  for (const scheme of ['ws', 'wss'] as const) {
    test(`${scheme}: [MQTT-6.0.0-3] frames there and back under mqtt`, async (t) => {
      const echo = await openWebSocket(t, { url: `${scheme}://127.0.0.1:0/mqtt` });
      const client = dial(t, echo, { headers: { host: 'Tenant-1.example:99' } });
      await once(client, 'open');

      assert.equal(client.protocol, 'mqtt');
      assert.equal(String(await ask(client, 'hello')), 'hello');
      assert.partialDeepStrictEqual(echo.guests[0]?.transport.peer, {
        transport: scheme,
        address: '127.0.0.1',
        listener: `${scheme}://127.0.0.1:0/mqtt`,
        serverName: scheme === 'ws' ? 'tenant-1.example' : 'localhost',
      });
      client.close();
      await once(client, 'close');
      await until(() => echo.guests[0]?.closedCount === 1, 'closed');
      assert.equal(echo.sockets.count, 0);
    });

    test(`${scheme}: many pieces, a stalled reader, and a clean end`, async (t) => {
      const pieces = Array.from({ length: 12 }, () => MEGABYTE);
      const echo = await openWebSocket(t, {
        url: `${scheme}://127.0.0.1:0/mqtt`,
        onData: ({ transport }) => transport.send(pieces, pieces.length),
      });
      const client = dial(t, echo);
      await once(client, 'open');
      client.pause();
      client.send(Buffer.from('go'));
      await until(() => echo.guests[0]?.chunkCount === 1, 'the broker has answered');
      const guest = echo.guests[0]!;

      assert.ok(guest.transport.bufferedBytes > 0);
      assert.equal(guest.drainedCount, 0);
      const message = once(client, 'message');
      client.resume();
      const [payload] = await message;
      await until(() => guest.drainedCount > 0, 'drained');
      guest.transport.end();
      const [code] = await once(client, 'close');

      assert.ok((payload as Buffer).equals(Buffer.concat(pieces)));
      assert.equal(code, 1000);
      await until(() => guest.closedCount === 1, 'closed');
    });
  }

  test('a flush is one frame, whatever its size', async (t) => {
    const sizes = [1, 125, 126, 65_535, 65_536, 200_000];
    const echo = await openWebSocket(t, {
      onData: ({ transport }) => {
        for (const size of sizes) {
          const half = size >> 1;
          transport.send([MEGABYTE.subarray(0, half), MEGABYTE.subarray(0, size - half)], 2);
        }
      },
    });
    const client = dial(t, echo);
    const got: number[] = [];
    client.on('message', (payload, binary) => got.push(binary ? (payload as Buffer).length : -1));
    await once(client, 'open');
    client.send(Buffer.from('go'));

    await until(() => got.length === sizes.length, 'all frames');

    assert.deepEqual(got, sizes);
  });

  test('[MQTT-6.0.0-2] packets may share a frame and span frames', async (t) => {
    const echo = await openWebSocket(t);
    const client = dial(t, echo);
    await once(client, 'open');
    client.send(Buffer.from('two packets, '));
    client.send(Buffer.from('a pa'), { fin: false });
    client.send(Buffer.from('cket'));

    await until(() => echo.guests[0]?.received === 'two packets, a packet', 'all bytes');
  });

  test('[MQTT-6.0.0-1] a text frame closes the connection', async (t) => {
    const echo = await openWebSocket(t);
    const client = dial(t, echo);
    await once(client, 'open');

    client.send('text');

    const [code] = await once(client, 'close');
    assert.equal(code, 1003);
    assert.equal(echo.guests[0]?.received, '');
    assert.equal(echo.count('badFrame'), 1);
  });

  test('a frame is passed on as it comes, whatever size it announces', async (t) => {
    const echo = await openWebSocket(t);
    const client = raw(t, echo);
    client.write(upgradeRequest());
    // A petabyte, of which three bytes have come.
    client.write(hex('82ff 0004000000000000 01020304 696b'));

    await until(() => echo.guests[0]?.received === 'hi', 'its first bytes');
    client.write(hex('22'));
    await until(() => echo.guests[0]?.received === 'hi!', 'the next one');
  });

  const badFrames: [string, string, number][] = [
    ['is not masked', '8202 6869', 1002],
    ['has a reserved bit', 'c282 00000000 6869', 1002],
    ['has a reserved type', '8382 00000000 6869', 1002],
    ['goes on with nothing', '8082 00000000 6869', 1002],
    ['begins anew within a message', '0281 00000000 68 8281 00000000 69', 1002],
    ['is a fragment of a ping', '0980 00000000', 1002],
    ['is a ping of 126 bytes', '89fe 007e 00000000', 1002],
    ['is a close of one byte', '8881 00000000 03', 1002],
    ['is a close with a code nobody may send', '8882 00000000 03ed', 1002],
    ['is larger than a number', '82ff 0100000000000000 00000000', 1009],
  ];
  for (const [what, frame, code] of badFrames) {
    test(`a frame that ${what} closes the connection`, async (t) => {
      const echo = await openWebSocket(t);
      const client = raw(t, echo);
      const answered = collect(client);
      client.write(upgradeRequest());
      client.write(hex(frame));

      await once(client, 'end');

      const close = Buffer.of(0x88, 2, code >> 8, code & 0xff);
      assert.ok(answered().subarray(-4).equals(close), answered().toString('hex'));
      assert.equal(echo.count('badFrame'), 1);
      await until(() => echo.guests[0]?.closedCount === 1, 'closed');
    });
  }

  for (const [what, frame, answer] of [
    ['its code', '8882 00000000 0bb8', '8802 0bb8'],
    ['none where it said none', '8880 00000000', '8800'],
  ] as const) {
    test(`a close is answered with ${what}, and nothing follows`, async (t) => {
      const echo = await openWebSocket(t);
      const client = raw(t, echo);
      const answered = collect(client);
      client.write(upgradeRequest());
      client.write(hex(`${frame} 8282 00000000 6869`));

      await once(client, 'end');

      assert.ok(
        answered()
          .toString('hex')
          .endsWith(`0d0a0d0a${answer.replaceAll(' ', '')}`),
      );
      assert.equal(echo.guests[0]?.received, '');
      assert.equal(echo.count('badFrame'), 0);
    });
  }

  test('a ping is answered', async (t) => {
    const echo = await openWebSocket(t);
    const client = dial(t, echo);
    await once(client, 'open');

    client.ping('are you there');

    assert.equal(String((await once(client, 'pong'))[0]), 'are you there');
  });

  test('of the pings of a peer that does not read only the last is kept', async (t) => {
    const big = Array.from({ length: 12 }, () => MEGABYTE);
    const echo = await openWebSocket(t, {
      onData: ({ transport }) => transport.send(big, big.length),
    });
    const client = dial(t, echo);
    const pongs: string[] = [];
    client.on('pong', (payload) => pongs.push(String(payload)));
    await once(client, 'open');
    client.pause();
    client.send(Buffer.from('go'));
    await until(() => echo.guests[0]?.chunkCount === 1, 'the broker has answered');
    const { transport } = echo.guests[0]!;
    const waiting = transport.bufferedBytes;
    assert.ok(waiting > 0);

    for (let i = 0; i <= 1_000; i++) client.ping(`ping ${i}`);
    client.send(Buffer.from('all pings were read'));
    await until(() => echo.guests[0]!.chunkCount > 1, 'the pings are read');

    assert.ok(transport.bufferedBytes <= 2 * waiting + 10); // the second answer, and no pong
    client.resume();
    await until(() => pongs.length > 0, 'an answer');
    assert.deepEqual(pongs, ['ping 1000']);
  });

  test('bytes sent right behind the request are not lost', async (t) => {
    const echo = await openWebSocket(t);
    const client = raw(t, echo);
    client.write(upgradeRequest());
    client.write(Buffer.from([0x82, 0x82, 0, 0, 0, 0, 0x68, 0x69]));

    await until(() => echo.guests[0]?.received === 'hi', 'the frame');
  });

  test('a paused connection is not read until it is resumed', async (t) => {
    const echo = await openWebSocket(t, { onData: ({ transport }) => transport.pause() });
    const client = dial(t, echo);
    await once(client, 'open');
    client.send(Buffer.from('first'));
    await until(() => echo.guests[0]?.received === 'first', 'the first frame');
    const guest = echo.guests[0]!;
    for (let i = 0; i < 20; i++) client.send(MEGABYTE);
    await until(() => client.bufferedAmount > 0, 'the client is held up');

    assert.ok(guest.received.length < READ_BYTES_MAX);
    const { chunkCount } = guest;
    guest.transport.resume();
    await until(() => guest.chunkCount > chunkCount, 'more of them');
  });

  test('a paused connection that is destroyed is closed once', async (t) => {
    const echo = await openWebSocket(t, { onData: ({ transport }) => transport.pause() });
    const client = dial(t, echo);
    await once(client, 'open');
    client.send(MEGABYTE);
    await until(() => (echo.guests[0]?.chunkCount ?? 0) > 0, 'the first frame');

    echo.guests[0]?.transport.destroy();

    await until(() => echo.guests[0]?.closedCount === 1, 'closed');
    assert.equal(echo.sockets.count, 0);
  });

  test('what came before the peer broke off still arrives, then closed', async (t) => {
    const echo = await openWebSocket(t);
    const client = raw(t, echo);
    client.write(upgradeRequest());
    await once(client, 'data');
    client.end(Buffer.from([0x82, 0x82, 0, 0, 0, 0, 0x68, 0x69]));

    await until(() => echo.guests[0]?.closedCount === 1, 'closed');
    assert.equal(echo.guests[0]?.received, 'hi');
  });

  test('a bug of the broker costs the connection that met it', async (t) => {
    const echo = await openWebSocket(t, {
      onData: () => {
        throw new Error('a bug');
      },
    });
    const client = dial(t, echo);
    await once(client, 'open');

    client.send(Buffer.from('x'));

    await once(client, 'close');
    assert.equal(echo.count('bug'), 1);
  });

  test('a peer that ignores the close frame is destroyed in the end', async (t) => {
    const echo = await openWebSocket(t, {
      lingerMs: 50,
      onData: ({ transport }) => transport.end(),
    });
    const client = raw(t, echo);
    client.write(upgradeRequest());
    client.write(Buffer.from([0x82, 0x82, 0, 0, 0, 0, 0x68, 0x69]));

    await until(() => echo.guests[0]?.closedCount === 1, 'closed');
  });
});

describe('WebSocket upgrade', () => {
  const refusals: [string, string, RegExp][] = [
    ['no subprotocol', upgradeRequest({ protocol: '' }), /^HTTP\/1.1 400 .*\bmqtt\b/s],
    ['another subprotocol', upgradeRequest({ protocol: 'chat' }), /^HTTP\/1.1 400 .*\bmqtt\b/s],
    ['another path', upgradeRequest({ path: '/other' }), /^HTTP\/1.1 404 /],
    ['no key', upgradeRequest({ key: '' }), /^HTTP\/1.1 400 .*text\/plain/s],
    ['a bad key', upgradeRequest({ key: 'abc' }), /^HTTP\/1.1 400 .*text\/plain/s],
    ['an old version', upgradeRequest().replace('13', '8'), /^HTTP\/1.1 400 .*text\/plain/s],
    ['another method', upgradeRequest().replace('GET', 'PUT'), /^HTTP\/1.1 400 .*text\/plain/s],
    ['no HTTP at all', '\x10\x0c\x00\x04MQTT\r\n\r\n', /^HTTP\/1.1 400 .*text\/plain/s],
    ['a header too large', upgradeRequest({ extra: 'a'.repeat(9_000) }), /^HTTP\/1.1 431 /],
  ];
  for (const [what, text, answer] of refusals) {
    test(`is refused for ${what}`, async (t) => {
      const echo = await openWebSocket(t);
      const client = raw(t, echo);
      let answered = '';
      client.on('data', (chunk) => {
        answered += String(chunk);
      });

      client.write(text);

      await once(client, 'end');
      assert.match(answered, answer);
      assert.equal(echo.count('refused httpRequest'), 1);
      assert.equal(echo.guests.length, 0);
      client.destroy();
      await until(() => echo.sockets.count === 0, 'its place is free again');
    });
  }

  for (const [path, status] of [
    ['/mqtt', 426],
    ['/', 404],
  ] as const) {
    test(`an ordinary request for ${path} is answered ${status}`, async (t) => {
      const echo = await openWebSocket(t);
      const asked = request({ port: echo.port, host: '127.0.0.1', path }).end();

      const [response] = await once(asked, 'response');

      assert.equal(response.statusCode, status);
      response.resume();
      await once(response, 'end');
      await until(() => echo.sockets.count === 0, 'its place is free again');
      assert.equal(echo.count('refused httpRequest'), 1);
    });
  }

  test('mqttv3.1 is taken as well, mqtt before it', async (t) => {
    const echo = await openWebSocket(t);
    const old = dial(t, echo, {}, ['mqttv3.1']);
    await once(old, 'open');
    const both = dial(t, echo, {}, ['mqttv3.1', 'mqtt']);
    await once(both, 'open');

    assert.equal(old.protocol, 'mqttv3.1');
    assert.equal(both.protocol, 'mqtt');
  });

  test('a peer that never finishes its request is closed', async (t) => {
    const echo = await openWebSocket(t, { handshakeMs: 50 });
    const client = raw(t, echo);
    client.write('GET /mqtt HTTP/1.1\r\nHost: x\r\n');

    await once(client, 'close');

    assert.equal(echo.count('refused httpTimeout'), 1);
    await until(() => echo.sockets.count === 0, 'its place is free again');
  });

  test('a refused peer that does not leave is closed', async (t) => {
    const echo = await openWebSocket(t, { handshakeMs: 50 });
    const client = connect({ port: echo.port, host: '127.0.0.1', allowHalfOpen: true });
    client.resume();
    t.after(() => void client.destroy());
    client.write(upgradeRequest({ path: '/other' }));

    await until(() => echo.count('refused httpRequest') === 1, 'refused');
    await until(() => echo.sockets.count === 0, 'its place is free again');
  });
});

function openWebSocket(t: TestContext, options: EchoOptions = {}): Promise<EchoListener> {
  return openEcho(t, {
    url: 'ws://127.0.0.1:0/mqtt',
    tls: { ...server, clientCertificates: 'off' },
    ...options,
  });
}

function dial(
  t: TestContext,
  echo: EchoListener,
  options: ClientOptions = {},
  protocols: string[] = ['mqtt'],
): WebSocket {
  const url = echo.url.replace('127.0.0.1', 'localhost');
  const lookup = { family: 4, ca: authority.certificate, servername: 'localhost' };
  const client = new WebSocket(url, protocols, { ...lookup, ...options });
  client.on('error', () => {});
  t.after(() => client.terminate());
  return client;
}

async function ask(client: WebSocket, text: string): Promise<unknown> {
  client.send(Buffer.from(text));
  return (await once(client, 'message'))[0];
}

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

/** All that comes, so far. */
function collect(client: Socket): () => Buffer {
  const chunks: Buffer[] = [];
  client.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks);
}

function raw(t: TestContext, echo: EchoListener): Socket {
  const client = connect(echo.port, '127.0.0.1');
  client.on('error', () => {});
  t.after(() => void client.destroy());
  return client;
}

function upgradeRequest({
  path = '/mqtt',
  protocol = 'mqtt',
  key = 'dGhlIHNhbXBsZSBub25jZQ==',
  extra = '',
} = {}): string {
  const lines = [`GET ${path} HTTP/1.1`, 'Host: x', 'Upgrade: websocket', 'Connection: Upgrade'];
  lines.push('Sec-WebSocket-Version: 13');
  if (key !== '') lines.push(`Sec-WebSocket-Key: ${key}`);
  if (protocol !== '') lines.push(`Sec-WebSocket-Protocol: ${protocol}`);
  if (extra !== '') lines.push(`X-Extra: ${extra}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}
