/**
 * What members of shared groups were given and have not acknowledged, and what a group may still
 * give to another: QoS 1 until it is acknowledged, QoS 2 until the row by which the member's
 * session remembers it is on disk, behind which it is sent [MQTT-4.8.2-4] [MQTT-4.8.2-5].
 *
 * The group's word counts. A durable session that comes back asks for the leases of the packet
 * ids it finds in its row: what nobody took meanwhile goes on as it was [MQTT-4.4.0-1], what the
 * group has no more is not sent again.
 */
import type { Position } from '#ports';
import type { Qos } from '#wire';
import { InflightState } from './inflight.ts';
import type { InstanceSpace } from './instance-space.ts';
import type { KeptMessage } from './kept-message.ts';
import type { Session } from './session.ts';
import type { SharedGroup } from './shared-group.ts';

/** A message of a group that one member was given. */
export class Lease {
  readonly group: SharedGroup;
  /** 0: the message is not in the log. */
  readonly position: Position;
  readonly message: KeptMessage | undefined;
  readonly qos: Qos;
  /** Key of the durable session that was given it; empty: it ends with its connection. */
  readonly holder: string;
  readonly packetId: number;
  /** The commit in which its member's row goes to disk, while that is issued. */
  commit = 0;

  // A constructor of many parameters: one is made for each message a group gives.
  // oxlint-disable-next-line max-params
  constructor(
    group: SharedGroup,
    position: Position,
    message: KeptMessage | undefined,
    qos: Qos,
    holder: string,
    packetId: number,
  ) {
    this.group = group;
    this.position = position;
    this.message = message;
    this.qos = qos;
    this.holder = holder;
    this.packetId = packetId;
  }
}

/** As a group's row says it. */
export interface StoredLeases {
  /** Of nobody who could come back. */
  readonly outstanding: readonly Position[];
  /** By durable session: packet id, position and QoS of each, one behind the other. */
  readonly held?: readonly (readonly [string, readonly number[]])[] | undefined;
}

/** All leases of one group. */
export class GroupLeases {
  /** By position: those of logged messages. */
  readonly #open = new Map<Position, Lease>();
  /** Those that came back and may be given to others, the oldest first. */
  readonly #returned = new Set<Lease>();
  #returnedBytes = 0;

  /** Nothing is with a member, and nothing came back. */
  get empty(): boolean {
    return this.#open.size === 0 && this.#returned.size === 0;
  }

  get returnedCount(): number {
    return this.#returned.size;
  }

  /** Bytes in memory of messages that came back. */
  get returnedBytes(): number {
    return this.#returnedBytes;
  }

  open(lease: Lease): void {
    if (lease.position > 0) this.#open.set(lease.position, lease);
  }

