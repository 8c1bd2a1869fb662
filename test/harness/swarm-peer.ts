/**
 * One connection of a client that answers by itself: packets in, callbacks out, nothing queued.
 *
 * Made for load: thousands of packets a second and thousands of connections, in MQTT 3.1.1 or
 * 5.0. It reads only what a correct broker sends; anything else ends the test.
 */
import { strict as assert } from 'node:assert';
import { connect, type Socket } from 'node:net';
import { field, packet, u16, u32, varint } from './bytes.ts';

export type PeerVersion = 4 | 5;

export interface IncomingPublish {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly dup: boolean;
  readonly retain: boolean;
  readonly packetId: number;
}

export type AckName = 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';

export interface PeerEvents {
  connack?(code: number, sessionPresent: boolean): void;
  publish?(publish: IncomingPublish): void;
  ack?(name: AckName, packetId: number, reason: number): void;
  suback?(packetId: number, codes: readonly number[]): void;
  pingresp?(): void;
  /** DISCONNECT of the broker (5.0). */
  disconnect?(reason: number): void;
  /** Once, whoever closed and why. */
  close?(): void;
}

export interface PeerConnect {
  readonly clientId: string;
  readonly clean: boolean;
  readonly version?: PeerVersion;
  readonly keepAliveSeconds?: number;
  /** 5.0; a session before 5.0 stays for ever unless `clean`. */
  readonly expirySeconds?: number;
  readonly receiveMaximum?: number;
}

export interface PeerPublish {
  readonly qos?: 0 | 1 | 2;
  readonly packetId?: number;
  readonly dup?: boolean;
  readonly retain?: boolean;
}

const ACK_NAMES: readonly AckName[] = ['puback', 'pubrec', 'pubrel', 'pubcomp'];
const ACK_BYTES: Readonly<Record<AckName, number>> = {
  puback: 0x40,
  pubrec: 0x50,
  pubrel: 0x62,
  pubcomp: 0x70,
};

/** A CONNECT as this client says it. */
export function peerConnect(options: PeerConnect): Buffer {
  const version = options.version ?? 4;
  const properties: Buffer[] = [];
  if (options.expirySeconds !== undefined) {
    properties.push(Buffer.of(0x11), u32(options.expirySeconds));
  }
  if (options.receiveMaximum !== undefined) {
    properties.push(Buffer.of(0x21), u16(options.receiveMaximum));
  }
  const size = properties.reduce((sum, one) => sum + one.length, 0);
  return packet(
    0x10,
    field('MQTT'),
    Buffer.of(version, options.clean ? 2 : 0),
    u16(options.keepAliveSeconds ?? 0),
    ...(version === 5 ? [varint(size), ...properties] : []),
    field(options.clientId),
  );
}

/** A PUBLISH as this client says it. */
export function peerPublish(
  version: PeerVersion,
  topic: string,
  payload: string | Uint8Array,
  options: PeerPublish = {},
): Buffer {
  const qos = options.qos ?? 0;
  const first = 0x30 | (options.dup ? 8 : 0) | (qos << 1) | (options.retain ? 1 : 0);
  return packet(
    first,
    field(topic),
    ...(qos > 0 ? [u16(options.packetId ?? 0)] : []),
    ...(version === 5 ? [Buffer.of(0)] : []),
    Buffer.from(payload as string),
  );
}

/** A SUBSCRIBE of filters, each with its QoS. */
export function peerSubscribe(
  version: PeerVersion,
  packetId: number,
  filters: readonly (readonly [string, number])[],
): Buffer {
  return packet(
    0x82,
    u16(packetId),
    ...(version === 5 ? [Buffer.of(0)] : []),
    ...filters.map(([filter, qos]) => Buffer.concat([field(filter), Buffer.of(qos)])),
  );
}

export class SwarmPeer {
  readonly socket: Socket;
  readonly version: PeerVersion;
  isClosed = false;
  readonly #events: PeerEvents;
  #rest: Buffer = Buffer.alloc(0);

  constructor(port: number, options: PeerConnect, events: PeerEvents) {
    this.version = options.version ?? 4;
    this.#events = events;
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.socket.on('error', () => undefined);
    this.socket.on('end', () => this.#onClose());
    this.socket.on('close', () => this.#onClose());
    this.socket.write(peerConnect(options));
  }

  send(bytes: Uint8Array): void {
    if (!this.isClosed) this.socket.write(bytes);
  }

  publish(topic: string, payload: string | Uint8Array, options?: PeerPublish): void {
    this.send(peerPublish(this.version, topic, payload, options));
  }

  ack(name: AckName, packetId: number): void {
    this.send(packet(ACK_BYTES[name], u16(packetId)));
  }

  subscribe(packetId: number, filters: readonly (readonly [string, number])[]): void {
    this.send(peerSubscribe(this.version, packetId, filters));
  }

  ping(): void {
    this.send(Buffer.of(0xc0, 0));
  }

  /** Breaks off without a word; nothing is heard any more. */
  drop(): void {
    this.isClosed = true;
    this.socket.resetAndDestroy();
  }

  /** DISCONNECT; the broker closes. */
  leave(): void {
    this.send(Buffer.of(0xe0, 0));
  }

  #onClose(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.socket.destroy();
    this.#events.close?.();
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (!this.isClosed) {
      let size = 0;
      let body = at + 1;
      let shift = 1;
      let whole = false;
      while (body < bytes.length && !whole) {
        const byte = bytes[body++]!;
        size += (byte & 0x7f) * shift;
        shift *= 128;
        whole = byte < 0x80;
      }
      if (!whole || body + size > bytes.length) break;
      this.#take(bytes[at]!, bytes.subarray(body, body + size));
      at = body + size;
    }
    this.#rest = bytes.subarray(at);
  }

  #take(first: number, body: Buffer): void {
    const type = first >> 4;
    const events = this.#events;
    if (type === 3) events.publish?.(this.#readPublish(first, body));
    else if (type === 2) events.connack?.(body[1]!, (body[0]! & 1) === 1);
    else if (type >= 4 && type <= 7) {
      events.ack?.(ACK_NAMES[type - 4]!, body.readUInt16BE(0), body[2] ?? 0);
    } else if (type === 9) {
      const at = this.version === 5 ? 3 + body[2]! : 2;
      events.suback?.(body.readUInt16BE(0), [...body.subarray(at)]);
    } else if (type === 13) events.pingresp?.();
    else if (type === 14) events.disconnect?.(body[0] ?? 0);
    else assert.fail(`a broker does not send packet type ${type}`);
  }

  #readPublish(first: number, body: Buffer): IncomingPublish {
    const qos = (first >> 1) & 3;
    const topicEnd = 2 + body.readUInt16BE(0);
    let at = topicEnd + (qos > 0 ? 2 : 0);
    const packetId = qos > 0 ? body.readUInt16BE(topicEnd) : 0;
    if (this.version === 5) {
      assert.ok(body[at]! < 0x80, 'a short property section');
      at += 1 + body[at]!;
    }
    return {
      topic: body.toString('utf8', 2, topicEnd),
      payload: body.toString('utf8', at),
      qos,
      dup: (first & 8) !== 0,
      retain: (first & 1) !== 0,
      packetId,
    };
  }
}
