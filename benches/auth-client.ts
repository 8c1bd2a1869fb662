/** Connections of a load generator that do nothing but connect: a socket, CONNECT, CONNACK. */
import { randomInt } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { encodeConnect, encodeDisconnect } from '../src/cli/load/frames.ts';
import { pause } from './auth-measure.ts';

export interface Login {
  readonly clientId: string;
  readonly userName?: string;
  readonly password?: string;
}

export interface Door {
  readonly port: number;
  /** Over TLS 1.3, with the ticket of an earlier connection where there is one. */
  readonly tls?: { readonly session: Buffer | undefined };
}

const CONNACK_BYTES = 4;
const SOURCES = 16;
/** How 3.1.1 says that the broker has other things to do. */
const BUSY = 3;
const BUSY_PAUSE_MS = 200;
const TRIES_MAX = 50;
const ANSWER_MS_MAX = 20_000;

/** Resolves once CONNACK says welcome; a broker that is busy for the moment is asked again. */
export async function openConnection(door: Door, login: Login): Promise<Socket> {
  for (let tries = 1; ; tries++) {
    const answer = await connectOnce(door, login);
    if (typeof answer !== 'number') return answer;
    if (answer !== BUSY || tries === TRIES_MAX) {
      throw new Error(`${login.clientId}: refused with ${answer}`);
    }
    await pause(BUSY_PAUSE_MS);
  }
}

/** The connection, or the code of the refusal. */
function connectOnce(door: Door, login: Login): Promise<Socket | number> {
  const frame = encodeConnect({
    protocol: 4,
    clean: true,
    keepAliveSeconds: 0,
    sessionExpirySeconds: 0,
    clientId: login.clientId,
    userName: login.userName,
    password: login.password,
  });
  const raw = connectTcp({
    host: '127.0.0.1',
    port: door.port,
    noDelay: true,
    localAddress: `127.0.0.${2 + randomInt(SOURCES)}`,
  });
  const socket = door.tls === undefined ? raw : secure(raw, door.tls.session);
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      socket.destroy();
      reject(new Error(`${login.clientId}: ${why}`));
    };
    socket.setTimeout(ANSWER_MS_MAX, () => fail('no answer'));
    socket.once('error', (error) => fail(error.message));
    socket.once('close', () => fail('closed'));
    socket.once('data', (bytes) => {
      const code = bytes.length < CONNACK_BYTES ? undefined : bytes[3];
      if (code === undefined) return fail('an answer that is none');
      socket.setTimeout(0);
      socket.removeAllListeners('close');
      socket.resume();
      if (code !== 0) socket.destroy();
      resolve(code === 0 ? socket : code);
    });
    socket.write(frame);
  });
}

// Whether the certificate is the right one is the client's business, and its time.
function secure(socket: Socket, session: Buffer | undefined): TLSSocket {
  const options = { socket, minVersion: 'TLSv1.3', rejectUnauthorized: false } as const;
  return connectTls(session === undefined ? options : { ...options, session });
}

export function closeConnection(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) return resolve();
    socket.once('close', () => resolve());
    socket.end(encodeDisconnect());
  });
}

/** A ticket that the broker gives out, to come back with. */
export async function takeTicket(port: number, login: Login): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const socket = (await openConnection({ port, tls: { session: undefined } }, login)) as TLSSocket;
  const known = socket.getSession();
  socket.on('session', resolve);
  // Tickets come behind the handshake, with the first data at the latest.
  if (known !== undefined && known.length > 0) resolve(known);
  const ticket = await promise;
  await closeConnection(socket);
  return ticket;
}

export function isResumed(socket: Socket): boolean {
  return 'isSessionReused' in socket && (socket as TLSSocket).isSessionReused();
}
