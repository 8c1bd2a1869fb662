/**
 * The sockets of a listener: several on one port, among which the system spreads who connects.
 *
 * In each of its turns the event loop accepts one connection a socket. With one socket a thousand
 * clients that come at once are a thousand turns, each with its writes and its commit; with several
 * they are taken, answered and committed together (ADR 12).
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { Fault } from '#base';
import { EDGE_LIMITS } from './limits.ts';
import type { ListenerUrl } from './listener-url.ts';

export interface ListeningOptions {
  /** As it was asked for: errors name it. */
  readonly asked: string;
  readonly url: ListenerUrl;
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

/** Listens, or rejects with a `Fault` that says in one line why not. */
export async function openListening(options: ListeningOptions): Promise<Listening> {
  if (!SPREADS && !options.reusePort) {
    const only = await listen(options, options.url.port, false);
    return { port: portOf(only), close: () => void only.close() };
  }
  if (!options.reusePort) await makeSureIsFree(options);
  const servers: Server[] = [];
  const close = (): void => {
    for (const server of servers) server.close();
  };
  try {
    const count = SPREADS ? EDGE_LIMITS.listeningSockets : 1;
    let { port } = options.url;
    while (servers.length < count) {
      const server = await listen(options, port, true);
      servers.push(server);
      port = portOf(server);
    }
    return { port, close };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * Whoever shares a port is let in beside another program of this user that shares it too, and would
 * get only some of the clients. One socket that shares with nobody tells whether somebody is there;
 * a port that the system gives us is nobody's.
 */
async function makeSureIsFree(options: ListeningOptions): Promise<void> {
  if (options.url.port === 0) return;
  const server = await listen(options, options.url.port, false);
  await new Promise((resolve) => server.close(resolve));
}

function listen(options: ListeningOptions, port: number, reusePort: boolean): Promise<Server> {
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
    const { host } = options.url;
    server.listen({ host, port, backlog: EDGE_LIMITS.backlog, reusePort }, () => {
      server.removeAllListeners('error');
      server.on('error', options.failed);
      resolve(server);
    });
  });
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
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