  /** False: it was over before, or the message is with another member. */
  end(lease: Lease): boolean {
    if (this.#returned.size > 0) this.take(lease);
    if (this.#open.get(lease.position) !== lease) return false;
    this.#open.delete(lease.position);
    forgetAbsent(lease);
    return true;
  }

  /** Neither over nor given to another. */
  has(lease: Lease): boolean {
    return lease.position === 0 || this.#open.get(lease.position) === lease;
  }

  giveBack(lease: Lease): void {
    if (this.#returned.has(lease)) return;
    this.#returned.add(lease);
    this.#returnedBytes += lease.message?.bytes ?? 0;
  }

  /** It is no longer to be given to another. */
  take(lease: Lease): void {
    if (this.#returned.delete(lease)) this.#returnedBytes -= lease.message?.bytes ?? 0;
  }

  isReturned(lease: Lease): boolean {
    return this.#returned.has(lease);
  }

  /** The first so many that came back. */
  returned(countMax: number): Lease[] {
    const first: Lease[] = [];
    for (const lease of this.#returned) {
      if (first.length === countMax) break;
      first.push(lease);
    }
    return first;
  }

  /** The group is no more. */
  clear(): void {
    for (const lease of this.#open.values()) forgetAbsent(lease);
    this.#open.clear();
    this.#returned.clear();
    this.#returnedBytes = 0;
  }

  /** As they stand once that commit is on disk. */
  stored(commit: number): StoredLeases {
    const outstanding: Position[] = [];
    const held = new Map<string, number[]>();
    for (const lease of this.#open.values()) {
      const { holder, qos, position, packetId } = lease;
      const back = this.#returned.has(lease);
      // On disk it is the member's with this very commit, or will be before it is sent.
      if (!back && qos === 2 && (holder === '' || lease.commit === commit)) continue;
      if (holder === '') {
        outstanding.push(position);
        continue;
      }
      const list = held.get(holder);
      if (list === undefined) held.set(holder, [packetId, position, qos]);
      else list.push(packetId, position, qos);
    }
    return { outstanding, held: held.size === 0 ? undefined : [...held] };
  }

  restore(group: SharedGroup, { outstanding, held }: StoredLeases): void {
    for (const position of outstanding) {
      const lease = new Lease(group, position, undefined, 1, '', 0);
      this.open(lease);
      this.giveBack(lease);
    }
    for (const [holder, list] of held ?? []) {
      for (let at = 0; at < list.length; at += 3) {
        const qos = list[at + 2] as Qos;
        const lease = new Lease(group, list[at + 1]!, undefined, qos, holder, list[at]!);
        this.open(lease);
        setAside(lease);
        if (qos === 1) this.giveBack(lease);
      }
    }
  }
}

/** Kept for its holder, should that come back in time. */
function setAside(lease: Lease): void {
  const { absent } = lease.group.space;
  const own = absent.get(lease.holder);
  if (own === undefined) absent.set(lease.holder, new Map([[lease.packetId, lease]]));
  else own.set(lease.packetId, lease);
}

function forgetAbsent(lease: Lease): void {
  if (lease.holder === '') return;
  const { absent } = lease.group.space;
  const own = absent.get(lease.holder);
  if (own?.get(lease.packetId) !== lease) return;
  own.delete(lease.packetId);
  if (own.size === 0) absent.delete(lease.holder);
}

/** The member acknowledged, or its session remembers the message from here on. */
export function settleLease(session: Session, packetId: number): void {
  const lease = session.leases?.get(packetId);
  if (lease === undefined) return;
  forgetLease(session, lease);
  lease.group.settled(lease);
}

function forgetLease(session: Session, lease: Lease): void {
  session.leases!.delete(lease.packetId);
  session.leaseBytes -= lease.message?.bytes ?? 0;
}

/** The member may not have the message: another one may. */
export function passOn(session: Session, packetId: number): void {
  const lease = session.leases?.get(packetId);
  if (lease === undefined) return;
  forgetLease(session, lease);
  if (lease.group.leases.has(lease)) lease.group.giveBack(lease);
}

/** The row by which a durable session remembers what it was given is on disk. */
export function settleRemembered(session: Session): void {
  for (const lease of session.leases?.values() ?? []) {
    if (lease.qos === 2) settleLease(session, lease.packetId);
  }
}

/**
 * A durable session keeps what it was given by groups that it has left, or that keep nothing for
 * it any more: it comes again to its client, and goes to nobody else.
 */
export function keepOwn(session: Session): void {
  for (const lease of session.leases?.values() ?? []) {
    const place = session.subscriptions.get(`$share/${lease.group.key}`);
    if (place !== undefined && place.qos > 0) continue;
    settleLease(session, lease.packetId);
    const { broker } = session.space;
    broker.writeGroup(lease.group); // in one commit
    broker.markUrgent(session);
  }
}

/** The connection ends. What is not a lease any more stays with a session that stays. */
export function returnLeases(session: Session, stays: boolean): void {
  if (stays) keepOwn(session);
  for (const lease of session.leases?.values() ?? []) {
    const { group } = lease;
    if (!group.leases.has(lease)) continue;
    if (!stays) {
      session.inflight.advance(lease.packetId, InflightState.free);
      group.giveBack(lease);
    } else if (lease.position > 0) {
      setAside(lease);
      if (lease.qos === 1) group.giveBack(lease); // QoS 2 is its own once its row is on disk
    }
  }
  const queue = session.pending ?? [];
  for (let i = session.pendingHead; i < queue.length; i++) {
    const { group, message, qos } = queue[i]!;
    group?.giveBack(new Lease(group, 0, message, qos, '', 0));
  }
  session.pending = undefined;
  session.pendingHead = 0;
  // Else it is looked at again once its rows are on disk.
  if (!stays) session.leases = undefined;
}

/** A durable session that was away is over: what it was not sent goes to others. */
export function dropLeases(space: InstanceSpace, key: string): void {
  const own = space.absent.get(key);
  space.absent.delete(key);
  for (const lease of own?.values() ?? []) lease.group.giveBack(lease);
}

/** A durable session is back: of what groups gave it, it goes on with what is still its own. */
export function claimLeases(session: Session): void {
  const { absent } = session.space;
  const own = absent.get(session.key);
  absent.delete(session.key);
  session.resend = session.resend?.filter(({ id, position, leased, state }) => {
    if (!leased) return true;
    const lease = own?.get(id);
    if (lease?.position === position) {
      own!.delete(id);
      lease.group.leases.take(lease);
      (session.leases ??= new Map()).set(id, lease);
      return true;
    }
    // At QoS 1 it was acknowledged, or is another's; at QoS 2 it is the session's.
    if (state !== InflightState.awaitsPuback) return true;
    session.inflight.advance(id, InflightState.free);
    return false;
  });
  // No row has their packet ids: at QoS 2 they were not sent.
  for (const lease of own?.values() ?? []) lease.group.giveBack(lease);
}
