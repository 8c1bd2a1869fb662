/**
 * TLS 1.2 and 1.3 in front of MQTT or HTTP, with or without client certificates.
 *
 * The `tls.Server` never listens: raw sockets are handed to it, so that a PROXY header can come
 * first. Verification is asked for but not left to it, so that a refusal can be counted.
 */
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { Fault, type Random } from '#base';
import { type LoadedCertificates, loadCertificates, type TlsSettings } from './certificates.ts';
import type { Door } from './door.ts';
import { type Greeting, greetingOf, type NextStage, tieGreeting } from './greeting.ts';

const TICKET_KEY_BYTES = 48;

export interface TlsStage {
  /** The stage that does the handshake and goes on with `next`. */
  before(next: NextStage): NextStage;
  reload(): Promise<boolean>;
}

/** Rejects with a `Fault` that names the file when a certificate or key will not do. */
export async function openTlsStage(
  settings: TlsSettings,
  door: Door,
  random: Random,
): Promise<TlsStage> {
  const loaded = await loadCertificates(settings);
  const server = createTlsServer(settings, loaded, random);
  warnWhenExpired(settings, loaded, door);
  return {
    before: (next) => createStage(server, settings, next),
    reload: async () => {
      try {
        const fresh = await loadCertificates(settings);
        server.setSecureContext(fresh.context);
        warnWhenExpired(settings, fresh, door);
        door.log.info('certificates reloaded', { listener: door.url });
        return true;
      } catch (error) {
        door.log.error('certificates not reloaded, the old ones stay', {
          listener: door.url,
          error: error instanceof Error ? error.message : String(error),
        });
        return false;
      }
    },
  };
}

function createTlsServer(
  settings: TlsSettings,
  loaded: LoadedCertificates,
  random: Random,
): Server {
  try {
    return createServer({
      ...loaded.context,
      requestCert: settings.clientCertificates !== 'off',
      rejectUnauthorized: false,
      ticketKeys: Buffer.from(random.bytes(TICKET_KEY_BYTES)),
    });
  } catch (cause) {
    // What our own checks let through: a key too weak, a chain that does not parse.
    const why = cause instanceof Error ? cause.message : String(cause);
    const text = `certificate file ${settings.certificateFile}: not usable for TLS (${why})`;
    throw new Fault('unspecified', text, { cause });
  }
}

function createStage(server: Server, settings: TlsSettings, next: NextStage): NextStage {
  server.on('secureConnection', (socket) => {
    const greeting = greetingBelow(socket);
    if (greeting === undefined) {
      socket.destroy(); // its deadline passed in this very turn
      return;
    }
    if (!learnCertificate(greeting, socket, settings)) return;
    const name: string | false | null = socket.servername;
    if (typeof name === 'string' && name !== '') greeting.serverName = name.toLowerCase();
    next(greeting, socket);
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const greeting = greetingBelow(socket);
    greeting?.note(error.code === 'ECONNRESET' ? 'gone' : 'tlsHandshake', error.code);
  });
  return (greeting, raw) => {
    greeting.stage = 'tls';
    server.emit('connection', raw);
  };
}

/** False, and closed, where the client's certificate is missing or not signed by our authority. */
function learnCertificate(greeting: Greeting, socket: TLSSocket, settings: TlsSettings): boolean {
  if (settings.clientCertificates === 'off') return true;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    if (settings.clientCertificates === 'optional') return true;
    greeting.refuse('clientCertificate', 'none was sent');
    return false;
  }
  if (!socket.authorized) {
    greeting.refuse('clientCertificate', String(socket.authorizationError));
    return false;
  }
  greeting.certificate = certificate.raw;
  return true;
}

/** `_parent` is the socket a TLS socket was made over; there is no public way to ask. */
function greetingBelow(socket: TLSSocket): Greeting | undefined {
  const raw = (socket as unknown as { readonly _parent?: Socket | null })._parent;
  if (raw === undefined || raw === null) return undefined;
  const greeting = greetingOf(raw);
  if (greeting !== undefined) tieGreeting(socket, greeting);
  return greeting;
}

function warnWhenExpired(settings: TlsSettings, loaded: LoadedCertificates, door: Door): void {
  if (loaded.validUntilMs > door.clock.nowMs()) return;
  door.log.warn('the certificate has expired', {
    listener: door.url,
    file: settings.certificateFile,
  });
}
