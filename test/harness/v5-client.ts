/**
 * A bare MQTT 5.0 client for black-box tests: it does nothing by itself.
 *
 * It acknowledges nothing, repeats nothing, keeps nothing alive. It does hold the broker to what
 * it promised in its own CONNECT (packet size, aliases, window, problem information), so those
 * rules are checked on every packet of every test. The first breach fails the next call.
 */
import { strict as assert } from 'node:assert';
import { connect as connectSocket, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { type BrokerPacket, decodeBrokerPackets, type PacketType } from './v5-decode.ts';
import {
  ackPacket,
  type ConnectOptions,
  connectPacket,
  disconnectPacket,
  PINGREQ,
  type Properties,
  type PublishOptions,
  publishPacket,
  subscribePacket,
  unsubscribePacket,
} from './v5-packets.ts';

/** What ends with a test, or with a whole file of them. */
export interface Ending {
  after(action: () => void | Promise<void>): void;
}

/** How long a test waits for a fact before it fails. */
export const PATIENCE_MS = 4_000;

let serial = 0;

/** A text that no other test uses: 1 to 23 characters from 0-9 and a-z. */
export function unique(prefix = 'x'): string {
  serial += 1;
  return `${prefix}${process.pid.toString(36)}n${serial}`;
}

/** Lets real time go by, where time itself is what the broker reacts to. */
export async function elapse(durationMs: number): Promise<void> {
  await delay(durationMs);
}

/** One connection and the packets it received. */
export class V5Client {
  readonly socket: Socket;
  readonly queue: BrokerPacket[] = [];
  clientId = '';
  connack: BrokerPacket | undefined;
  isClosed = false;
  #unread: Buffer = Buffer.alloc(0);
  #breach: Error | undefined;
  #limits: Properties = {};
  #packetId = 0;
  readonly #open = new Set<number>();
  readonly #aliases = new Map<number, string>();
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  /** Sends bytes as they are. */
  send(...packets: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(packets));
  }

  /** Sends CONNECT and remembers the limits it sets. */
  sendConnect(options: ConnectOptions): void {
    this.#limits = Buffer.isBuffer(options.properties) ? {} : (options.properties ?? {});
    this.clientId = String(options.clientId ?? '');
    this.send(connectPacket(options));
  }

  /** The next packet, which has to be of that type. */
  async next(type?: PacketType, patienceMs: number = PATIENCE_MS): Promise<BrokerPacket> {
    await this.#until(() => this.queue.length > 0, `next ${type ?? 'packet'}`, patienceMs);
    const packet = this.queue.shift();
    assert.ok(packet !== undefined);
    if (type !== undefined) assert.equal(packet.type, type, `expected ${type}: ${show(packet)}`);
    return packet;
  }

  /** The first packet of that type; others keep their place in the queue. */
  async find(type: PacketType, patienceMs: number = PATIENCE_MS): Promise<BrokerPacket> {
    const has = (): boolean => this.queue.some((packet) => packet.type === type);
    await this.#until(has, `a ${type}`, patienceMs);
    const [packet] = this.queue.splice(
      this.queue.findIndex((one) => one.type === type),
      1,
    );
    assert.ok(packet !== undefined);
    return packet;
  }

  /** The connection ends, and nothing was sent that the test has not read. */
  async closed(patienceMs: number = PATIENCE_MS): Promise<void> {
    await this.#until(() => this.isClosed || this.queue.length > 0, 'the close', patienceMs);
    const [packet] = this.queue;
    assert.equal(packet, undefined, `nothing before the close, but ${packet && show(packet)}`);
  }

  /** The connection ends, whatever was said before. */
  async hungUp(): Promise<void> {
    await this.#until(() => this.isClosed, 'the close', PATIENCE_MS);
    this.queue.length = 0;
  }

  /** The broker says DISCONNECT with this code, nothing else, and closes. */
  async disconnected(reason: number, patienceMs: number = PATIENCE_MS): Promise<BrokerPacket> {
    const packet = await this.next('disconnect', patienceMs);
    assert.equal(hex(packet.reason), hex(reason));
    await this.closed(patienceMs);
    return packet;
  }

  /** The broker says CONNACK with this refusal, nothing else, and closes. */
  async refused(reason: number): Promise<BrokerPacket> {
    const packet = await this.next('connack');
    assert.equal(hex(packet.reason), hex(reason));
    await this.closed();
    return packet;
  }

  /**
   * Nothing has come, and the connection lives: the next packets answer PINGREQs. Three in a
   * row, as a broker may fetch from its disk what it owes while it answers the first.
   */
  async idle(): Promise<void> {
    for (let round = 0; round < 3; round++) {
      this.send(PINGREQ);
      await this.next('pingresp');
    }
  }

  /** A packet id this client has not used yet. */
  freshId(): number {
    this.#packetId += 1;
    return this.#packetId;
  }

  /** Subscribes and returns the SUBACK; messages that come first stay queued. */
  async subscribe(
    filters: string | readonly (readonly [string, number])[],
    options = 0,
    properties?: Properties,
  ): Promise<BrokerPacket> {
    const packetId = this.freshId();
    const list = typeof filters === 'string' ? [[filters, options] as const] : filters;
    this.send(subscribePacket(packetId, list, properties));
    const suback = await this.find('suback');
    assert.equal(suback.packetId, packetId);
    assert.equal(suback.reasons.length, list.length);
    return suback;
  }

  /** Unsubscribes and returns the UNSUBACK. */
  async unsubscribe(...filters: readonly string[]): Promise<BrokerPacket> {
    const packetId = this.freshId();
    this.send(unsubscribePacket(packetId, filters));
    const unsuback = await this.find('unsuback');
    assert.equal(unsuback.packetId, packetId);
    assert.equal(unsuback.reasons.length, filters.length);
    return unsuback;
  }

  /** Publishes and sees the acknowledgements through; returns the code of the first of them. */
  async publish(
    topic: string,
    payload: string | Uint8Array,
    options: PublishOptions = {},
  ): Promise<number> {
    const packetId = options.packetId ?? this.freshId();
    this.send(publishPacket(topic, payload, { ...options, packetId }));
    if ((options.qos ?? 0) === 0) return 0;
    const first = await this.find(options.qos === 1 ? 'puback' : 'pubrec');
    assert.equal(first.packetId, packetId);
    if (first.type === 'puback' || first.reason >= 0x80) return first.reason;
    this.send(ackPacket('pubrel', packetId));
    const last = await this.find('pubcomp');
    assert.equal(last.packetId, packetId);
    assert.equal(last.reason, 0);
    return first.reason;
  }

  /** The next packet is a PUBLISH; it stays unacknowledged. */
  async message(patienceMs: number = PATIENCE_MS): Promise<BrokerPacket> {
    return await this.next('publish', patienceMs);
  }

  /** The next packet is a PUBLISH; it is acknowledged to the end. */
  async receive(patienceMs: number = PATIENCE_MS): Promise<BrokerPacket> {
    const packet = await this.message(patienceMs);
    await this.settle(packet);
    return packet;
  }

  /** Acknowledges a PUBLISH to the end. */
  async settle(packet: BrokerPacket): Promise<void> {
    if (packet.qos === 1) this.ack('puback', packet.packetId);
    if (packet.qos !== 2) return;
    this.ack('pubrec', packet.packetId);
    const pubrel = await this.find('pubrel');
    assert.equal(pubrel.packetId, packet.packetId);
    assert.equal(pubrel.reason, 0);
    this.ack('pubcomp', packet.packetId);
  }

  /** Sends an acknowledgement for a PUBLISH of the broker. */
  ack(kind: 'puback' | 'pubrec' | 'pubcomp', packetId: number, reason?: number): void {
    this.send(ackPacket(kind, packetId, reason));
    if (kind !== 'pubrec' || (reason ?? 0) >= 0x80) this.#open.delete(packetId);
  }

  /** Sends a PUBLISH and waits for nothing. */
  sendPublish(topic: string, payload: string | Uint8Array, options: PublishOptions = {}): void {
    this.send(publishPacket(topic, payload, options));
  }

  /** Sends a PUBREL. */
  release(packetId: number): void {
    this.send(ackPacket('pubrel', packetId));
  }

  /** Takes an id for settled that was acknowledged in bytes of the test's own. */
  forget(packetId: number): void {
    this.#open.delete(packetId);
  }

  /** Ends the connection as 5.0 wants it, and waits for the broker's side of the close. */
  async disconnect(reason?: number, properties?: Properties): Promise<void> {
    this.send(disconnectPacket(reason, properties));
    await this.#until(() => this.isClosed, 'the close after DISCONNECT', PATIENCE_MS);
  }

  /** Breaks the connection off without a word. */
  drop(): void {
    this.socket.resetAndDestroy();
  }

  #onData(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    try {
      const { packets, taken } = decodeBrokerPackets(this.#unread);
      this.#unread = this.#unread.subarray(taken);
      for (const packet of packets) {
        this.#hold(packet);
        this.queue.push(packet);
      }
    } catch (error) {
      this.#breach ??= error instanceof Error ? error : new Error(String(error));
    }
    this.#wake();
  }

  /** Holds the broker to the limits this client set in CONNECT, and to those of the protocol. */
  #hold(packet: BrokerPacket): void {
    const { maximumPacketSize = 268_435_460, requestProblem = 1 } = this.#limits;
    assert.ok(packet.bytes.length <= maximumPacketSize, '[MQTT-3.1.2-24] Maximum Packet Size');
    if (this.connack === undefined) {
      const opens = packet.type === 'connack' || packet.type === 'auth';
      assert.ok(opens, `[MQTT-3.2.0-1] ${packet.type} before CONNACK`);
      if (packet.type === 'connack') this.connack = packet;
    } else {
      assert.notEqual(packet.type, 'connack', '[MQTT-3.2.0-2] CONNACK is sent once');
    }
    if (requestProblem === 0 && !['publish', 'connack', 'disconnect'].includes(packet.type)) {
      assert.deepEqual(packet.properties, {}, '[MQTT-3.1.2-29] no problem information wanted');
    }
    if (packet.type === 'publish') this.#holdPublish(packet);
  }

  #holdPublish(packet: BrokerPacket): void {
    const { topicAlias } = packet.properties;
    if (topicAlias !== undefined) {
      const most = this.#limits.topicAliasMaximum ?? 0;
      assert.ok(topicAlias <= most, '[MQTT-3.1.2-26] [MQTT-3.1.2-27] Topic Alias Maximum');
      if (packet.topic !== '') this.#aliases.set(topicAlias, packet.topic);
      const meant = this.#aliases.get(topicAlias);
      assert.ok(meant !== undefined, '[MQTT-3.3.2-7] the alias was set on this connection');
      packet.topic = meant;
    }
    if (packet.qos === 0) return;
    const taken = this.#open.has(packet.packetId);
    assert.ok(!taken, `[MQTT-2.2.1-4] [MQTT-4.4.0-1] id ${packet.packetId} is still in use`);
    this.#open.add(packet.packetId);
    const most = this.#limits.receiveMaximum ?? 65_535;
    assert.ok(this.#open.size <= most, '[MQTT-3.3.4-9] Receive Maximum');
  }

  async #until(fact: () => boolean, what: string, patienceMs: number): Promise<void> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      if (this.#breach !== undefined) throw this.#breach;
      if (fact()) return;
      const seen = `have [${this.queue.map(show).join('; ')}]`;
      assert.ok(!this.isClosed, `closed while waiting for ${what}, ${seen}`);
      const leftMs = deadline - Date.now();
      assert.ok(leftMs > 0, `in vain: waiting for ${what}, ${seen}`);
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, leftMs);
      });
      clearTimeout(timer);
    }
  }
}

