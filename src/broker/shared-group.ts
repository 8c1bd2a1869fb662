/**
 * A shared subscription: `$share/name/filter`. Each message goes to one member.
 *
 * What must survive is read from the log by one cursor of the group's own; members hold leases
 * on what they were given (`leases.ts`). A QoS 1 lease comes back when its member's connection
 * ends, and goes to whoever can take it first, that member included. A group whose last durable
 * member has gone while others are online goes on with the log until they have what it owes.
 */
import { FilterSet, type LogEntry, type Position } from '#ports';
import type { Qos } from '#wire';
import {
  deliverQos0,
  deliverTransient,
  effectiveQos,
  handOver,
  handOverApart,
} from './delivery.ts';
import type { InstanceSpace } from './instance-space.ts';
import { KeptMessage } from './kept-message.ts';
import { GroupLeases, Lease } from './leases.ts';
import type { Publication } from './publication.ts';
import type { Session } from './session.ts';
import type { StoredGroup } from './session-store.ts';
import type { Subscription } from './subscription.ts';

/** From this many messages a turn on, a member gets several in a row, so they leave as one piece. */
const BURST_MIN = 256;
const BURST_ROW = 16;
const PAGE_COUNT_MAX = 256;
const REDELIVER_COUNT_MAX = 32;
const RETRY_MS = 1000;
const PAGE_BYTES_MAX = 1024 * 1024;

export class SharedGroup {
  readonly space: InstanceSpace;
  /** Its key in the table of groups. */
  readonly key: string;
  readonly filter: string;
  readonly members: Subscription[] = [];
  live = true;
  next: Position = 0;
  behind = false;
  readonly leases: GroupLeases = new GroupLeases();
  /** Members of durable sessions, online and offline, that subscribed at QoS 1 or 2. */
  #durableCount = 0;
  /** It has none left, and still owes what was taken while it had. */
  #owes = false;
  #turn = 0;
  #burst = 0;
  #index = 0;
  #reading = false;

  constructor(space: InstanceSpace, key: string, filter: string) {
    this.space = space;
    this.key = key;
    this.filter = filter;
  }

  /** What is published at QoS 1 or 2 comes to it by the log. */
  get durable(): boolean {
    return this.#durableCount > 0 || this.#owes;
  }

  get empty(): boolean {
    return this.members.length === 0 && this.#durableCount === 0;
  }

