/**
 * Clients that do what the standard wants of them, whatever happens to the broker.
 *
 * A publisher with a durable session sends again what is not acknowledged, under the same packet
 * ids, in the same order, with DUP. A subscriber remembers the ids of QoS 2 until PUBREL. Both
 * come back by themselves when a connection breaks.
 */
import type { Chance } from './chance.ts';
import type { Ledger, LedgerMessage, Receipts } from './ledger.ts';
import { type PeerVersion, SwarmPeer } from './swarm-peer.ts';

const RETRY_MS = 25;

/** What goes wrong in a way no test expects: the broker's breach, told at the end. */
export type Complain = (text: string) => void;

/** Keeps one connection up until told to rest. */
abstract class Resident {
  readonly clientId: string;
  protected readonly port: number;
  protected readonly version: PeerVersion;
  protected readonly complain: Complain;
  protected peer: SwarmPeer | undefined;
  protected open = false;
  #wanted = false;
  #greeted = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ResidentOptions) {
    this.clientId = options.clientId;
    this.port = options.port;
    this.version = options.version;
    this.complain = options.complain;
  }

  get isOpen(): boolean {
    return this.open;
  }

  start(): void {
    this.#wanted = true;
    if (this.peer === undefined) this.#dial();
  }

  /** Goes away without a word and stays away. */
  rest(): void {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.peer?.drop();
    this.#ended();
  }

  /** Breaks the connection off and comes back. */
  stumble(): void {
    if (this.peer === undefined) return;
    this.peer.drop();
    this.#ended();
    if (this.#wanted) this.#timer = setTimeout(() => this.#dial(), RETRY_MS);
  }

  protected abstract get durable(): boolean;
  protected abstract greeted(peer: SwarmPeer, sessionPresent: boolean): void;
  protected abstract callbacks(): Omit<
    ConstructorParameters<typeof SwarmPeer>[2],
    'connack' | 'close'
  >;
  protected lost(): void {}
  protected get receiveMaximum(): number | undefined {
    return undefined;
  }

  #dial(): void {
    clearTimeout(this.#timer);
    const durable = this.durable;
    const connect = {
      clientId: this.clientId,
      clean: !durable,
      version: this.version,
      ...(durable && this.version === 5 ? { expirySeconds: 0xffff_ffff } : {}),
      ...(this.version === 5 && this.receiveMaximum !== undefined
        ? { receiveMaximum: this.receiveMaximum }
        : {}),
    };
    const peer: SwarmPeer = new SwarmPeer(this.port, connect, {
      ...this.callbacks(),
      disconnect: (reason) => {
        if (reason !== 0x8b) this.complain(`${this.clientId}: DISCONNECT ${reason.toString(16)}`);
      },
      connack: (code, present) => {
        if (code !== 0) return this.complain(`${this.clientId}: CONNACK ${code}`);
        if (durable && this.#greeted && !present) this.complain(`${this.clientId}: session lost`);
        this.#greeted = true;
        this.open = true;
        this.greeted(peer, present);
      },
      close: () => {
        if (this.peer !== peer) return;
        this.#ended();
        if (this.#wanted) this.#timer = setTimeout(() => this.#dial(), RETRY_MS);
      },
    });
    this.peer = peer;
  }

  #ended(): void {
    this.peer = undefined;
    this.open = false;
    this.lost();
  }
}

export interface ResidentOptions {
  readonly clientId: string;
  readonly port: number;
  readonly version: PeerVersion;
  readonly complain: Complain;
}

export interface PublisherOptions extends ResidentOptions {
  readonly ledger: Ledger;
  readonly chance: Chance;
  readonly durable: boolean;
  readonly qos: readonly (1 | 2)[];
  readonly topics: readonly string[];
  readonly retain?: boolean;
  /** Packet ids are few, so that they come round often. */
  readonly idMax?: number;
  readonly window?: number;
}

interface Open {
  readonly packetId: number;
  readonly message: LedgerMessage;
  released: boolean;
}

export class SwarmPublisher extends Resident {
  readonly #options: PublisherOptions;
  /** In the order of sending: they are sent again in that order. */
  readonly #inflight = new Map<number, Open>();
  #sequence = 0;
  #lastId = 0;

  constructor(options: PublisherOptions) {
    super(options);
    this.#options = options;
  }

  get openCount(): number {
    return this.#inflight.size;
  }

  protected get durable(): boolean {
    return this.#options.durable;
  }

  /** Sends up to `count` new messages, as far as the window allows. */
  work(count: number): void {
    const { chance, topics, qos, window = 20 } = this.#options;
    for (let i = 0; i < count && this.open && this.#inflight.size < window; i++) {
      this.say(chance.pick(topics), chance.pick(qos));
    }
  }

  /** One message now; the connection must be open. */
  say(topic: string, qos: 1 | 2): LedgerMessage {
    const sequence = this.#sequence++;
    const key = `${this.clientId}:${sequence}`;
    const publisher = this.clientId;
    const message = { key, publisher, topic, qos, sequence, acknowledged: false };
    this.#options.ledger.enter(message);
    const packetId = this.#freeId();
    this.#inflight.set(packetId, { packetId, message, released: false });
    this.#send(packetId, message, false);
    return message;
  }

  protected override greeted(): void {
    for (const open of this.#inflight.values()) {
      if (open.released) this.peer!.ack('pubrel', open.packetId);
      else this.#send(open.packetId, open.message, true);
    }
  }

  protected override lost(): void {
    if (!this.durable) this.#inflight.clear(); // with the session goes what it had open
  }

  protected override callbacks(): object {
    return {
      ack: (name: string, packetId: number, reason: number): void => {
        const open = this.#inflight.get(packetId);
        if (open === undefined)
          return this.complain(`${this.clientId}: ${name} ${packetId} of nothing`);
        // A PUBREL sent again may find that its id was released before the crash.
        if (reason >= 0x80 && !(name === 'pubcomp' && reason === 0x92)) {
          this.complain(`${this.clientId}: ${name} ${packetId} 0x${reason.toString(16)}`);
        }
        if (name === 'pubrec') {
          open.message.acknowledged = true;
          open.released = true;
          this.peer!.ack('pubrel', packetId);
          return;
        }
        if (name === 'puback') open.message.acknowledged = true;
        this.#inflight.delete(packetId);
      },
    };
  }

  #send(packetId: number, message: LedgerMessage, dup: boolean): void {
    const { qos } = message;
    const retain = this.#options.retain ?? false;
    this.peer!.publish(message.topic, message.key, { qos, packetId, dup, retain });
  }

  #freeId(): number {
    const most = this.#options.idMax ?? 60;
    do this.#lastId = (this.#lastId % most) + 1;
    while (this.#inflight.has(this.#lastId));
    return this.#lastId;
  }
}

