/**
 * The PROXY protocol, versions 1 (a line of text) and 2 (binary): what a load balancer in front
 * of us says about the client before the client's own bytes.
 *
 * Only for listeners that expect it: a header is compulsory there, and nothing else may stand
 * before it, or anybody could claim any address.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { Fault } from '#base';
import { isValidUtf8 } from './mqtt/utf8.ts';

/** What the header told. */
export interface ProxyHeader {
  /** The client; `undefined`: the header names none, the socket's own address stands. */
  readonly source: ProxySource | undefined;
  /** The TLS server name the client asked the proxy for. */
  readonly authority: string | undefined;
  /** True where the client speaks TLS with the proxy. */
  readonly tls: boolean;
  /** Whether the proxy has verified a certificate of the client's. */
  readonly certificateVerified: boolean;
  /** What follows the header: the client's first bytes. */
  readonly rest: Buffer;
}

export interface ProxySource {
  readonly address: string;
  readonly port: number;
}

export interface ProxyHeaderReader {
  /** Takes the next chunk; `undefined`: more is needed. Throws `Fault` where it is no header. */
  read(chunk: Buffer): ProxyHeader | undefined;
}

/** Reads the header of one connection, however it is cut. */
export function createProxyHeaderReader(): ProxyHeaderReader {
  let held: Buffer = Buffer.alloc(0);
  return {
    read(chunk) {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      return readHeader(held);
    },
  };
}

function readHeader(bytes: Buffer): ProxyHeader | undefined {
  // Decided by the first byte, refused at the first that fits neither.
  const isBinary = bytes[0] === SIGNATURE_V2[0];
  const signature = isBinary ? SIGNATURE_V2 : SIGNATURE_V1;
  const known = Math.min(bytes.length, signature.length);
  if (bytes.compare(signature, 0, known, 0, known) !== 0) throw refusal('no header');
  if (known < signature.length) return undefined;
  return isBinary ? readV2(bytes) : readV1(bytes);
}

function readV1(bytes: Buffer): ProxyHeader | undefined {
  const lineEnd = bytes.subarray(0, V1_BYTES_MAX).indexOf('\r\n');
  if (lineEnd < 0) {
    if (bytes.length >= V1_BYTES_MAX) throw refusal('line is too long');
    return undefined;
  }
  const words = bytes.toString('latin1', 0, lineEnd).split(' ');
  const rest = bytes.subarray(lineEnd + 2);
  const header = { authority: undefined, tls: false, certificateVerified: false, rest };
  const family = words[1];
  if (family === 'UNKNOWN') return { source: undefined, ...header };
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined;
  if (isAddress === undefined) throw refusal('address family is unknown');
  const [, , address = '', target = '', port = '', targetPort = ''] = words;
  if (words.length !== 6 || !isAddress(address) || !isAddress(target)) {
    throw refusal('addresses are badly written');
  }
  if (!isPort(port) || !isPort(targetPort)) throw refusal('ports are badly written');
  return { source: { address, port: Number(port) }, ...header };
}

function isPort(text: string): boolean {
  return /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 0xffff;
}

function readV2(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < V2_HEAD_BYTES) return undefined;
  const command = bytes[12]!;
  if (command >> 4 !== 2 || (command & 0x0f) > 1) throw refusal('version or command is unknown');
  const size = bytes.readUInt16BE(14);
  if (size > V2_BODY_BYTES_MAX) throw refusal(`${size} bytes are too long`);
  const end = V2_HEAD_BYTES + size;
  if (bytes.length < end) return undefined;
  const rest = bytes.subarray(end);
  // LOCAL: the proxy speaks for itself (a health check), whatever else stands there.
  if ((command & 0x0f) === 0) {
    return {
      source: undefined,
      authority: undefined,
      tls: false,
      certificateVerified: false,
      rest,
    };
  }
  const family = bytes[13]!;
  const addressBytes = ADDRESS_BYTES[family >> 4];
  if (addressBytes === undefined || (family & 0x0f) > 2) throw refusal('address family is unknown');
  if (size < addressBytes) throw refusal('addresses are cut short');
  const source = readSource(bytes, family >> 4);
  return { source, ...readTlvs(bytes, V2_HEAD_BYTES + addressBytes, end), rest };
}

function readSource(bytes: Buffer, family: number): ProxySource | undefined {
  const at = V2_HEAD_BYTES;
  if (family === 1) {
    return { address: bytes.subarray(at, at + 4).join('.'), port: bytes.readUInt16BE(at + 8) };
  }
  if (family === 2) {
    return { address: addressV6(bytes, at), port: bytes.readUInt16BE(at + 32) };
  }
  return undefined; // UNSPEC and UNIX name no address a client could be told by
}

/** The address in its shortest form; an IPv4 address in IPv6 clothes as sockets show it. */
function addressV6(bytes: Buffer, at: number): string {
  const groups: string[] = [];
  for (let i = 0; i < 8; i++) groups.push(bytes.readUInt16BE(at + 2 * i).toString(16));
  if (groups.slice(0, 6).join(':') === '0:0:0:0:0:ffff') {
    return `::ffff:${bytes.subarray(at + 12, at + 16).join('.')}`;
  }
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

interface Tlvs {
  readonly authority: string | undefined;
  readonly tls: boolean;
  readonly certificateVerified: boolean;
}

function readTlvs(bytes: Buffer, start: number, end: number): Tlvs {
  let authority: string | undefined;
  let tls = false;
  let certificateVerified = false;
  for (let at = start; at < end; ) {
    if (end - at < 3) throw refusal('a TLV is cut short');
    const type = bytes[at]!;
    const valueAt = at + 3;
    const next = valueAt + bytes.readUInt16BE(at + 1);
    if (next > end) throw refusal('a TLV is cut short');
    if (type === TLV_AUTHORITY) {
      if (!isValidUtf8(bytes, valueAt, next)) throw refusal('authority is not valid UTF-8');
      authority = bytes.toString('utf8', valueAt, next);
    } else if (type === TLV_TLS) {
      if (next - valueAt < 5) throw refusal('the TLS TLV is cut short');
      const client = bytes[valueAt]!;
      tls = (client & CLIENT_TLS) !== 0;
      const presented = (client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS)) !== 0;
      certificateVerified = tls && presented && bytes.readUInt32BE(valueAt + 1) === 0;
    }
    at = next;
  }
  return { authority, tls, certificateVerified };
}

function refusal(what: string): Fault {
  return new Fault('malformedPacket', `PROXY header: ${what}`);
}

const SIGNATURE_V1 = Buffer.from('PROXY ', 'latin1');
const SIGNATURE_V2 = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
/** The longest line version 1 can write. */
const V1_BYTES_MAX = 107;
const V2_HEAD_BYTES = 16;
const V2_BODY_BYTES_MAX = 4096;
/** By address family: UNSPEC, IPv4, IPv6, UNIX. */
const ADDRESS_BYTES: readonly number[] = [0, 12, 36, 216];
const TLV_AUTHORITY = 0x02;
const TLV_TLS = 0x20;
const CLIENT_TLS = 0x01;
const CLIENT_CERT_CONN = 0x02;
const CLIENT_CERT_SESS = 0x04;
