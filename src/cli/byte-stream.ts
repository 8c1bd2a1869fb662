/** A two-way stream of bytes to a broker, over whatever the URL says. */
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { createWebSocketStream, WebSocket } from 'ws';
import { type ServerUrl, showUrl } from '#config';
import { CommandError } from './io.ts';

export interface TlsChoice {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly insecure: boolean;
}

/** Connects to `url`; rejects with one line that says what is wrong. */
export function openByteStream(
  url: ServerUrl,
  tls: TlsChoice,
  subprotocol: string,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(explain(url, error));
    let made: ReturnType<typeof createStream>;
    try {
      made = createStream(url, tls, subprotocol);
    } catch (error) {
      return fail(error as Error); // a certificate or key that is none
    }
    const { stream, opened } = made;
    stream.once('error', fail);
    opened(() => {
      stream.off('error', fail);
      resolve(stream);
    });
  });
}

function createStream(
  url: ServerUrl,
  tls: TlsChoice,
  subprotocol: string,
): { readonly stream: Duplex; readonly opened: (then: () => void) => void } {
  const { host, port } = url;
  const secure = {
    ...(tls.ca === undefined ? {} : { ca: readPem(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: readPem(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: readPem(tls.key) }),
    rejectUnauthorized: !tls.insecure,
  };
  switch (url.scheme) {
    case 'mqtt': {
      const socket = connectTcp({ host, port, noDelay: true });
      return { stream: socket, opened: (then) => void socket.once('connect', then) };
    }
    case 'mqtts': {
      const servername = /^[\d.]+$|:/.test(host) ? {} : { servername: host };
      const socket = connectTls({ host, port, ...servername, ...secure });
      socket.setNoDelay(true);
      return { stream: socket, opened: (then) => void socket.once('secureConnect', then) };
    }
    case 'ws':
    case 'wss': {
      const options = { ...secure, perMessageDeflate: false };
      const webSocket = new WebSocket(showUrl(url), [subprotocol], options);
      const stream = createWebSocketStream(webSocket);
      return { stream, opened: (then) => void webSocket.once('open', then) };
    }
  }
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new CommandError(`cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'nobody listens there; is the broker running?'],
  ['ENOTFOUND', 'the host name is not known'],
  ['EAI_AGAIN', 'the host name could not be looked up'],
  ['ETIMEDOUT', 'no answer'],
  ['EHOSTUNREACH', 'the host cannot be reached'],
  ['ECONNRESET', 'the other side closed the connection'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'its certificate is self-signed; name it with --ca'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'its certificate is not from a known authority; use --ca'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'its certificate is not from a known authority; use --ca'],
  ['CERT_HAS_EXPIRED', 'its certificate has expired'],
  ['ERR_OSSL_X509_KEY_VALUES_MISMATCH', '--key is not the key of --cert'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'its certificate is for another host name'],
]);

function explain(url: ServerUrl, error: NodeJS.ErrnoException): CommandError {
  if (error instanceof CommandError) return error;
  // A host with several addresses fails with several errors; the first tells.
  const several: readonly NodeJS.ErrnoException[] =
    error instanceof AggregateError ? error.errors : [];
  const first = several[0] ?? error;
  const why = REASONS.get(first.code ?? '') ?? first.message;
  return new CommandError(`cannot connect to ${showUrl(url)}: ${why}`, { cause: error });
}
