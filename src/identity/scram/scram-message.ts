/**
 * The messages of SCRAM (RFC 5802 section 7), read strictly and as text, and how names and
 * passwords are prepared.
 *
 *   client-first:  n,,n=user,r=nonce            client-final:  c=biws,r=nonce,p=proof
 *   server-first:  r=nonce,s=salt,i=4096        server-final:  v=signature
 *
 * Channel binding is not offered: `p=` is refused, `y` is taken for what it says. Extensions are
 * passed over, except mandatory ones (`m=`), which are refused.
 */
import { isUtf8 } from 'node:buffer';

export interface ClientFirst {
  /** `n,,` or the like: comes back, encoded, in the client's last message. */
  readonly header: string;
  /** The message without that. */
  readonly bare: string;
  readonly userName: string;
  /** The user to act as, where it is not the same. */
  readonly actAs: string | undefined;
  readonly nonce: string;
}

export interface ClientFinal {
  readonly withoutProof: string;
  readonly binding: string;
  readonly nonce: string;
  readonly proof: Buffer;
}

const MESSAGE_BYTES_MAX = 4_096;
const NONCE_CHARS_MAX = 256;
const PROOF_BYTES = 32;
/** Printable ASCII without the comma. */
const NONCE = /^[\x21-\x2b\x2d-\x7e]+$/;

/** `undefined`: malformed, or asks for what is not offered. */
export function readClientFirst(data: Uint8Array | undefined): ClientFirst | undefined {
  const text = textOf(data);
  const match = text === undefined ? null : /^([ny]),(?:a=([^,]*))?,/.exec(text);
  if (text === undefined || match === null) return undefined;
  const header = match[0];
  const bare = text.slice(header.length);
  const [name, nonce, ...extensions] = bare.split(',');
  const userName = nameOf(valueOf(name, 'n'));
  const given = valueOf(nonce, 'r');
  const actAs = match[2] === undefined ? undefined : nameOf(match[2]);
  if (userName === undefined || (match[2] !== undefined && actAs === undefined)) return undefined;
  if (given === undefined || given.length > NONCE_CHARS_MAX || !NONCE.test(given)) return undefined;
  if (!extensions.every(isExtension)) return undefined;
  return { header, bare, userName, actAs, nonce: given };
}

/** `undefined`: malformed. */
export function readClientFinal(data: Uint8Array | undefined): ClientFinal | undefined {
  const text = textOf(data);
  if (text === undefined) return undefined;
  const end = text.lastIndexOf(',p=');
  if (end < 0) return undefined;
  const withoutProof = text.slice(0, end);
  const [first, second, ...extensions] = withoutProof.split(',');
  const binding = valueOf(first, 'c');
  const nonce = valueOf(second, 'r');
  const proof = bytesOf(text.slice(end + 3));
  if (binding === undefined || nonce === undefined || proof?.length !== PROOF_BYTES) {
    return undefined;
  }
  return extensions.every(isExtension) ? { withoutProof, binding, nonce, proof } : undefined;
}

/**
 * A name or password as SASLprep (RFC 4013) would have it, or `undefined` where it may not be.
 *
 * Done: other spaces become a space, invisible joiners go, NFKC, no control characters, no
 * surrogates, private or unassigned code points, not empty. Not done: the rules for text that runs
 * both ways, and Unicode as it was in version 3.2.
 */
export function prepare(text: string): string | undefined {
  if (/^[\x20-\x7e]+$/.test(text)) return text;
  const prepared = text
    .replace(INVISIBLE, '')
    .replace(/\p{Zs}/gu, ' ')
    .normalize('NFKC');
  if (prepared === '' || /[\p{Cc}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u.test(prepared)) return undefined;
  return prepared;
}

/** RFC 3454, table B.1. */
const INVISIBLE =
  /\u00ad|\u034f|\u1806|[\u180b-\u180d]|[\u200b-\u200d]|\u2060|[\ufe00-\ufe0f]|\ufeff/gu;

function textOf(data: Uint8Array | undefined): string | undefined {
  if (data === undefined || data.length > MESSAGE_BYTES_MAX || !isUtf8(data)) return undefined;
  const text = Buffer.from(data).toString('utf8');
  return text.includes('\0') ? undefined : text;
}

function valueOf(part: string | undefined, letter: string): string | undefined {
  return part?.startsWith(`${letter}=`) === true ? part.slice(2) : undefined;
}

/** `=2C` is a comma, `=3D` an equals sign; no other `=` may be. */
function nameOf(escaped: string | undefined): string | undefined {
  if (escaped === undefined || /=(?!2C|3D)/.test(escaped)) return undefined;
  return prepare(escaped.replaceAll('=2C', ',').replaceAll('=3D', '='));
}

function isExtension(part: string): boolean {
  return /^[A-Za-z]=[^]+$/.test(part) && !part.startsWith('m=');
}

function bytesOf(base64: string): Buffer | undefined {
  const bytes = Buffer.from(base64, 'base64');
  return bytes.toString('base64') === base64 ? bytes : undefined;
}
