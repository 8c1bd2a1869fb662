/**
 * A client that promises no sign of life may vanish unseen: then TCP looks after it. One that
 * has a keep alive of its own needs no second watch.
 */
import { strict as assert } from 'node:assert';
import { existsSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { sharedBroker } from '../harness/index.ts';
import { until } from '../harness/until.ts';

const TABLE = '/proc/net/tcp';
const NO_TIMER = '00';
const UNACKNOWLEDGED = '01';
const KEEP_ALIVE = '02';
const linux = existsSync(TABLE) ? {} : { skip: 'the table of TCP sockets is Linux only' };
const broker = sharedBroker({ memory: true });

/** The timer of the broker's end of the connection, as the kernel tells it. */
function timerAtBroker(port: number, clientPort: number): string | undefined {
  const end = (one: number): string => one.toString(16).toUpperCase().padStart(4, '0');
  for (const line of readFileSync(TABLE, 'utf8').split('\n')) {
    const [, local, remote, , , timer] = line.trim().split(/\s+/);
    if (local?.endsWith(`:${end(port)}`) && remote?.endsWith(`:${end(clientPort)}`)) {
      return timer?.slice(0, 2);
    }
  }
  return undefined;
}

for (const { keepalive, expected } of [
  { keepalive: 0, expected: KEEP_ALIVE },
  { keepalive: 60, expected: NO_TIMER },
]) {
  test(`keep alive ${keepalive}: TCP's timer is ${expected}`, linux, async (t) => {
    const client = await broker.connect(t, { keepalive });
    const { localPort } = client.stream as Socket;
    const timer = (): string | undefined => timerAtBroker(broker.port, localPort!);

    // A segment that is not acknowledged yet would hide the other timer.
    await until(
      () => timer() !== UNACKNOWLEDGED,
      () => 'CONNACK is acknowledged',
    );
    assert.equal(timer(), expected);
  });
}
