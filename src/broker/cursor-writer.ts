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
import { InflightState } from './inflight.ts';
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

  /** Its client has gone before the end of the turn. */
  withdraw(session: Session): void {
    giveBack(session, session.unsent ?? []);
    session.unsent = undefined;
    session.releases = undefined;
  }

  /** Writes what has changed since the last time. */
  writeDirty(): void {
    this.#writeGroups(this.#dirtyGroups);
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

  /** Writes what packets wait for; they leave with the commit. */
  writeUrgent(): void {
    if (this.#urgent.length > 0) {
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
        this.#broker.sessions.writeCursor(session, packets);
      }
    }
    // In the same commit as their members' cursors: a message is always somebody's.
    this.#writeGroups(this.#urgentGroups);
  }

  #writeGroups(groups: Set<SharedGroup>): void {
    for (const group of groups) {
      if (group.empty) continue;
      this.#broker.sessions.writeGroup(group, {
        patient: true,
        settled: (fault) => {
          if (fault !== undefined) this.markGroupDirty(group);
        },
      });
    }
    groups.clear();
  }
}

/** What was to leave with a commit that does not come: a group has its QoS 2 messages back. */
function giveBack({ inflight }: Session, unsent: readonly UnsentDelivery[]): void {
  for (const { group, position, qos, packetId } of unsent) {
    if (group === undefined || qos !== 2) continue;
    inflight.advance(packetId, InflightState.free);
    group.takeBack(position);
  }
}

class PacketsBehindCommit implements Settled {
  readonly #session: Session;
  readonly #connection: Connection;
  readonly #unsent: readonly UnsentDelivery[];
  readonly #releases: readonly number[];

  constructor(
    session: Session,
    connection: Connection,
    unsent: readonly UnsentDelivery[],
    releases: readonly number[],
  ) {
    this.#session = session;
    this.#connection = connection;
    this.#unsent = unsent;
    this.#releases = releases;
  }

  settled(fault: Fault | undefined): void {
    this.#session.commitsOut--;
    const connection = this.#connection;
    const { broker } = connection;
    if (fault !== undefined) giveBack(this.#session, this.#unsent);
    if (connection.state !== ConnectionState.open) return;
    if (fault !== undefined) {
      broker.disconnect(connection, fault.code, fault.message);
      return;
    }
    const nowMs = broker.clock.nowMs();
    for (const item of this.#unsent) {
      broker.replayed.load(item.message, item.message.topicBytes, nowMs);
      if (item.qos === 1) broker.metrics.messagesSentQos1++;
      else broker.metrics.messagesSentQos2++;
      send(connection, item.delivery, broker.replayed, item.qos, item.packetId, item.retain);
    }
    for (const id of this.#releases) broker.ackWriter.write(connection, PUBREL, id, 0);
    broker.turn.schedule();
  }
}
