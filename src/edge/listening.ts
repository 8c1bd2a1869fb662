/**
 * The sockets of a listener: several on one port, among which the system spreads who connects.
 *
 * In each of its turns the event loop accepts one connection a socket. With one socket a thousand
 * clients that come at once are a thousand turns, each with its writes and its commit; with several
 * they are taken, answered and committed together (ADR 12).
 */
import { type AddressInfo, createServer, isIP, type Server, type Socket } from 'node:net';
import { type Clock, Fault } from '#base';
import { EDGE_LIMITS } from './limits.ts';
import type { ListenerUrl } from './listener-url.ts';

export interface ListeningOptions {
  /** As it was asked for: errors name it. */
  readonly asked: string;
  readonly url: ListenerUrl;
  readonly clock: Clock;
  /** Other processes may listen on the port as well. */
  readonly reusePort: boolean;
  accept(socket: Socket): void;
  /** A connection could not be accepted. */
  failed(error: Error): void;
}

export interface Listening {
  readonly port: number;
  /** Stops accepting; connections that are there stay. */
  close(): void;
}

/** Elsewhere a shared port is refused, or all who connect come to one of its sockets. */
const SPREADS = process.platform === 'linux';
const TURN_TRIES_MAX = 200;
const TURN_RETRY_MS = 10;

/** Listens, or rejects with a `Fault` that says in one line why not. */
export async function openListening(options: ListeningOptions): Promise<Listening> {
  const { host, port } = options.url;
  const isShared = SPREADS || options.reusePort;
  if (!isShared) return listeningOn([await listen(options, host, port, false)]);
  // A port of 0 is nobody's: the system gives out none that is shared.
  if (options.reusePort || port === 0) return await openSockets(options, host);
  return await inTurn(options, async () => openSockets(options, await seeIfFree(options)));
}

async function openSockets(options: ListeningOptions, first: string): Promise<Listening> {
  const servers: Server[] = [];
  let [host, port] = [first, options.url.port];
  try {
    const count = SPREADS ? EDGE_LIMITS.listeningSockets : 1;
    while (servers.length < count) {
      const server = await listen(options, host, port, true);
      servers.push(server);
      host = hostOf(options, server);
      ({ port } = addressOf(server));
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  return listeningOn(servers);
}

function listeningOn(servers: readonly Server[]): Listening {
  return {
    port: addressOf(servers[0]!).port,
    close: () => servers.forEach((server) => server.close()),
  };
}

/**
 * Whoever shares a port is let in beside another program of this user that shares it too, and would
 * get only some of the clients. One socket that shares with nobody tells whether somebody is there.
 * Answers the address that the host has.
 */
async function seeIfFree(options: ListeningOptions): Promise<string> {
  const { host, port } = options.url;
  const server = await listen(options, host, port, false);
  const address = hostOf(options, server);
  await new Promise((resolve) => server.close(resolve));
  return address;
}

/** Two that looked at once would both see nobody, and share: they take turns, port by port. */
async function inTurn<T>({ url, clock }: ListeningOptions, open: () => Promise<T>): Promise<T> {
  const turn = await takeTurn(`\0ternmq-listen-${url.port}`, clock);
  try {
    return await open();
  } finally {
    turn?.close();
  }
}

/** A name only one process of this network has at a time; it is free again when that one dies. */
async function takeTurn(name: string, clock: Clock): Promise<Server | undefined> {
  for (let tries = 0; tries < TURN_TRIES_MAX; tries++) {
    const server = createServer();
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    server.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
    server.listen(name, () => resolve(undefined));
    const code = await promise;
    if (code === undefined) return server;
    if (code !== 'EADDRINUSE') return undefined; // no such names here
    await new Promise<void>((again) => clock.after(TURN_RETRY_MS, again));
  }
  return undefined; // somebody keeps it from us; nobody is kept from starting by that
}

function listen(
  options: ListeningOptions,
  host: string,
  port: number,
  reusePort: boolean,
): Promise<Server> {
  const server = createServer({
    noDelay: true,
    highWaterMark: EDGE_LIMITS.aheadBytesMax, // small, so that whoever pauses is soon not read
  });
  server.on('connection', options.accept);
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = LISTEN_ERRORS.get(error.code ?? '') ?? error.message;
      const text = `cannot listen on ${options.asked}: ${why}`;
      reject(new Fault('unspecified', text, { cause: error }));
    });
    server.listen({ host, port, backlog: EDGE_LIMITS.backlog, reusePort }, () => {
      server.removeAllListeners('error');
      server.on('error', options.failed);
      resolve(server);
    });
  });
}

/** Looked up once: a name may have several addresses. One given as such may say more than Node. */
function hostOf({ url }: ListeningOptions, server: Server): string {
  return isIP(url.host) === 0 ? addressOf(server).address : url.host;
}

function addressOf(server: Server): AddressInfo {
  return server.address() as AddressInfo;
}

const LISTEN_ERRORS: ReadonlyMap<string, string> = new Map([
  ['EADDRINUSE', 'the port is taken'],
  ['EACCES', 'this user may not listen on that port'],
  ['EADDRNOTAVAIL', 'the address is not one of this machine'],
  ['ENOTFOUND', 'the host name is not known'],
  ['EAI_AGAIN', 'the host name could not be looked up'],
  ['EMFILE', 'too many files are open'],
  ['ENOTSUP', 'the system cannot share a port'],
]);
