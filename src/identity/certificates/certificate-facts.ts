/**
 * What we read out of a certificate, once: parsing costs more than everything else at CONNECT.
 *
 * A serial number is told as Node tells it: upper-case hexadecimal, an even number of digits,
 * no separators.
 */
import { hash, X509Certificate } from 'node:crypto';

const SERIAL_CHARS_MAX = 128;
const CLIENT_USES: readonly string[] = ['1.3.6.1.5.5.7.3.2', '2.5.29.37.0'];

export interface CertificateFacts {
  readonly serial: string;
  /** SHA-256 of the DER, in hexadecimal. */
  readonly fingerprint: string;
  /** `undefined` where the subject has none, or several. */
  readonly commonName: string | undefined;
  /** DNS names and URIs of the subject's alternative names. */
  readonly alternativeNames: readonly string[];
  readonly validFromMs: number;
  readonly validToMs: number;
}

/** `undefined`: not a certificate we can read, or its serial number is too long. */
export function parseCertificate(content: string | Uint8Array): X509Certificate | undefined {
  try {
    const certificate = new X509Certificate(content);
    return serialOf(certificate.serialNumber) === undefined ? undefined : certificate;
  } catch {
    return undefined;
  }
}

export function fingerprintOf(der: Uint8Array): string {
  return hash('sha256', der, 'hex');
}

export function readFacts(certificate: X509Certificate): CertificateFacts {
  const { validFromDate, validToDate } = certificate;
  return {
    serial: certificate.serialNumber,
    fingerprint: fingerprintOf(certificate.raw),
    commonName: commonNameOf(certificate),
    alternativeNames: readAlternativeNames(certificate.subjectAltName),
    validFromMs: validFromDate.getTime(),
    validToMs: validToDate.getTime(),
  };
}

/** The text form, or `undefined` where it is no serial number. */
export function serialOf(text: string): string | undefined {
  if (text.length > SERIAL_CHARS_MAX) return undefined;
  return /^-?[0-9A-Fa-f]+$/.test(text) ? text.toUpperCase() : undefined;
}

/** The parsed form: the printed one could not tell a name from one that holds a line break. */
export function commonNameOf(certificate: X509Certificate): string | undefined {
  const subject: unknown = certificate.toLegacyObject().subject;
  if (typeof subject !== 'object' || subject === null) return undefined;
  const name = (subject as { readonly CN?: unknown }).CN;
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/** Issuer, use of the key and signature; not the dates. */
export function isIssuedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  if (!certificate.checkIssued(authority)) return false;
  // Collisions of MD5 can be made at will. Older Node does not tell the algorithm.
  if (/^md\d/i.test(certificate.signatureAlgorithm ?? '')) return false;
  try {
    return certificate.verify(authority.publicKey);
  } catch {
    return false;
  }
}

/** False where the certificate says what it is for, and names no client's use. */
export function mayBeClient(certificate: X509Certificate): boolean {
  const uses: readonly string[] | undefined = certificate.keyUsage;
  return uses === undefined || uses.some((use) => CLIENT_USES.includes(use));
}

// Node prints `DNS:a, URI:b`, and as JSON a value that holds a comma, a quote or worse.
const ALTERNATIVE_NAME = /([^:,]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/g;

function readAlternativeNames(text: string | undefined): readonly string[] {
  const names: string[] = [];
  for (const [, kind, value] of (text ?? '').matchAll(ALTERNATIVE_NAME)) {
    if (kind !== 'DNS' && kind !== 'URI') continue;
    const name = value?.startsWith('"') === true ? unquote(value) : value;
    if (name !== undefined && name !== '') names.push(name);
  }
  return names;
}

function unquote(value: string): string | undefined {
  try {
    const name: unknown = JSON.parse(value);
    return typeof name === 'string' ? name : undefined;
  } catch {
    return undefined;
  }
}