/** A reason code as the standard writes it. */
export function hex(code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`;
}

function show(packet: BrokerPacket): string {
  const name =
    packet.topic === '' ? '' : ` ${packet.topic.slice(0, 60)}=${packet.payload.slice(0, 40)}`;
  return `${packet.type} ${hex(packet.reason)} id ${packet.packetId}${name}`;
}

/** A TCP connection on which nothing has been sent. */
export async function openClient(ending: Ending, port: number): Promise<V5Client> {
  const socket = connectSocket({ port, host: '127.0.0.1' });
  const client = new V5Client(socket);
  ending.after(() => {
    socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return client;
}

/** A connected client; without `clientId` it has one of its own. */
export async function connectClient(
  ending: Ending,
  port: number,
  options: ConnectOptions = {},
): Promise<V5Client> {
  const client = await openClient(ending, port);
  client.sendConnect({ clientId: unique('c'), ...options });
  const connack = await client.next('connack');
  assert.equal(hex(connack.reason), '0x00');
  return client;
}

/**
 * Nothing is under way to `receiver`: a later message of `sender`, sent along the same path,
 * is the next packet it gets.
 */
export async function nothingReaches(receiver: V5Client, sender: V5Client): Promise<void> {
  const topic = unique('fence/');
  const suback = await receiver.subscribe(topic, 1);
  assert.deepEqual(suback.reasons, [1]);
  await sender.publish(topic, 'fence', { qos: 1 });
  const packet = await receiver.receive();
  assert.equal(packet.topic, topic, `unexpected ${show(packet)}`);
  await receiver.unsubscribe(topic);
}