  /** A durable member subscribed. The group must not miss anything from here on. */
  addDurable(): void {
    if (this.#durableCount++ > 0) return;
    if (this.#owes) this.space.broker.writeGroup(this);
    else this.begin(this.space.log.issued());
    this.#owes = false;
  }

  /** Durable members found in the store: the group's own row says where it stands. */
  countDurable(by: 1 | -1): void {
    this.#durableCount += by;
    if (by < 0 && this.#durableCount === 0) {
      this.#owes = true;
      this.#payOff();
    }
  }

  /** All is given that was taken for durable members: the others get what comes as it comes. */
  #payOff(): void {
    if (!this.#owes || !this.live || !this.leases.empty) return;
    const { space } = this;
    if (space.dispatched < space.log.issued()) return; // what was issued may be for it
    this.#owes = false;
    space.groupChanged(this);
  }

  join(member: Subscription): void {
    member.group = this;
    this.members.push(member);
    (member.delivery.session.groups ??= []).push(this);
    if (this.behind) member.delivery.session.behind = true;
  }

  leave(member: Subscription): void {
    const at = this.members.indexOf(member);
    if (at >= 0) this.members.splice(at, 1);
    member.group = undefined;
    const { session } = member.delivery;
    const groups = session.groups;
    const mine = groups?.indexOf(this) ?? -1;
    if (mine >= 0) groups!.splice(mine, 1);
  }

  /**
   * A message as it is published, where the log has no part in it. Answers the member that got
   * it where all of them are behind.
   */
  publish(publication: Publication): Session | undefined {
    if (publication.qos > 0 && this.durable) return undefined; // comes by `dispatch` once logged
    const member = this.#pick(publication.qos);
    const { metrics } = this.space.broker;
    if (member === undefined) {
      metrics.droppedNoMember++;
      return undefined;
    }
    const { delivery } = member;
    const qos = effectiveQos(publication.qos, delivery.qos);
    const retain = delivery.retainAsPublished && publication.retain;
    if (qos === 0) deliverQos0(delivery, publication, retain);
    else deliverTransient(delivery, publication, qos, retain, this);
    return delivery.session.congested ? delivery.session : undefined;
  }

  /** A logged message, committed; `before` is the position committed before it. */
  dispatch(publication: Publication, position: Position, before: Position): void {
    if (!this.durable || !this.live || position <= this.next) return;
    const member = this.#ready();
    if (member === undefined) {
      this.#fallBehind(before);
      return;
    }
    this.#give(member, publication, position);
    this.#payOff();
  }

  /** It has what was published up to `end`, or has no part in it. */
  begin(end: Position): void {
    this.live = true;
    this.next = end;
    // At once: without its row a group begins anew after a crash.
    this.space.broker.writeGroup(this);
  }

  /** A logged message that was not kept in memory: the group reads it from the log. */
  fallBehind(position: Position, before: Position): void {
    if (!this.durable || !this.live || position <= this.next) return;
    this.#fallBehind(before);
  }

  #fallBehind(before: Position): void {
    this.live = false;
    this.next = Math.max(this.next, before);
    this.markBehind();
  }

  /** A member was given a message under that packet id. */
  // oxlint-disable-next-line max-params
  lend(
    session: Session,
    packetId: number,
    qos: Qos,
    position: Position,
    message: KeptMessage | undefined,
  ): void {
    const holder = session.durable ? session.key : '';
    const lease = new Lease(this, position, message, qos, holder, packetId);
    (session.leases ??= new Map()).set(packetId, lease);
    session.leaseBytes += message?.bytes ?? 0;
    if (position === 0) return;
    this.leases.open(lease);
    if (qos === 2) this.space.broker.writeGroup(this); // in one commit with the member's row
  }

  /** The member acknowledged, or its session remembers the message. */
  settled(lease: Lease): void {
    if (!this.leases.end(lease)) return;
    this.space.broker.markGroupDirty(this);
    this.#payOff();
  }

  /** A lease came back: the message may be given to another. */
  giveBack(lease: Lease): void {
    if (this.empty) return;
    const { limits, metrics } = this.space.broker;
    const { leases } = this;
    const full =
      leases.returnedCount >= limits.returnedCountMax ||
      leases.returnedBytes >= limits.returnedBytesMax;
    if (full && lease.position === 0) {
      metrics.droppedNoMember++;
      return;
    }
    leases.giveBack(lease);
    if (this.behind) this.space.broker.pumpLater(this);
    else this.markBehind();
  }

  /** Redelivers what came back, then reads on where the group had fallen behind. */
  pump(): void {
    if (this.#reading || !this.behind) return;
    if (this.#ready() === undefined) return;
    if (this.leases.returnedCount > 0) this.#attempt(this.#redeliver());
    else if (!this.live && this.durable) this.#attempt(this.#read());
    else this.behind = false;
  }

  /** A log that cannot be read now is read again a little later. */
  #attempt(work: Promise<void>): void {
    const { broker } = this.space;
    work.catch((error: unknown) => {
      broker.log.error('a shared group could not be served; tried again', {
        group: this.key,
        error: String(error),
      });
      broker.clock.after(RETRY_MS, () => this.pump());
    });
  }

  markBehind(): void {
    this.behind = true;
    for (const member of this.members) member.delivery.session.behind = true;
    this.space.broker.pumpLater(this);
  }

  /** What the store keeps: the cursor, and whose is what was given out, as that commit says it. */
  stored(commit: number): StoredGroup {
    const next = this.live ? Math.max(this.space.dispatched, this.next) : this.next;
    return { next, ...this.leases.stored(commit) };
  }

  restore(stored: StoredGroup): void {
    this.next = stored.next;
    this.live = false;
    this.leases.restore(this, stored);
    this.behind = true;
  }

  #give(member: Subscription, publication: Publication, position: Position): void {
    const { delivery } = member;
    const qos = effectiveQos(publication.qos, delivery.qos);
    if (qos === 0) {
      deliverQos0(delivery, publication, delivery.retainAsPublished && publication.retain);
      return;
    }
    handOver(delivery, publication, qos, position, this);
    this.space.broker.markGroupDirty(this);
  }

  /** The next member in turn that could take a message; failing that, the next in turn. */
  #pick(qos: Qos): Subscription | undefined {
    const { members } = this;
    const count = members.length;
    if (count === 0) return undefined;
    const turn = this.space.broker.turnNumber;
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.#burst = 0;
    }
    const inARow = ++this.#burst > BURST_MIN && this.#burst % BURST_ROW !== 0;
    if (!inARow) this.#index++;
    for (let tried = 0; tried < count; tried++) {
      if (this.#index >= count) this.#index = 0;
      const member = members[this.#index]!;
      if (takes(member, qos)) return member;
      this.#index++;
    }
    if (this.#index >= count) this.#index = 0;
    return members[this.#index];
  }

  #ready(): Subscription | undefined {
    const member = this.#pick(2);
    return member !== undefined && takes(member, 2) ? member : undefined;
  }

  async #redeliver(): Promise<void> {
    const { leases } = this;
    const returned = leases.returned(REDELIVER_COUNT_MAX);
    const positions = returned.map((lease) => lease.position).filter((at) => at > 0);
    let entries: readonly (LogEntry | undefined)[];
    this.#reading = true;
    try {
      entries = positions.length === 0 ? [] : await this.space.log.get(positions);
    } finally {
      this.#reading = false;
    }
    let index = 0;
    for (const lease of returned) {
      const message = lease.position === 0 ? lease.message : entries[index++];
      if (!leases.isReturned(lease)) continue; // its member is back and goes on with it
      const member = this.#ready();
      if (member === undefined) break;
      leases.end(lease);
      if (message === undefined) continue; // retention took it
      this.#giveLoaded(member, message, lease.position);
    }
    this.space.broker.markGroupDirty(this);
    this.space.broker.turn.schedule();
    this.#pumpOn();
  }

  #giveLoaded(member: Subscription, message: KeptMessage | LogEntry, position: Position): void {
    const { broker } = this.space;
    const nowMs = broker.clock.nowMs();
    if (message.expiresMs > 0 && message.expiresMs <= nowMs) {
      broker.metrics.messagesExpired++;
      return;
    }
    broker.replayed.load(message, Buffer.from(message.topic), nowMs);
    if (message instanceof KeptMessage) this.#giveUnlogged(member, message);
    else this.#give(member, broker.replayed, position);
  }

