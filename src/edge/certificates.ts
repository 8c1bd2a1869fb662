/**
 * Certificate files, read and checked before TLS sees them, so that a wrong one is named.
 *
 * OpenSSL's own complaints name neither the file nor, mostly, the fault.
 */
import { createHash, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { SecureContextOptions } from 'node:tls';
import { Fault } from '#base';
import { TICKET_SECONDS } from './ticket-keys.ts';

export type ClientCertificates = 'off' | 'optional' | 'required';

export interface TlsSettings {
  /** PEM: the server's certificate, then any intermediate ones. */
  readonly certificateFile: string;
  /** PEM: the certificate's private key, not encrypted. */
  readonly keyFile: string;
  /** Whether clients are asked for a certificate. */
  readonly clientCertificates: ClientCertificates;
  /**
   * PEM: the listener's own authorities. A certificate that they did not sign is refused, unless
   * the `CertificateDirectory` may know its issuer. Without this file any certificate passes the
   * door, unverified, and CONNECT decides.
   */
  readonly clientAuthorityFile?: string;
}

/** A server certificate that is not the listener's own; both in PEM. */
export interface ServerCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** What the owners of instances have registered, as the doors need it; asked on each handshake. */
export interface CertificateDirectory {
  /** The same object for as long as nothing changed. `undefined`: use the listener's own. */
  find(serverName: string): ServerCertificate | undefined;
  /** An instance may know the issuer of this client certificate. */
  mayBeRegistered(certificate: X509Certificate): boolean;
}

export interface LoadedCertificates {
  readonly context: SecureContextOptions & { readonly sessionIdContext: string };
  readonly certificate: X509Certificate;
  readonly validUntilMs: number;
}

/** Reads and checks the files; rejects with a `Fault` that names the file and its fault. */
export async function loadCertificates(settings: TlsSettings): Promise<LoadedCertificates> {
  const cert = await read('certificate', settings.certificateFile);
  const key = await read('private key', settings.keyFile);
  const certificate = parse('certificate', settings.certificateFile, cert);
  const privateKey = parseKey(settings.keyFile, key);
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Fault(
      'unspecified',
      `private key ${settings.keyFile} does not belong to certificate ${settings.certificateFile}`,
    );
  }
  const ca = await readAuthority(settings);
  return {
    context: {
      cert,
      key,
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.3',
      // None, unlike nothing, keeps out the authorities of the web.
      ca: ca ?? [],
      sessionIdContext: trustDigest(settings, ca),
      sessionTimeout: TICKET_SECONDS,
    },
    certificate,
    validUntilMs: certificate.validToDate.getTime(),
  };
}

/**
 * A session may be resumed only where clients are trusted on the same terms; otherwise a ticket
 * from a listener that asks for no certificate would open one that requires it.
 */
function trustDigest(settings: TlsSettings, ca: string | undefined): string {
  const hash = createHash('sha256').update(settings.clientCertificates).update('\0');
  return hash
    .update(ca ?? '')
    .digest('hex')
    .slice(0, 32);
}

async function readAuthority(settings: TlsSettings): Promise<string | undefined> {
  if (settings.clientCertificates === 'off') return undefined;
  const file = settings.clientAuthorityFile;
  if (file === undefined) return undefined;
  const ca = await read('client authority', file);
  parse('client authority', file, ca);
  return ca;
}

async function read(what: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
    const why = READ_ERRORS.get(code) ?? code;
    throw new Fault('unspecified', `${what} file ${file}: ${why}`, { cause });
  }
}

const READ_ERRORS: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such file'],
  ['EACCES', 'this user may not read it'],
  ['EISDIR', 'it is a directory'],
]);

function parse(what: string, file: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new Fault('unspecified', `${what} file ${file}: not a PEM certificate`, { cause });
  }
}

function parseKey(file: string, pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    const why = pem.includes('ENCRYPTED') ? 'it is encrypted' : 'not a PEM private key';
    throw new Fault('unspecified', `private key file ${file}: ${why}`, { cause });
  }
}