export interface SubscriberOptions extends ResidentOptions {
  readonly ledger: Ledger;
  readonly receipts: Receipts;
  readonly filters: readonly (readonly [string, number])[];
  readonly receiveMaximum?: number;
  /** Acknowledgements wait this long, in order. */
  readonly ackDelayMs?: number;
}

/** A durable subscriber. */
export class SwarmSubscriber extends Resident {
  readonly receipts: Receipts;
  /** It holds its subscriptions. */
  subscribed = false;
  readonly #options: SubscriberOptions;
  /** QoS 2 ids received and not released: the client's part of exactly once. */
  readonly #held = new Set<number>();
  readonly #acks: (() => void)[] = [];
  #ackTimer: NodeJS.Timeout | undefined;

  constructor(options: SubscriberOptions) {
    super(options);
    this.#options = options;
    this.receipts = options.receipts;
  }

  matches(topic: string, test: (filter: string, topic: string) => boolean): boolean {
    return this.#options.filters.some(([filter]) => test(filter, topic));
  }

  protected get durable(): boolean {
    return true;
  }

  protected override get receiveMaximum(): number | undefined {
    return this.#options.receiveMaximum;
  }

  protected override greeted(peer: SwarmPeer, present: boolean): void {
    if (!present) this.#held.clear();
    if (!this.subscribed) peer.subscribe(1, this.#options.filters);
  }

  protected override lost(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#acks.length = 0;
  }

  protected override callbacks(): object {
    return {
      suback: (_id: number, codes: readonly number[]): void => {
        const wanted = this.#options.filters.map(([, qos]) => qos);
        if (codes.join() !== wanted.join())
          this.complain(`${this.clientId}: SUBACK ${codes.join()}`);
        this.subscribed = true;
      },
      publish: (publish: { payload: string; qos: number; packetId: number }): void => {
        const { payload, qos, packetId } = publish;
        if (qos === 2) {
          if (!this.#held.has(packetId)) this.#receive(payload);
          this.#held.add(packetId);
          this.#answer(() => this.peer?.ack('pubrec', packetId));
          return;
        }
        this.#receive(payload);
        if (qos === 1) this.#answer(() => this.peer?.ack('puback', packetId));
      },
      ack: (name: string, packetId: number): void => {
        if (name !== 'pubrel') return;
        this.#held.delete(packetId);
        this.#answer(() => this.peer?.ack('pubcomp', packetId));
      },
    };
  }

  #receive(payload: string): void {
    const message = this.#options.ledger.messages.get(payload);
    if (message === undefined) this.complain(`${this.clientId}: unknown message ${payload}`);
    else this.receipts.enter(message);
  }

  #answer(answer: () => void): void {
    const delayMs = this.#options.ackDelayMs ?? 0;
    if (delayMs === 0) return answer();
    this.#acks.push(answer);
    this.#ackTimer ??= setTimeout(() => {
      this.#ackTimer = undefined;
      for (const one of this.#acks.splice(0)) one();
    }, delayMs);
  }
}
