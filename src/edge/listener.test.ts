/** Plain TCP through a real listener, and what a listener says when it cannot be opened. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { Fault } from '#base';
import { type EchoListener, openEcho, until } from '../../test/harness/echo-listener.ts';
import { parseListenerUrl } from './listener-url.ts';

const MEGABYTE = Buffer.alloc(1024 * 1024);
/** What a paused connection may read ahead, and a read or two. */
const READ_BYTES_MAX = 512 * 1024;

describe('listener', () => {
  test('what a peer sends reaches the broker, and what the broker sends the peer', async (t) => {
    const echo = await openEcho(t);
    const client = dial(t, echo);
    client.write('hello');

    const [answer] = await once(client, 'data');

    assert.equal(String(answer), 'hello');
    const peer = echo.guests[0]?.transport.peer;
    assert.partialDeepStrictEqual(peer, {
      transport: 'tcp',
      address: '127.0.0.1',
      port: client.localPort,
      listener: 'mqtt://127.0.0.1:0',
      serverName: undefined,
      certificate: undefined,
    });
  });

  test('pieces arrive whole and in order, however many', async (t) => {
    const echo = await openEcho(t, {
      onData: (guest) => {
        for (const [count, size] of [
          [2, 3],
          [16, 100],
          [17, 100],
          [300, 7],
          [40, 2_000],
        ] as const) {
          const pieces = Array.from({ length: count }, (_, i) => Buffer.alloc(size, 65 + (i % 26)));
          guest.transport.send([...pieces, Buffer.from('not this one')], count);
        }
      },
    });
    const client = dial(t, echo);
    let expected = '';
    for (const [count, size] of [
      [2, 3],
      [16, 100],
      [17, 100],
      [300, 7],
      [40, 2_000],
    ] as const) {
      for (let i = 0; i < count; i++) expected += String.fromCharCode(65 + (i % 26)).repeat(size);
    }
    let text = '';
    client.on('data', (chunk) => {
      text += String(chunk);
    });
    client.write('go');

    await until(() => text.length >= expected.length, 'all pieces');

    assert.equal(text, expected);
  });

  test('bytes a stalled reader does not take are counted, and drained once it does', async (t) => {
    const echo = await openEcho(t, {
      onData: (guest) => {
        for (let i = 0; i < 20; i++) guest.transport.send([MEGABYTE], 1);
      },
    });
    const client = dial(t, echo);
    client.pause();
    client.write('go');
    await until(() => echo.guests[0]?.chunkCount === 1, 'the broker has answered');
    const guest = echo.guests[0]!;

    assert.ok(guest.transport.bufferedBytes > MEGABYTE.length);
    assert.equal(guest.drainedCount, 0);
    client.resume();

    await until(() => guest.drainedCount === 1, 'drained');
    assert.equal(guest.transport.bufferedBytes, 0);
  });

  test('a small rest that the system does not take is drained as well', async (t) => {
    // One byte at a time after the system's buffers are full: below any high-water mark.
    const one = Buffer.alloc(1);
    const echo = await openEcho(t, {
      onData: (guest) => {
        while (guest.transport.bufferedBytes === 0) guest.transport.send([Buffer.alloc(8192)], 1);
        guest.transport.send([one, one], 2);
      },
    });
    const client = dial(t, echo);
    client.pause();
    client.write('go');
    await until(() => (echo.guests[0]?.transport.bufferedBytes ?? 0) > 0, 'bytes are left over');

    client.resume();

    await until(() => echo.guests[0]?.drainedCount === 1, 'drained');
  });

  test('nothing is reported drained when nothing had to wait', async (t) => {
    const echo = await openEcho(t, {
      onData: ({ transport }, chunk) => transport.send([chunk, chunk, chunk], 3),
    });
    const client = dial(t, echo);
    client.write('a');
    await once(client, 'data');
    client.write('b');
    await once(client, 'data');

    assert.equal(echo.guests[0]?.drainedCount, 0);
  });

  test('a paused connection is not read until it is resumed', async (t) => {
    const echo = await openEcho(t, { onData: (guest) => guest.transport.pause() });
    const client = dial(t, echo);
    let taken = 0;
    client.write('first', () => {
      for (let i = 0; i < 20; i++) client.write(MEGABYTE, () => taken++);
    });
    await until(() => echo.guests[0]?.received.startsWith('first') === true, 'the first bytes');
    const guest = echo.guests[0]!;
    await until(() => client.writableLength > 0 && guest.chunkCount > 0, 'the client is held up');

    assert.ok(guest.received.length < READ_BYTES_MAX);
    assert.ok(taken < 20);
    while (taken < 20) {
      const before = guest.chunkCount;
      guest.transport.resume();
      await until(() => guest.chunkCount > before || taken === 20, 'another chunk');
    }
  });

  test('the last words of a peer that breaks off while it is not read arrive, and it is closed', async (t) => {
    const echo = await openEcho(t, { onData: (guest) => guest.transport.pause() });
    const client = dial(t, echo);
    client.write('first');
    await until(() => echo.guests[0]?.received === 'first', 'the first bytes');
    const guest = echo.guests[0]!;

    client.write('last');
    await until(() => guest.received === 'firstlast', 'the last bytes');
    client.resetAndDestroy();

    await until(() => guest.closedCount === 1, 'closed');
  });

  test('what was handed over before the end is sent, then the connection closes', async (t) => {
    const echo = await openEcho(t, {
      onData: ({ transport }) => {
        transport.send([MEGABYTE], 1);
        transport.end();
        transport.send([Buffer.from('too late')], 1);
      },
    });
    const client = dial(t, echo);
    let size = 0;
    client.on('data', (chunk) => {
      size += chunk.length;
    });
    client.write('go');
    client.write('unread input must not reset what was sent');

    await once(client, 'end');

    assert.equal(size, MEGABYTE.length);
    await until(() => echo.guests[0]?.closedCount === 1, 'closed');
    assert.equal(echo.sockets.count, 0);
  });

  test('an ended connection whose peer reads nothing is destroyed in the end', async (t) => {
    const echo = await openEcho(t, {
      lingerMs: 50,
      onData: ({ transport }) => {
        for (let i = 0; i < 20; i++) transport.send([MEGABYTE], 1);
        transport.end();
      },
    });
    const client = dial(t, echo);
    client.pause();
    client.write('go');

    await until(() => echo.guests[0]?.closedCount === 1, 'closed');
  });

  test('a half-open peer that reads nothing is destroyed in the end', async (t) => {
    const echo = await openEcho(t, {
      lingerMs: 50,
      onData: ({ transport }) => {
        for (let i = 0; i < 20; i++) transport.send([MEGABYTE], 1);
      },
    });
    const client = dial(t, echo, { allowHalfOpen: true });
    client.pause();
    client.end('go');

    await until(() => echo.guests[0]?.closedCount === 1, 'closed');
  });

  test('a reset is one closed and nothing else', async (t) => {
    const echo = await openEcho(t);
    const client = dial(t, echo);
    client.write('x');
    await once(client, 'data');

    client.resetAndDestroy();

    await until(() => echo.guests[0]?.closedCount === 1, 'closed');
    assert.equal(echo.count('closed'), 1);
    assert.equal(echo.count('bug'), 0);
  });

  test('a bug of the broker costs the connection that met it and no other', async (t) => {
    const echo = await openEcho(t, {
      onData: ({ transport }, chunk) => {
        if (String(chunk) === 'bad') throw new Error('a bug');
        transport.send([chunk], 1);
      },
    });
    const good = dial(t, echo);
    const bad = dial(t, echo);
    bad.write('bad');

    await closed(bad);

    assert.equal(echo.count('bug'), 1);
    assert.ok(echo.log.some((line) => line.includes('a bug') && line.includes('listener.test')));
    good.write('still here');
    assert.equal(String((await once(good, 'data'))[0]), 'still here');
  });

  test('a connection the doorkeeper does not take is closed and counted', async (t) => {
    const echo = await openEcho(t, { doorkeeper: { accept: () => undefined } });

    await closed(dial(t, echo));

    assert.equal(echo.count('refused doorkeeper'), 1);
    await until(() => echo.sockets.count === 0, 'its place is free again');
  });

  test('above the socket limit connections are closed and counted, until some leave', async (t) => {
    const { SocketLimit } = await import('./admission.ts');
    const sockets = new SocketLimit(1);
    const echo = await openEcho(t, { sockets });
    const first = dial(t, echo);
    first.write('x');
    await once(first, 'data');

    await closed(dial(t, echo));

    assert.equal(echo.count('refused socketLimit'), 1);
    first.destroy();
    await until(() => sockets.count === 0, 'its place is free again');
    const third = dial(t, echo);
    third.write('y');
    assert.equal(String((await once(third, 'data'))[0]), 'y');
  });

  test('a closed listener takes nobody new and keeps who is there', async (t) => {
    const echo = await openEcho(t);
    const client = dial(t, echo);
    client.write('x');
    await once(client, 'data');

    echo.close();

    const late = connect(echo.port, '127.0.0.1');
    const [error] = await once(late, 'error');
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
    client.write('y');
    assert.equal(String((await once(client, 'data'))[0]), 'y');
  });

  test('a port that is taken is said in one line', async (t) => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    t.after(() => holder.close());
    const { port } = holder.address() as { port: number };
    const url = `mqtt://127.0.0.1:${port}`;

    await assert.rejects(openEcho(t, { url }), (error) => {
      assert.ok(error instanceof Fault);
      assert.equal(error.message, `cannot listen on ${url}: the port is taken`);
      return true;
    });
  });

  test('an address of another machine is said in one line', async (t) => {
    await assert.rejects(openEcho(t, { url: 'mqtt://192.0.2.1:0' }), {
      message: 'cannot listen on mqtt://192.0.2.1:0: the address is not one of this machine',
    });
  });

  test('TLS without a certificate is refused', async (t) => {
    await assert.rejects(openEcho(t, { url: 'mqtts://127.0.0.1:0' }), {
      message: 'cannot listen on mqtts://127.0.0.1:0: no certificate is configured',
    });
  });
});