  #giveUnlogged({ delivery }: Subscription, message: KeptMessage): void {
    const { replayed } = this.space.broker;
    const qos = effectiveQos(message.qos, delivery.qos);
    const retain = delivery.retainAsPublished && message.retain;
    if (qos === 0) deliverQos0(delivery, replayed, retain);
    else if (delivery.session.durable) handOverApart(delivery, message, qos, retain, this);
    else deliverTransient(delivery, replayed, qos, retain, this);
  }

  async #read(): Promise<void> {
    this.#reading = true;
    try {
      const page = await this.space.log.read({
        filters: new FilterSet([{ filter: this.filter, after: 0 }]),
        after: this.next,
        countMax: PAGE_COUNT_MAX,
        bytesMax: PAGE_BYTES_MAX,
      });
      for (const entry of page.entries) {
        if (!this.space.guard.isFor('', entry.topic)) {
          this.next = entry.position; // P2P messages are not shared
          continue;
        }
        const member = this.#ready();
        if (member === undefined) return;
        this.#giveLoaded(member, entry, entry.position);
        this.next = entry.position;
      }
      this.next = page.next;
      if (page.complete && page.next >= this.space.dispatched) this.live = true;
      this.space.broker.markGroupDirty(this);
    } finally {
      this.#reading = false;
      this.space.broker.turn.schedule();
    }
    this.#pumpOn();
  }

  #pumpOn(): void {
    if (this.leases.returnedCount > 0 || !this.live) {
      this.space.broker.pumpLater(this);
      return;
    }
    this.behind = false;
    this.#payOff();
  }
}

function takes(member: Subscription, qos: Qos): boolean {
  const { session } = member.delivery;
  const { connection } = session;
  if (connection === undefined || connection.congested) return false;
  if (qos === 0) return true;
  const { pendingBytesMax } = connection.broker.limits;
  return session.windowOpen && session.pendingCount === 0 && session.leaseBytes < pendingBytesMax;
}
