/**
 * Cursors on their way to disk.
 *
 * QoS 1 can do without haste: what is lost with a crash is delivered once more, so dirty cursors
 * are written once a second. QoS 2 cannot: a packet id must be on disk before its PUBLISH leaves,
 * and a PUBREC before its PUBREL, so urgent cursors are written at the end of the turn and the
 * packets follow the commit. What the disk refuses stays dirty, and is written again.
 */
import type { Fault } from '#base';
import type { Settled } from '#ports';
import { PUBREL } from './acks.ts';
import type { Broker } from './broker.ts';
import { ConnectionState, type Connection } from './connection.ts';
import { send } from './delivery.ts';
import { settleLease } from './leases.ts';
import type { Session, UnsentDelivery } from './session.ts';
import type { SharedGroup } from './shared-group.ts';

/** So long cursors are written before others get their turn; looked at now and then. */
const SLICE_MS = 3;
const LOOK_EVERY = 8;

export class CursorWriter {
  readonly #broker: Broker;
  #dirty = new Set<Session>();
  /** Those of the last look that are still to be written. */
  #due = new Set<Session>();
  readonly #dirtyGroups = new Set<SharedGroup>();
  #urgent: Session[] = [];
  /** Number of the run of writes under way: what is in one run is in one commit. */
  #commit = 0;
  readonly #urgentGroups = new Set<SharedGroup>();

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  markDirty(session: Session): void {
    if (session.dirty || !session.durable) return;
    session.dirty = true;
    this.#dirty.add(session);
  }

  markGroupDirty(group: SharedGroup): void {
    if (group.durable) this.#dirtyGroups.add(group);
  }

  markUrgent(session: Session): void {
    if (session.urgent) return;
    session.urgent = true;
    this.#urgent.push(session);
  }

  markGroupUrgent(group: SharedGroup): void {
    this.#urgentGroups.add(group);
  }

  forget(session: Session): void {
    session.dirty = false;
    this.#dirty.delete(session);
    this.#due.delete(session);
  }

