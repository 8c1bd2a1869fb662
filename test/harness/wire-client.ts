/**
 * A client that says exactly what a test tells it to and hides nothing it hears.
 *
 * Packets wait in one queue in order of arrival; a test takes them out and so
 * accounts for each. Nothing is acknowledged unless the test does it.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { generate, type Packet } from 'mqtt-packet';
import { hex, type Version } from './bytes.ts';
import { WAIT_MS_MAX, within } from './deadline.ts';
import { FrameReader, type Received } from './frame-reader.ts';

export interface ConnectOptions {
  readonly port: number;
  /** Clean-up at the test's end. */
  readonly t?: { after(cleanUp: () => void): void };
  readonly version?: Version;
  /** One nobody else has, when absent. */
  readonly clientId?: string;
  readonly clean?: boolean;
  readonly keepalive?: number;
  readonly will?: {
    readonly topic: string;
    readonly payload: string | Buffer;
    readonly qos?: Qos;
    readonly retain?: boolean;
    readonly properties?: object;
  };
  readonly properties?: object;
  readonly username?: string;
  readonly password?: string | Buffer;
  /** Resolve also when the broker refuses; otherwise a refusal fails the test. */
  readonly mayFail?: boolean;
  /** Acknowledge every PUBLISH, PUBREC and PUBREL by itself. */
  readonly autoAck?: boolean;
}

export type Qos = 0 | 1 | 2;

/** A packet as mqtt-packet takes it; loosely typed, since tests also send nonsense. */
export type Sent = { readonly cmd: string } & Readonly<Record<string, unknown>>;

export interface Subscription {
  readonly topic: string;
  readonly qos?: Qos;
  readonly nl?: boolean;
  readonly rap?: boolean;
  readonly rh?: 0 | 1 | 2;
}

export interface PublishOptions {
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly messageId?: number;
  readonly properties?: object;
}

/** A name no other test of this process uses, short enough for an MQTT 3.1 client id. */
export function unique(prefix = 'c'): string {
  return `${prefix}${randomBytes(6).toString('hex')}`;
}

export class WireClient {
  readonly stream: Duplex;
  readonly version: Version;
  clientId = '';
  /** The CONNACK, once there is one. */
  connack: Received | undefined;
  autoAck = false;

  readonly #reader: FrameReader;
  readonly #queue: Received[] = [];
  readonly #seen: string[] = [];
  #ended = false;
  #wake: (() => void)[] = [];
  #lastId = 0;