describe('listener URL', () => {
  test('names scheme, host, port and path, with the usual ports', () => {
    const read = (url: string): unknown[] => {
      const { kind, host, port, path } = parseListenerUrl(url);
      return [kind, host, port, path];
    };

    assert.deepEqual(read('mqtt://127.0.0.1'), ['tcp', '127.0.0.1', 1883, '']);
    assert.deepEqual(read('mqtts://broker.example:0/'), ['tls', 'broker.example', 0, '']);
    assert.deepEqual(read('ws://[::1]:80/a/b'), ['ws', '::1', 80, '/a/b']);
    assert.deepEqual(read('ws://localhost'), ['ws', 'localhost', 8083, '/mqtt']);
    assert.deepEqual(read('wss://0.0.0.0/'), ['wss', '0.0.0.0', 8084, '/mqtt']);
  });

  for (const url of [
    '',
    '1883',
    'mqtt:127.0.0.1',
    'mqtt://',
    'mqtt://:1883',
    'mqtt://a:b',
    'mqtt://a:65536',
    'mqtt://a:1/path',
    'mqtt://user@a:1',
    'ws://a/p?q',
    'http://a',
    'mqtt://a b',
  ]) {
    test(`refuses '${url}'`, () => {
      assert.throws(
        () => parseListenerUrl(url),
        (error) => error instanceof Fault && error.message.startsWith('cannot listen on "'),
      );
    });
  }
});

function dial(
  t: { after(cleanUp: () => void): void },
  echo: EchoListener,
  options: { allowHalfOpen?: boolean } = {},
): Socket {
  const client = connect({ port: echo.port, host: '127.0.0.1', ...options });
  client.on('error', () => {});
  t.after(() => void client.destroy());
  return client;
}

/** Not `once`, which fails on the errors that closing so may bring. */
function closed(client: Socket): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()));
}
