/**
 * Ports nobody listens on, for who must know a port before it is listened on, or come back on it.
 * They lie below those the system gives to whoever asks for any: between looking and listening,
 * another test's client or broker would be given one of those now and then.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';

const FIRST = 10_000;
const COUNT = 22_000; // Linux gives out 32768 and more, others 49152 and more
const TRIES_MAX = 100;
/** Whoever asks for several gets no port twice. */
const given = new Set<number>();

export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
  throw new Error('no port to be had');
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