  constructor(stream: Duplex, version: Version) {
    this.stream = stream;
    this.version = version;
    this.#reader = new FrameReader(version);
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('error', () => this.#onEnd());
    stream.on('end', () => this.#onEnd());
    stream.on('close', () => this.#onEnd());
  }

  /** Sends one well-formed packet, written by mqtt-packet in this client's version. */
  send(packet: Sent): void {
    this.sendBytes(this.encode(packet));
  }

  encode(packet: Sent): Buffer {
    return generate(packet as unknown as Packet, { protocolVersion: this.version });
  }

  /** Sends bytes as they are; a string is read as hex. */
  sendBytes(bytes: Uint8Array | string): void {
    if (this.stream.destroyed || this.stream.writableEnded) return;
    this.stream.write(typeof bytes === 'string' ? hex(bytes) : bytes);
  }

  /** The next packet in order of arrival; with `cmd` it must be of that kind. */
  async next(cmd?: string, limitMs: number = WAIT_MS_MAX): Promise<Received> {
    await this.#until(() => this.#queue.length > 0, cmd ?? 'a packet', limitMs);
    const packet = this.#queue[0]!;
    if (cmd !== undefined && packet.cmd !== cmd) {
      assert.fail(`expected ${cmd} but next is ${describe(packet)}; heard: ${this.heard()}`);
    }
    this.#queue.shift();
    return packet;
  }

  /** The next `count` packets. */
  async take(count: number, cmd?: string): Promise<Received[]> {
    const packets: Received[] = [];
    while (packets.length < count) packets.push(await this.next(cmd));
    return packets;
  }

  /** The first packet of that kind (and id), whatever came before it; the others keep waiting. */
  async first(cmd: string, messageId?: number, limitMs: number = WAIT_MS_MAX): Promise<Received> {
    const find = (): number =>
      this.#queue.findIndex(
        (packet) =>
          packet.cmd === cmd && (messageId === undefined || packet.messageId === messageId),
      );
    const wanted = messageId === undefined ? cmd : `${cmd} ${messageId}`;
    await this.#until(() => find() >= 0, wanted, limitMs);
    return this.#queue.splice(find(), 1)[0]!;
  }

  /** Resolves when the broker has closed, with what came before and nobody took. */
  async closed(limitMs: number = WAIT_MS_MAX): Promise<Received[]> {
    if (!this.#ended) {
      await within(
        limitMs,
        new Promise<void>((resolve) => this.#wake.push(() => this.#ended && resolve())),
        () => `still open, expected a close; heard: ${this.heard()}`,
      );
    }
    this.stream.destroy();
    return this.#queue.splice(0);
  }

  /** The next packet, or `undefined` when the broker closes without sending one. */
  async nextOrClose(): Promise<Received | undefined> {
    await this.#until(() => this.#queue.length > 0 || this.#ended, 'a packet or a close');
    return this.#queue.shift();
  }

  get isClosed(): boolean {
    return this.#ended;
  }

  /**
   * Proves that nothing is under way: the next packets answer PINGREQs sent now. Three in a row,
   * since a broker may have to fetch what it owes from its disk while it answers the first.
   */
  async nothing(): Promise<void> {
    for (let i = 0; i < 3; i++) {
      this.sendBytes('c0 00');
      const packet = await this.next();
      if (packet.cmd !== 'pingresp') {
        assert.fail(`expected nothing, but got ${describe(packet)}; heard: ${this.heard()}`);
      }
    }
  }

  /** Subscribes and returns the SUBACK; messages that arrive before it keep waiting. */
  async subscribe(
    filters: string | readonly (string | Subscription)[],
    qos: Qos = 0,
    properties?: object,
  ): Promise<Received> {
    const messageId = this.nextId();
    const list = typeof filters === 'string' ? [filters] : filters;
    const subscriptions = list.map((one) =>
      typeof one === 'string' ? { topic: one, qos } : { qos, ...one },
    );
    this.send({ cmd: 'subscribe', messageId, subscriptions, properties });
    return await this.first('suback', messageId);
  }

  async unsubscribe(filters: string | readonly string[], properties?: object): Promise<Received> {
    const messageId = this.nextId();
    const unsubscriptions = typeof filters === 'string' ? [filters] : filters;
    this.send({ cmd: 'unsubscribe', messageId, unsubscriptions, properties });
    return await this.first('unsuback', messageId);
  }

  /** Publishes, completes the handshake of its QoS, and returns the final acknowledgement. */
  async publish(
    topic: string,
    payload: string | Buffer,
    options: PublishOptions = {},
  ): Promise<Received | undefined> {
    const qos = options.qos ?? 0;
    const messageId = options.messageId ?? (qos > 0 ? this.nextId() : undefined);
    this.sendPublish(topic, payload, { ...options, ...(messageId && { messageId }) });
    if (qos === 0) return undefined;
    if (qos === 1) return await this.first('puback', messageId);
    const pubrec = await this.first('pubrec', messageId);
    if ((pubrec.reasonCode ?? 0) >= 0x80) return pubrec;
    if (!this.autoAck) this.send({ cmd: 'pubrel', messageId });
    return await this.first('pubcomp', messageId);
  }

  /** Sends a PUBLISH and waits for nothing; returns its packet id (0 at QoS 0). */
  sendPublish(topic: string, payload: string | Buffer, options: PublishOptions = {}): number {
    const qos = options.qos ?? 0;
    const messageId = options.messageId ?? (qos > 0 ? this.nextId() : 0);
    this.send({
      cmd: 'publish',
      topic,
      payload,
      qos,
      retain: options.retain ?? false,
      dup: options.dup ?? false,
      ...(qos > 0 && { messageId }),
      properties: options.properties,
    });
    return messageId;
  }

  /** Acknowledges a received PUBLISH in full, by its QoS. */
  async ack(publish: Received): Promise<void> {
    if (publish.qos === 1) this.send({ cmd: 'puback', messageId: publish.messageId });
    if (publish.qos !== 2) return;
    this.send({ cmd: 'pubrec', messageId: publish.messageId });
    await this.first('pubrel', publish.messageId);
    this.send({ cmd: 'pubcomp', messageId: publish.messageId });
  }

  /** The next message, acknowledged in full. */
  async receive(limitMs?: number): Promise<Received> {
    const publish = await this.next('publish', limitMs);
    await this.ack(publish);
    return publish;
  }

  nextId(): number {
    this.#lastId = (this.#lastId % 0xffff) + 1;
    return this.#lastId;
  }

  /** Takes leave properly and waits until the broker has closed. */
  async disconnect(
    options: { reasonCode?: number; properties?: object } = {},
  ): Promise<Received[]> {
    this.send({ cmd: 'disconnect', ...options });
    return await this.closed();
  }

  /** Drops the connection without DISCONNECT; by TCP reset where there is TCP. */
  abort(): void {
    const socket = this.stream as Partial<Socket> & Duplex;
    if (socket.resetAndDestroy === undefined) socket.destroy();
    else socket.resetAndDestroy();
    this.#onEnd();
  }

  /** All packets heard so far, for error messages. */
  heard(): string {
    return this.#seen.length === 0 ? 'nothing' : this.#seen.slice(-40).join(', ');
  }

  #onData(chunk: Buffer): void {
    for (const packet of this.#reader.push(chunk)) {
      this.#seen.push(describe(packet));
      this.#queue.push(packet);
      if (this.autoAck) this.#acknowledge(packet);
    }
    this.#wakeAll();
  }

  #acknowledge(packet: Received): void {
    const messageId = packet.messageId;
    if (packet.cmd === 'publish' && packet.qos === 1) this.send({ cmd: 'puback', messageId });
    if (packet.cmd === 'publish' && packet.qos === 2) this.send({ cmd: 'pubrec', messageId });
    if (packet.cmd === 'pubrec') this.send({ cmd: 'pubrel', messageId });
    if (packet.cmd === 'pubrel') this.send({ cmd: 'pubcomp', messageId });
  }

  #onEnd(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#seen.push('close');
    this.#wakeAll();
  }

