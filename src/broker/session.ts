/**
 * What outlives a connection: subscriptions, and how far each delivery to the client is.
 *
 * In memory only while its client is online. A durable session that goes offline leaves its rows
 * in the store and a count in the subscription tree; a transient one leaves nothing.
 */
import type { Position, Version } from '#ports';
import type { Qos } from '#wire';
import type { CatchUp } from './catch-up.ts';
import type { Connection } from './connection.ts';
import type { StoredDelivery } from './cursor-row.ts';
import type { DurableAnswer } from './durable-answers.ts';
import { Inflight } from './inflight.ts';
import type { InstanceSpace } from './instance-space.ts';
import type { KeptMessage } from './kept-message.ts';
import type { Lease } from './leases.ts';
import { mailboxText } from './mailbox.ts';
import { pump } from './pump.ts';
import type { RetainedReplay, RetainedWalk } from './retained-replay.ts';
import type { SharedGroup } from './shared-group.ts';
import type { Delivery, Subscription } from './subscription.ts';
import { SubscriptionPages } from './subscription-pages.ts';

/** A QoS 1/2 message that waits in memory for the window of a transient session. */
export interface PendingDelivery {
  readonly message: KeptMessage;
  readonly delivery: Delivery;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly group: SharedGroup | undefined;
}

/** A delivery that is sent once it is on disk whose it is: QoS 2, and what follows it. */
export interface UnsentDelivery {
  readonly packetId: number;
  readonly message: KeptMessage;
  readonly delivery: Delivery;
  readonly qos: Qos;
  readonly retain: boolean;
}

const NO_SUBSCRIPTIONS: ReadonlyMap<string, Subscription> = new Map();

export class Session {
  // What every PUBLISH reads stands first and together: see `Connection`.
  connection: Connection | undefined = undefined;
  pending: PendingDelivery[] | undefined = undefined;
  /** Its state is kept on disk. */
  durable: boolean;
  readonly space: InstanceSpace;
  /** Something waits for window or socket: look again when either opens. */
  behind = false;
  readonly clientId: string;
  pendingHead = 0;
  readonly inflight: Inflight = new Inflight();
  /** Deliveries of QoS 1/2 that may be open at once. */
  windowMax = 0;
  /** What was in flight when the session was stored, and is not sent again yet. */
  resend: StoredDelivery[] | undefined = undefined;
  /** Packet ids of QoS 2 publishes received and not released. */
  inbound: Set<number> | undefined = undefined;
  /** Those of them that this connection has not sent: they are not of its Receive Maximum. */
  inboundBefore: Set<number> | undefined = undefined;
  /** What it was given by shared groups, by packet id. */
  leases: Map<number, Lease> | undefined = undefined;
  /** Topics of messages in flight to a durable session that are not in the log. */
  retainedInflight: Map<number, string> | undefined = undefined;
  /** Those of them whose rows are not on disk yet. */
  retainedUnkept: Map<number, KeptMessage> | undefined = undefined;
  unsent: UnsentDelivery[] | undefined = undefined;
  /** Groups of packets on their way to the client whose commit has not settled. */
  commitsOut = 0;
  dirty = false;
  urgent = false;

