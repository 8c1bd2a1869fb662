/** The sockets of a listener: what many on one port do for who connects, and what must not change. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { openEcho, until } from '../../test/harness/echo-listener.ts';
import { freePort } from '../../test/harness/free-port.ts';

const MANY = 64;
const onLinux = { skip: process.platform === 'linux' ? false : 'only Linux spreads a port' };

describe('the sockets of a listener', () => {
  test('who connects at once is taken at once, not one a turn', onLinux, async (t) => {
    let turn = 0;
    let counting = true;
    const byTurn = new Map<number, number>();
    const echo = await openEcho(t, {
      onData: ({ transport }) => {
        byTurn.set(turn, (byTurn.get(turn) ?? 0) + 1);
        transport.send([Buffer.from('x')], 1);
      },
    });
    const next = (): void => {
      turn++;
      if (counting) setImmediate(next);
    };
    setImmediate(next);

    // The system has all of them before the loop turns again.
    const clients = Array.from({ length: MANY }, () => dial(t, echo.port));
    for (const client of clients) client.write('hello');
    await Promise.all(clients.map((client) => once(client, 'data')));
    counting = false;

    const most = Math.max(...byTurn.values());
    assert.ok(most >= 4, `at most ${most} in one turn`);
  });

  test('once it is closed none of them takes anybody', async (t) => {
    const echo = await openEcho(t);
    echo.close();

    for (let i = 0; i < MANY; i++) {
      const [error] = await once(dial(t, echo.port), 'error');
      assert.equal((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
    }
  });

  test('a port that others would share is taken all the same', onLinux, async (t) => {
    const holder = createServer().listen({ host: '127.0.0.1', port: 0, reusePort: true });
    await once(holder, 'listening');
    t.after(() => holder.close());
    const { port } = holder.address() as { port: number };
    const url = `mqtt://127.0.0.1:${port}`;

    await assert.rejects(openEcho(t, { url }), {
      message: `cannot listen on ${url}: the port is taken`,
    });
  });

  test('a second listener does not come in beside the first', async (t) => {
    const first = await openEcho(t, { url: `mqtt://127.0.0.1:${await freePort()}` });

    await assert.rejects(openEcho(t, { url: first.url }), {
      message: `cannot listen on ${first.url}: the port is taken`,
    });
    const everywhere = `mqtt://0.0.0.0:${first.port}`;
    await assert.rejects(openEcho(t, { url: everywhere }), {
      message: `cannot listen on ${everywhere}: the port is taken`,
    });
  });

  test('of two that begin at once one gets the port', async (t) => {
    for (const host of ['127.0.0.1', 'localhost']) {
      const url = `mqtt://${host}:${await freePort()}`;
      const both = await Promise.allSettled([openEcho(t, { url }), openEcho(t, { url })]);
      assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    }
  });

  test('processes that share a port on purpose may', onLinux, async (t) => {
    const first = await openEcho(t, { reusePort: true });
    const second = await openEcho(t, { url: first.url, reusePort: true });

    const clients = Array.from({ length: MANY }, () => dial(t, first.port));

    await until(() => first.guests.length + second.guests.length === MANY, 'all are there');
    assert.ok(first.guests.length > 0 && second.guests.length > 0);
    for (const client of clients) client.destroy();
  });
});

function dial(t: TestContext, port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  t.after(() => socket.destroy());
  return socket;
}