  #wakeAll(): void {
    this.#wake.slice().forEach((wake) => wake());
  }

  async #until(holds: () => boolean, wanted: string, limitMs: number = WAIT_MS_MAX): Promise<void> {
    if (holds()) return;
    let check = (): void => {};
    const settled = new Promise<void>((resolve, reject) => {
      check = () => {
        if (holds()) resolve();
        else if (this.#ended) {
          reject(new Error(`closed while waiting for ${wanted}; heard: ${this.heard()}`));
        }
      };
    });
    this.#wake.push(check);
    check();
    try {
      await within(limitMs, settled, () => `waited in vain for ${wanted}; heard: ${this.heard()}`);
    } finally {
      this.#wake = this.#wake.filter((one) => one !== check);
    }
  }
}

/** A TCP connection on which nothing has been said yet. */
export async function openSocket(
  port: number,
  version: Version = 4,
  t?: ConnectOptions['t'],
): Promise<WireClient> {
  const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  t?.after(() => void socket.destroy());
  return new WireClient(socket, version);
}

/** Connects and waits for the CONNACK, which must be an acceptance unless `mayFail`. */
export async function connectRaw(options: ConnectOptions): Promise<WireClient> {
  const client = await openSocket(options.port, options.version ?? 4, options.t);
  return await introduce(client, options);
}

/** Says CONNECT on a stream that is open already (a WebSocket, for one). */
export async function introduce(
  client: WireClient,
  options: Omit<ConnectOptions, 'port'> = {},
): Promise<WireClient> {
  client.clientId = options.clientId ?? unique();
  client.autoAck = options.autoAck ?? false;
  client.send(connectPacket(client.clientId, client.version, options));
  const connack = await client.next('connack');
  client.connack = connack;
  const code = connack.reasonCode ?? connack.returnCode;
  if (!options.mayFail) assert.equal(code, 0, `refused: ${client.heard()}`);
  return client;
}

/** The CONNECT packet these options stand for. */
export function connectPacket(
  clientId: string,
  version: Version,
  options: Omit<ConnectOptions, 'port'> = {},
): Sent {
  return {
    cmd: 'connect',
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: version,
    clientId,
    clean: options.clean ?? true,
    keepalive: options.keepalive ?? 0,
    ...(options.will && { will: { qos: 0, retain: false, ...options.will } }),
    ...(options.username !== undefined && { username: options.username }),
    ...(options.password !== undefined && { password: options.password }),
    ...(version === 5 && { properties: options.properties ?? {} }),
  };
}

/** One line about a packet, for error messages. */
export function describe(packet: Received): string {
  const parts = [packet.cmd];
  if (packet.topic !== undefined) parts.push(`'${packet.topic.slice(0, 60)}'`);
  if (packet.payload !== undefined) parts.push(`"${packet.payload.toString().slice(0, 40)}"`);
  if (packet.qos !== undefined && packet.cmd === 'publish') parts.push(`q${packet.qos}`);
  if (packet.dup) parts.push('dup');
  if (packet.retain) parts.push('retain');
  if (packet.messageId !== undefined) parts.push(`id=${packet.messageId}`);
  const code = packet.reasonCode ?? packet.returnCode;
  if (code !== undefined) parts.push(`0x${code.toString(16)}`);
  if (packet.granted !== undefined) parts.push(`[${packet.granted.join(' ')}]`);
  if (packet.problem !== undefined) parts.push(`${packet.problem} ${packet.raw.toString('hex')}`);
  return parts.join(' ');
}
