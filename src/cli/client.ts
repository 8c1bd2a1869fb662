/**
 * A small MQTT client for the command line: connects, subscribes, publishes with every quality
 * of service, and says in words why it was refused.
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '#base';
import {
  type AckType,
  type ConnackPacket,
  type ConnectPacket,
  decodeAck,
  decodeConnack,
  decodeDisconnect,
  decodePublish,
  decodeSuback,
  encodeAck,
  encodeConnect,
  encodeDisconnect,
  encodePublish,
  encodeSubscribe,
  PacketType,
  PINGREQ,
  type ProtocolVersion,
  type PublishPacket,
  Reason,
  reasonName,
  type SubscriptionRequest,
} from '#wire';
import { FrameSplitter } from './frame-splitter.ts';
import { CommandError } from './io.ts';

const CONNACK_MS = 30_000;
const CLOSE_MS = 3_000;
const PACKET_ID_MAX = 0xffff;

export interface ClientOptions {
  readonly stream: Duplex;
  readonly clock: Clock;
  readonly connect: ConnectPacket;
  /** False: not wanted any more, and not acknowledged. */
  readonly onMessage?: (message: PublishPacket) => boolean;
}

interface Pending {
  readonly resolve: (value: number) => void;
  readonly reject: (error: Error) => void;
}

export class Client {
  /** Rejects when the connection ends without our wish. */
  readonly lost: Promise<never>;
  connack: ConnackPacket | undefined;
  readonly #stream: Duplex;
  readonly #version: ProtocolVersion;
  readonly #clock: Clock;
  readonly #onMessage: (message: PublishPacket) => boolean;
  readonly #frames = new FrameSplitter();
  readonly #pending: Map<number, Pending> = new Map();
  readonly #open: Set<number> = new Set();
  readonly #rejectLost: (error: Error) => void;
  #waiting: (() => void)[] = [];
  #greeted: ((packet: ConnackPacket) => void) | undefined;
  #receiveMaximum = PACKET_ID_MAX;
  #lastPacketId = 0;
  #leaving = false;
  #error: Error | undefined;
  #stopPings: () => void = () => {};

  private constructor(options: ClientOptions) {
    this.#stream = options.stream;
    this.#version = options.connect.protocolVersion;
    this.#clock = options.clock;
    this.#onMessage = options.onMessage ?? (() => true);
    const { promise, reject } = Promise.withResolvers<never>();
    this.lost = promise;
    this.#rejectLost = reject;
    promise.catch(() => undefined); // nobody may be waiting when it happens
    this.#stream.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#stream.on('error', (error) => this.#fail(`the connection failed: ${error.message}`));
    this.#stream.on('close', () => this.#fail('the broker closed the connection'));
  }

