/**
 * TLS 1.2 and 1.3 in front of MQTT or HTTP, with or without client certificates.
 *
 * The `tls.Server` never listens: raw sockets are handed to it, so that a PROXY header can come
 * first. Verification is asked for but not left to it: a refusal shall be counted, and a
 * certificate that only an instance can judge goes on to CONNECT.
 */
import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { Fault } from '#base';
import {
  type CertificateDirectory,
  type LoadedCertificates,
  loadCertificates,
  type TlsSettings,
} from './certificates.ts';
import type { Door } from './door.ts';
import { type Greeting, greetingOf, type NextStage, tieGreeting } from './greeting.ts';
import { createServerContexts } from './server-contexts.ts';
import type { TicketKeys } from './ticket-keys.ts';

export interface TlsStage {
  /** The stage that does the handshake and goes on with `next`. */
  before(next: NextStage): NextStage;
  /** True: other certificates hold from now on. */
  reload(): Promise<boolean>;
  close(): void;
}

export interface TlsStageOptions {
  readonly settings: TlsSettings;
  readonly door: Door;
  readonly ticketKeys: TicketKeys;
  readonly directory: CertificateDirectory | undefined;
}

/** Rejects with a `Fault` that names the file when a certificate or key will not do. */
export async function openTlsStage(options: TlsStageOptions): Promise<TlsStage> {
  const { settings, door, ticketKeys } = options;
  let loaded = await loadCertificates(settings);
  const contexts = createServerContexts(options.directory, loaded, door);
  const server = createTlsServer(settings, loaded, ticketKeys.current, contexts.find);
  const stop = ticketKeys.onChange((key) => server.setTicketKeys(key));
  warnWhenExpired(settings, loaded, door);
  return {
    before: (next) => createStage(server, options, next),
    reload: async () => {
      try {
        const fresh = await loadCertificates(settings);
        const isOther = !isDeepStrictEqual(fresh.context, loaded.context);
        server.setSecureContext(fresh.context);
        // A new context comes with a ticket key of its own.
        server.setTicketKeys(ticketKeys.current);
        contexts.renew(fresh);
        loaded = fresh;
        warnWhenExpired(settings, fresh, door);
        if (isOther) door.log.info('certificates reloaded', { listener: door.url });
        return isOther;
      } catch (error) {
        door.log.error('certificates not reloaded, the old ones stay', {
          listener: door.url,
          error: error instanceof Error ? error.message : String(error),
        });
        return false;
      }
    },
    close: stop,
  };
}

function createTlsServer(
  settings: TlsSettings,
  loaded: LoadedCertificates,
  ticketKeys: Buffer,
  findContext: (serverName: string) => SecureContext | undefined,
): Server {
  try {
    return createServer({
      ...loaded.context,
      requestCert: settings.clientCertificates !== 'off',
      rejectUnauthorized: false,
      ticketKeys,
      SNICallback: (serverName, answer) => answer(null, findContext(serverName)),
    });
  } catch (cause) {
    // What our own checks let through: a key too weak, a chain that does not parse.
    const why = cause instanceof Error ? cause.message : String(cause);
    const text = `certificate file ${settings.certificateFile}: not usable for TLS (${why})`;
    throw new Fault('unspecified', text, { cause });
  }
}

function createStage(server: Server, options: TlsStageOptions, next: NextStage): NextStage {
  server.on('secureConnection', (socket) => {
    const greeting = greetingBelow(socket);
    if (greeting === undefined) {
      socket.destroy(); // its deadline passed in this very turn
      return;
    }
    if (!learnCertificate(greeting, socket, options)) return;
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

/** False, and closed, where the client's certificate is missing or nobody's here. */
function learnCertificate(
  greeting: Greeting,
  socket: TLSSocket,
  { settings, directory }: TlsStageOptions,
): boolean {
  if (settings.clientCertificates === 'off') return true;
  // A resumed session has it from its ticket, which only we can read.
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    if (settings.clientCertificates === 'optional') return true;
    greeting.refuse('clientCertificate', 'none was sent');
    return false;
  }
  const verified = socket.authorized && isValidNow(certificate, greeting.door);
  if (!verified && settings.clientAuthorityFile !== undefined) {
    if (directory?.mayBeRegistered(certificate) !== true) {
      greeting.refuse('clientCertificate', whyNot(socket));
      return false;
    }
  }
  greeting.certificate = certificate.raw;
  greeting.certificateVerified = verified;
  return true;
}

/** A ticket keeps what was found at the first handshake, and the certificate may have ended. */
function isValidNow(certificate: X509Certificate, door: Door): boolean {
  const nowMs = door.clock.nowMs();
  return certificate.validFromDate.getTime() <= nowMs && nowMs <= certificate.validToDate.getTime();
}

function whyNot(socket: TLSSocket): string {
  return socket.authorized ? 'CERT_HAS_EXPIRED' : String(socket.authorizationError);
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