  /** Writes what has changed since the last time. */
  writeDirty(): void {
    this.#commit++;
    for (const group of this.#dirtyGroups) this.#writeGroup(group);
    if (this.#due.size > 0) return; // the last time is not over
    [this.#due, this.#dirty] = [this.#dirty, this.#due];
    this.#writeDue();
  }

  /** A slice at a time, so that others get their turn. */
  readonly #writeDue = (): void => {
    const { clock, sessions } = this.#broker;
    const untilMs = clock.monotonicMs() + SLICE_MS;
    let count = 0;
    for (const session of this.#due) {
      this.forget(session);
      sessions.writeCursor(session, {
        patient: true,
        settled: (fault) => {
          if (fault !== undefined && session.connection !== undefined) this.markDirty(session);
        },
      });
      if (++count % LOOK_EVERY === 0 && clock.monotonicMs() > untilMs) break;
    }
    if (this.#due.size > 0) setImmediate(this.#writeDue);
  };

  /** The cursor of a session that leaves, and with it the rows of groups that are giving to it. */
  writeWithGroups(session: Session): void {
    this.#commit++;
    const groups = new Set<SharedGroup>();
    for (const lease of session.leases?.values() ?? []) {
      if (lease.qos !== 2) continue;
      lease.commit = this.#commit;
      groups.add(lease.group);
    }
    this.#broker.sessions.writeCursor(session);
    for (const group of groups) this.#writeGroup(group);
  }

  #writeGroup(group: SharedGroup, packets: readonly Settled[] = []): void {
    this.#dirtyGroups.delete(group);
    if (group.empty) return;
    const row = new GroupRow(this, group, packets);
    this.#broker.sessions.writeGroup(group, this.#commit, row);
  }

  /** Writes what packets wait for; they leave with the commit. */
  writeUrgent(): void {
    if (this.#urgent.length === 0 && this.#urgentGroups.size === 0) return;
    this.#commit++;
    /** What leaves once the row of a group says that the message is its member's. */
    const behind = new Map<SharedGroup, PacketsBehindCommit[]>();
    const urgent = this.#urgent;
    this.#urgent = [];
    for (const session of urgent) {
      session.urgent = false;
      const { connection, unsent, releases } = session;
      session.unsent = undefined;
      session.releases = undefined;
      if (connection === undefined) continue;
      this.forget(session);
      const packets = new PacketsBehindCommit(session, connection, unsent ?? [], releases ?? []);
      session.commitsOut++;
      if (session.durable) this.#writeUrgently(session, packets);
      else this.#sendBehindGroup(session, packets, behind);
    }
    // In the same commit as their members' cursors: a message is always somebody's.
    for (const group of this.#urgentGroups) this.#writeGroup(group, behind.get(group));
    this.#urgentGroups.clear();
  }

  #writeUrgently(session: Session, packets: PacketsBehindCommit): void {
    for (const { packetId } of packets.unsent) {
      const lease = session.leases?.get(packetId);
      if (lease !== undefined) lease.commit = this.#commit;
    }
    this.#broker.sessions.writeCursor(session, packets);
    if (packets.releases.length === 0 || this.#dirtyGroups.size === 0) return;
    // Once the client may forget a message, no row says that its group is still giving it.
    for (const group of session.groups ?? []) {
      if (this.#dirtyGroups.has(group)) this.#urgentGroups.add(group);
    }
  }

  /** A session that ends with its connection has no row: its groups' say what they gave it. */
  #sendBehindGroup(
    session: Session,
    packets: PacketsBehindCommit,
    behind: Map<SharedGroup, PacketsBehindCommit[]>,
  ): void {
    for (const { packetId } of packets.unsent) {
      const group = session.leases?.get(packetId)?.group;
      if (group === undefined || group.empty) continue;
      this.#urgentGroups.add(group);
      const others = behind.get(group);
      if (others === undefined) behind.set(group, [packets]);
      else others.push(packets);
      return;
    }
    packets.settled(undefined);
  }
}

class PacketsBehindCommit implements Settled {
  readonly #session: Session;
  readonly #connection: Connection;
  readonly unsent: readonly UnsentDelivery[];
  readonly releases: readonly number[];

  constructor(
    session: Session,
    connection: Connection,
    unsent: readonly UnsentDelivery[],
    releases: readonly number[],
  ) {
    this.#session = session;
    this.#connection = connection;
    this.unsent = unsent;
    this.releases = releases;
  }

  settled(fault: Fault | undefined): void {
    this.#session.commitsOut--;
    const connection = this.#connection;
    const { broker } = connection;
    if (fault === undefined) this.#remembered();
    if (connection.state !== ConnectionState.open) return;
    if (fault !== undefined) {
      broker.disconnect(connection, fault.code, fault.message);
      return;
    }
    const nowMs = broker.clock.nowMs();
    for (const item of this.unsent) {
      broker.replayed.load(item.message, item.message.topicBytes, nowMs);
      if (item.qos === 1) broker.metrics.messagesSentQos1++;
      else broker.metrics.messagesSentQos2++;
      send(connection, item.delivery, broker.replayed, item.qos, item.packetId, item.retain);
    }
    for (const id of this.releases) broker.ackWriter.write(connection, PUBREL, id, 0);
    broker.turn.schedule();
  }

  /** At QoS 2 they are the session's from here on. */
  #remembered(): void {
    for (const { qos, packetId } of this.unsent) {
      if (qos === 2) settleLease(this.#session, packetId);
    }
  }
}

/** The row of a group on its way: refused, it is written again. */
class GroupRow implements Settled {
  readonly patient?: true;
  readonly #writer: CursorWriter;
  readonly #group: SharedGroup;
  readonly #packets: readonly Settled[];

  constructor(writer: CursorWriter, group: SharedGroup, packets: readonly Settled[]) {
    this.#writer = writer;
    this.#group = group;
    this.#packets = packets;
    if (packets.length === 0) this.patient = true;
  }

  settled(fault: Fault | undefined): void {
    if (fault !== undefined) this.#writer.markGroupDirty(this.#group);
    for (const packets of this.#packets) packets.settled(fault);
  }
}