  /** Its key in every table. */
  readonly key: string;
  /** Seconds after the end of the connection; 0: ends with it, 0xFFFFFFFF: never. */
  expirySeconds: number;
  /** By their text; shared and empty until the first one. */
  subscriptions: ReadonlyMap<string, Subscription> = NO_SUBSCRIPTIONS;
  /** Where they are kept; `undefined`: nowhere yet. */
  pages: SubscriptionPages | undefined = undefined;
  /** Levels of all its filters together. */
  filterLevels = 0;
  /** Bytes of all its filters together. */
  filterBytes = 0;
  /** Some of its packet ids have, or had, rows of their own. */
  keepsIds = false;
  /** Its row says so. */
  idsNoted = false;
  pendingBytes = 0;
  /** The client asked that its messages be exported in order. */
  ordered = false;
  /** Its queue was full: it is being ended. */
  overflowed = false;
  /** When the queue last moved, or began. */
  windowShutMs = 0;
  /** Bytes of the messages its leases hold in memory. */
  leaseBytes = 0;
  /** Subscriptions, by their text, whose retained messages wait for a walk to begin. */
  owed: Set<string> | undefined = undefined;
  /** How far the walks came; `undefined`: none began. */
  walk: RetainedWalk | undefined = undefined;
  /** The walk under way. */
  replay: RetainedReplay | undefined = undefined;
  /** The newest version of a retained message when the client came back; 0: it was never away. */
  absentUpTo: Version = 0;
  groups: SharedGroup[] | undefined = undefined;
  /** Hears of logged messages as they are committed; otherwise reads the log from `next`. */
  live = true;
  next: Position = 0;
  /** A transient session reads its mailbox up to here. */
  readsUntil: Position = Number.POSITIVE_INFINITY;
  reading = false;
  /** While it is behind, and only for as long as it is used. */
  catchUp: CatchUp | undefined = undefined;
  releases: number[] | undefined = undefined;
  /** Answers that wait for its row, which is written at the end of the turn. */
  answers: DurableAnswer[] | undefined = undefined;

  constructor(space: InstanceSpace, clientId: string, key: string, expirySeconds: number) {
    this.space = space;
    this.clientId = clientId;
    this.key = key;
    this.expirySeconds = expirySeconds;
    this.durable = expirySeconds > 0;
  }

  /** Puts a subscription in its place. */
  hold(subscription: Subscription): void {
    if (this.subscriptions === NO_SUBSCRIPTIONS) this.subscriptions = new Map();
    if (this.durable) this.#keep(subscription);
    (this.subscriptions as Map<string, Subscription>).set(subscription.text, subscription);
    if (this.catchUp !== undefined) this.space.broker.catchUps.forget(this);
  }

  #keep(subscription: Subscription): void {
    this.pages ??= new SubscriptionPages();
    const old = this.subscriptions.get(subscription.text);
    if (old?.page === undefined) this.pages.add(subscription);
    else this.pages.replace(old, subscription);
  }

  drop(subscription: Subscription): void {
    (this.subscriptions as Map<string, Subscription>).delete(subscription.text);
    if (subscription.page !== undefined) this.pages?.remove(subscription);
    if (this.catchUp !== undefined) this.space.broker.catchUps.forget(this);
    this.owed?.delete(subscription.text);
  }

  /** Without the one that the instance holds for it. */
  get ownSubscriptionCount(): number {
    return this.subscriptions.size - (this.subscriptions.has(mailboxText(this.clientId)) ? 1 : 0);
  }

  get windowOpen(): boolean {
    const { count, identifierBytes } = this.inflight;
    if (count >= this.windowMax || this.resend !== undefined) return false;
    if (identifierBytes === 0) return true;
    return identifierBytes < this.space.broker.limits.inflightIdentifierBytesMax;
  }

  /** Everything logged up to here was handed over, or is none of its. */
  get reached(): Position {
    return this.live ? Math.max(this.space.dispatched, this.next) : this.next;
  }

  get pendingCount(): number {
    return this.pending === undefined ? 0 : this.pending.length - this.pendingHead;
  }

  /** Behind by so much that its publishers should wait, if it moves on at all. */
  get congested(): boolean {
    const { connection } = this;
    if (connection === undefined) return false;
    return connection.congested || this.pendingCount >= connection.broker.limits.pendingCountHigh;
  }

  /** Since when neither socket nor window has taken anything; 0: they take what they get. */
  get stuckSinceMs(): number {
    return this.connection?.congested === true ? this.connection.blockedSinceMs : this.windowShutMs;
  }

  get sendsBehindCommit(): boolean {
    return this.unsent !== undefined || this.commitsOut > 0;
  }

  /** The client's input was handled, or its socket took what it was owed. */
  readHandled(): void {
    if (this.behind) pump(this);
  }
}