  /** Connects, or rejects with the broker's reason. */
  static async open(options: ClientOptions): Promise<Client> {
    const client = new Client(options);
    const { promise, resolve } = Promise.withResolvers<ConnackPacket>();
    client.#greeted = resolve;
    const stop = options.clock.after(CONNACK_MS, () => client.#fail('the broker does not answer'));
    client.#stream.write(encodeConnect(options.connect));
    client.connack = await Promise.race([promise, client.lost]);
    stop();
    client.#welcome(options.connect, client.connack);
    return client;
  }

  /** The granted qualities of service, in the order asked for. */
  async subscribe(subscriptions: readonly SubscriptionRequest[]): Promise<readonly number[]> {
    const packetId = this.#takePacketId();
    const { promise, resolve } = Promise.withResolvers<readonly number[]>();
    this.#granted.set(packetId, resolve);
    this.#stream.write(
      encodeSubscribe(this.#version, {
        packetId,
        subscriptions,
        subscriptionIdentifier: 0,
        userProperties: [],
      }),
    );
    return await Promise.race([promise, this.lost]);
  }

  readonly #granted: Map<number, (codes: readonly number[]) => void> = new Map();

  /** Resolves to the broker's reason code once the message is its own; rejects when refused. */
  async publish(message: Omit<PublishPacket, 'packetId' | 'dup'>): Promise<number> {
    while (message.qos > 0 && this.#pending.size >= this.#receiveMaximum) await this.#turn();
    if (this.#error !== undefined) throw this.#error;
    const packetId = message.qos === 0 ? 0 : this.#takePacketId();
    const bytes = encodePublish(this.#version, { ...message, packetId, dup: false });
    const answered = packetId === 0 ? Promise.resolve(0) : this.#answer(packetId);
    if (!this.#stream.write(bytes)) await this.#drained();
    return await answered;
  }

  /** Says goodbye and waits, within a bound, until the broker has everything. */
  async close(): Promise<void> {
    if (this.#leaving || this.#error !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    let late = false;
    const stop = this.#clock.after(CLOSE_MS, () => {
      late = true;
      resolve();
      this.#wake();
    });
    while (this.#open.size > 0 && this.#error === undefined && !late) await this.#turn();
    this.#leaving = true;
    this.#stopPings();
    this.#stream.once('close', () => resolve());
    this.#stream.end(encodeDisconnect({ reasonCode: Reason.success }, Number.POSITIVE_INFINITY));
    if (!this.#stream.closed) await promise;
    stop();
    this.#stream.destroy();
  }

  #welcome(connect: ConnectPacket, connack: ConnackPacket): void {
    this.#receiveMaximum = connack.properties?.receiveMaximum ?? PACKET_ID_MAX;
    const seconds = connack.properties?.serverKeepAlive ?? connect.keepAliveSeconds;
    if (seconds === 0) return;
    this.#stopPings = this.#clock.every(seconds * 500, () => void this.#stream.write(PINGREQ));
  }

  #answer(packetId: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#pending.set(packetId, { resolve, reject });
    return promise;
  }

  #takePacketId(): number {
    do {
      this.#lastPacketId = (this.#lastPacketId % PACKET_ID_MAX) + 1;
    } while (this.#pending.has(this.#lastPacketId));
    return this.#lastPacketId;
  }

  /** Until something was acknowledged, or all is lost. */
  #turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  async #drained(): Promise<void> {
    const drain = new Promise<void>((resolve) => void this.#stream.once('drain', resolve));
    await Promise.race([drain, this.lost]);
  }

  #read(chunk: Buffer): void {
    try {
      this.#frames.feed(chunk, (first, bytes, start) => this.#take(first, bytes, start));
    } catch (error) {
      this.#fail(`the broker sent what is no MQTT: ${(error as Error).message}`);
    }
  }

  #take(first: number, bytes: Buffer, start: number): void {
    const type = first >> 4;
    const end = bytes.length;
    switch (type) {
      case PacketType.connack:
        return this.#takeConnack(decodeConnack(this.#version, bytes, start, end));
      case PacketType.publish:
        return this.#takePublish(decodePublish(this.#version, first, bytes, start, end));
      case PacketType.puback:
      case PacketType.pubrec:
      case PacketType.pubrel:
      case PacketType.pubcomp:
        return this.#takeAck(type as AckType, bytes, start);
      case PacketType.suback: {
        const { packetId, reasonCodes } = decodeSuback(this.#version, bytes, start, end);
        this.#granted.get(packetId)?.(reasonCodes);
        this.#granted.delete(packetId);
        return;
      }
      case PacketType.disconnect: {
        const { reasonCode, reasonString } = decodeDisconnect(5, bytes, start, end, 'server');
        return this.#fail(`the broker ended it: ${inWords(reasonCode, reasonString)}`);
      }
    }
  }

  #takeConnack(packet: ConnackPacket): void {
    if (packet.reasonCode === 0) return this.#greeted?.(packet);
    this.#fail(refusedInWords(this.#version, packet));
  }

  #takePublish(message: PublishPacket): void {
    const { packetId, qos } = message;
    if (qos === 2 && this.#open.has(packetId)) return this.#ack(PacketType.pubrec, packetId);
    if (!this.#onMessage(message)) return;
    if (qos === 1) this.#ack(PacketType.puback, packetId);
    if (qos === 2) {
      this.#open.add(packetId);
      this.#ack(PacketType.pubrec, packetId);
    }
  }

  #takeAck(type: AckType, bytes: Buffer, start: number): void {
    const ack = decodeAck(this.#version, type, bytes, start, bytes.length, 'server');
    const { packetId, reasonCode } = ack;
    if (type === PacketType.pubrel) {
      this.#open.delete(packetId);
      this.#ack(PacketType.pubcomp, packetId);
      return this.#wake();
    }
    const pending = this.#pending.get(packetId);
    if (reasonCode >= 0x80) {
      const why = inWords(reasonCode, ack.reasonString);
      pending?.reject(new CommandError(`the broker refused the message: ${why}`));
    } else if (type === PacketType.pubrec) {
      return this.#ack(PacketType.pubrel, packetId);
    }
    pending?.resolve(reasonCode);
    this.#pending.delete(packetId);
    this.#wake();
  }

  #ack(type: AckType, packetId: number): void {
    const packet = { packetId, reasonCode: Reason.success };
    this.#stream.write(encodeAck(this.#version, type, packet, Number.POSITIVE_INFINITY));
  }

  #fail(text: string): void {
    if (this.#leaving || this.#error !== undefined) return;
    this.#error = new CommandError(text);
    this.#stopPings();
    this.#rejectLost(this.#error);
    for (const pending of this.#pending.values()) pending.reject(this.#error);
    this.#pending.clear();
    this.#wake();
    this.#stream.destroy();
  }
}

/** The CONNACK return codes before 5.0 (3.1.1 section 3.2.2.3). */
const RETURN_CODES: readonly string[] = [
  'accepted',
  'unacceptable protocol version (1)',
  'client identifier rejected (2)',
  'server unavailable (3)',
  'bad user name or password (4)',
  'not authorized (5)',
];

/** `the broker refused: 0x87 not authorized`, and more where the broker says more. */
export function refusedInWords(version: ProtocolVersion, connack: ConnackPacket): string {
  const { reasonCode, properties } = connack;
  const why =
    version === 5
      ? inWords(reasonCode, properties?.reasonString)
      : (RETURN_CODES[reasonCode] ?? `return code ${reasonCode}`);
  return `the broker refused: ${why}`;
}

/** `0x87 not authorized: an access key is required`. */
export function inWords(code: number, said: string | undefined): string {
  const name = reasonName(code).toLowerCase();
  const number = `0x${code.toString(16).padStart(2, '0')}`;
  const more = said?.toLowerCase() === name ? undefined : said;
  return `${number} ${name}${more === undefined ? '' : `: ${more}`}`;
}
