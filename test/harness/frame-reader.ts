/**
 * Cuts the broker's byte stream into packets and keeps the bytes of each.
 *
 * mqtt-packet reads the fields; the raw bytes stay beside them, because some
 * statements are about single bits that a parsed packet no longer shows.
 */
import { parser } from 'mqtt-packet';
import type { Version } from './bytes.ts';

/** A packet from the broker, parsed; fields its kind does not have are absent. */
export interface Received {
  /** `invalid` when mqtt-packet could not read it; `problem` says why. */
  readonly cmd: string;
  readonly raw: Buffer;
  readonly problem?: string;
  readonly messageId?: number;
  readonly topic?: string;
  readonly payload?: Buffer;
  readonly qos?: number;
  readonly dup?: boolean;
  readonly retain?: boolean;
  readonly sessionPresent?: boolean;
  /** CONNACK of 3.1 and 3.1.1. */
  readonly returnCode?: number;
  /** 5.0. */
  readonly reasonCode?: number;
  /** SUBACK, and UNSUBACK of 5.0: the codes in order. */
  readonly granted?: readonly number[];
  readonly properties?: Readonly<Record<string, unknown>>;
}

export class FrameReader {
  readonly #version: Version;
  #rest: Buffer = Buffer.alloc(0);

  constructor(version: Version) {
    this.#version = version;
  }

  /** Takes in a chunk and returns the packets that are complete now. */
  push(chunk: Buffer): Received[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const packets: Received[] = [];
    for (let size = frameSize(this.#rest); size > 0; size = frameSize(this.#rest)) {
      packets.push(parseFrame(this.#rest.subarray(0, size), this.#version));
      this.#rest = this.#rest.subarray(size);
    }
    return packets;
  }
}

/** Bytes of the packet at the start of `bytes`; 0 when it is not complete yet. */
function frameSize(bytes: Buffer): number {
  let length = 0;
  for (let i = 0; i < 4; i++) {
    const byte = bytes[1 + i];
    if (byte === undefined) return 0;
    length += (byte & 0x7f) * 128 ** i;
    if (byte < 0x80) {
      const size = 2 + i + length;
      return bytes.length >= size ? size : 0;
    }
  }
  return bytes.length;
}

function parseFrame(bytes: Buffer, version: Version): Received {
  const raw = Buffer.from(bytes);
  const reader = parser({ protocolVersion: version });
  let packet: object = { cmd: 'invalid', problem: 'not a packet' };
  reader.on('packet', (parsed) => {
    packet = parsed;
  });
  reader.on('error', (error: Error) => {
    packet = { cmd: 'invalid', problem: error.message };
  });
  reader.parse(raw);
  return { ...withoutDefaults(packet), raw };
}

/** mqtt-packet gives every packet every field; those its kind does not have go. */
function withoutDefaults(packet: object): Omit<Received, 'raw'> {
  const fields = Object.entries(packet).filter(([, value]) => value !== null);
  const parsed = Object.fromEntries(fields) as unknown as Received;
  if (parsed.cmd === 'publish') return parsed;
  const {
    topic: _topic,
    payload: _payload,
    qos: _qos,
    dup: _dup,
    retain: _retain,
    ...rest
  } = parsed;
  return rest;
}
