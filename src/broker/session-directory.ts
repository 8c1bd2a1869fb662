/**
 * Who owns which session: one connection at a time, for each client identifier.
 *
 * Claims of one identifier take their turns, so a session is never given twice however fast a
 * client reconnects; what happens between two awaits of a claim is checked again after them.
 */
import type { Caller } from '#identity';
import type { Position } from '#ports';
import type { Broker } from './broker.ts';
import type { Connection } from './connection.ts';
import { Departures } from './departures.ts';
import { durably } from './durably.ts';
import { groupKey, type InstanceSpace } from './instance-space.ts';
import { KeptMail } from './kept-mail.ts';
import { claimLeases, dropLeases, type Lease, returnLeases } from './leases.ts';
import { replayRetained } from './retained-replay.ts';
import { Session } from './session.ts';
import type { SharedGroup } from './shared-group.ts';
import { splitShare, type StoredSubscription } from './subscription.ts';
import { EXPIRY_BUCKET_MS, expiryMs, type StoredIds, type StoredSession } from './session-store.ts';

const NO_IDS: StoredIds = { inbound: [], retained: [] };
const SWEEP_PERIOD_MS = 1000;
const RETRY_MS = 1000;
/** Sessions removed at a time when many have expired: they share commits. */
const REMOVALS_AT_ONCE = 512;

export interface Claim {
  readonly clientId: string;
  readonly cleanStart: boolean;
  readonly expirySeconds: number;
}

export class SessionDirectory {
  readonly #broker: Broker;
  readonly #claims = new Map<string, Promise<void>>();
  readonly #departures: Departures;
  readonly #keptMail: KeptMail;
  #sweeping = false;
  #sweptMs = 0;

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#departures = new Departures(broker);
    this.#keptMail = new KeptMail(broker, this.#departures);
  }

  /** Gives the connection its session; answers whether there was one to go on with. */
  async claim(connection: Connection, caller: Caller, claim: Claim): Promise<boolean> {
    const space = this.#broker.space(caller.instance);
    const key = space.sessionKey(claim.clientId);
    const release = await this.#turnOf(key);
    try {
      if (connection.gone) return false;
      const online = space.online.get(claim.clientId)?.connection;
      if (online !== undefined) {
        this.#broker.metrics.sessionsTakenOver++;
        this.#broker.disconnect(online, 'sessionTakenOver'); // [MQTT-3.1.4-2] [MQTT-3.1.4-3]
      }
      return await this.#take(connection, space, key, claim);
    } finally {
      release();
    }
  }

  async #take(
    connection: Connection,
    space: InstanceSpace,
    key: string,
    claim: Claim,
  ): Promise<boolean> {
    const { sessions, wills } = this.#broker;
    await this.#departures.finish(key);
    let stored = await sessions.read(key);
    const over = stored !== undefined && this.#isOver(stored);
    const mail = over ? undefined : await this.#keptMail.mailOf(key, stored);
    if (stored !== undefined && (claim.cleanStart || over || stored.mailboxOnly === true)) {
      await this.#removeStored(space, key, stored);
      stored = undefined;
    }
    if (claim.cleanStart) await wills.sessionEnded(key);
    const session = new Session(space, claim.clientId, key, claim.expirySeconds);
    if (stored === undefined) {
      session.next = space.dispatched;
      await wills.sessionEnded(key);
    } else {
      session.durable = true; // what is stored of it goes on being stored until it ends
      await this.#restore(session, stored);
    }
    // The client may have left while we read: then the session stays as it was stored.
    if (connection.gone) {
      if (stored === undefined && mail !== undefined) this.#keptMail.keep(session, mail);
      return false;
    }
    if (stored !== undefined) {
      this.#clearExpiry(key, stored);
      for (const item of stored.subscriptions) space.subscribe(session, item);
      session.absentUpTo = space.retained.newest();
      space.uncountOffline(stored.subscriptions); // after: a group of this one alone must not end
      wills.resumed(key);
      this.#broker.metrics.sessionsResumed++;
    }
    claimLeases(session);
    this.#keptMail.open(session, mail);
    session.connection = connection;
    replayRetained(session);
    connection.session = session;
    space.online.set(claim.clientId, session);
    const will = connection.connect?.will;
    // In one commit with the session's row. Of a connection that is not accepted it is not sent.
    const kept = will === undefined ? undefined : wills.keep(session, will);
    try {
      if (stored !== undefined) this.#writeOnline(session);
      else if (session.durable) await this.#begin(session, mail);
    } catch (error) {
      if (kept !== undefined) wills.forget(session);
      throw error;
    }
    if (kept !== undefined) {
      const own = await kept;
      if (connection.gone) wills.forget(session);
      else connection.will = own;
    }
    return stored !== undefined;
  }

  /** A new session is one once its row is on disk. */
  async #begin(session: Session, mail: Position | undefined): Promise<void> {
    try {
      await durably((settled) => this.#broker.sessions.write(session, 0, settled));
    } catch (error) {
      // Nothing of it stays, and nothing of it is on disk.
      session.expirySeconds = 0;
      session.durable = false;
      if (mail !== undefined && session.connection !== undefined)
        this.#keptMail.keep(session, mail);
      throw error;
    }
  }

  /** That its client is back is written until it is written, or the client has gone. */
  #writeOnline(session: Session): void {
    const { sessions, clock } = this.#broker;
    sessions.write(session, 0, {
      patient: true,
      settled: (fault) => {
        if (fault === undefined) return;
        clock.after(RETRY_MS, () => {
          if (session.connection !== undefined) this.#writeOnline(session);
        });
      },
    });
  }

  /** The connection ends: its session goes offline, or ends with it. */
  detach(connection: Connection): void {
    const { session } = connection;
    if (session === undefined || session.connection !== connection) return;
    const { cursors, clock, wills } = this.#broker;
    session.connection = undefined;
    session.replay?.end();
    session.space.online.delete(session.clientId);
    cursors.forget(session);
    const stays = session.expirySeconds > 0;
    returnLeases(session, stays);
    if (!stays) {
      session.space.endSession(session);
      if (session.durable) this.#departures.end(session);
      this.#keptMail.leave(session);
      wills.connectionClosed(connection, 0);
      return;
    }
    const nowMs = clock.nowMs();
    this.#departures.leave(session, nowMs); // before going offline: what is live is caught up
    session.space.goOffline(session);
    wills.connectionClosed(connection, session.expirySeconds);
  }

  /** For the first P2P message to a client that has no session; false: it cannot be kept. */
  makeMailbox(space: InstanceSpace, clientId: string): boolean {
    const key = space.sessionKey(clientId);
    return !this.#claims.has(key) && this.#keptMail.make({ space, key, clientId });
  }

  /** A new expiry at DISCONNECT (5.0). */
  setExpiry(session: Session, expirySeconds: number): void {
    session.expirySeconds = session.space.guard.expirySeconds(expirySeconds);
  }

  /** Reads all stored sessions: counts their subscriptions, ends those whose time is up. */
  async load(): Promise<void> {
    const { sessions, clock } = this.#broker;
    const nowMs = clock.nowMs();
    const removals: Promise<void>[] = [];
    const begun = new GroupBeginnings();
    for await (const { key, stored } of sessions.all()) {
      const space = this.#broker.spaceOfKey(key);
      if (space === undefined) {
        const ids = stored.keepsIds ? await sessions.readIds(key) : NO_IDS;
        sessions.remove(key, stored.pages ?? 0, ids);
        continue;
      }
      space.countOffline(stored.subscriptions);
      begun.note(space, stored.subscriptions);
      if (stored.disconnectedMs === 0) {
        // Online when the process ended: its connection was lost just now.
        sessions.rewrite(key, { ...stored, disconnectedMs: nowMs });
        const atMs = expiryMs(stored.expirySeconds, nowMs);
        if (atMs !== undefined) sessions.setExpiry(key, atMs);
      } else if (this.#isOver(stored)) {
        removals.push(this.#removeStored(space, key, stored));
        if (removals.length === REMOVALS_AT_ONCE) await Promise.all(removals.splice(0));
      }
    }
    await Promise.all(removals);
    for (const space of this.#broker.spaces.values()) {
      for (const group of space.groups.values()) {
        const found = await sessions.readGroup(group);
        // Without: it was refused, or the process was killed before it was written.
        group.restore(found ?? { next: begun.of(group) ?? space.log.end(), outstanding: [] });
      }
      for (const [key, leases] of space.absent) {
        await this.#settleHandOvers(key, [...leases.values()]);
      }
    }
    this.#sweptMs = bucketOf(nowMs);
    this.#broker.clock.every(SWEEP_PERIOD_MS, () => void this.#sweep());
  }

  /** Whose is what a group was about to give at QoS 2: the session's if its row says so. */
  async #settleHandOvers(key: string, leases: readonly Lease[]): Promise<void> {
    if (leases.every(({ qos }) => qos === 1)) return;
    const cursor = await this.#broker.sessions.readCursor(key);
    const places = new Map(cursor?.deliveries.map(({ id, position }) => [id, position]));
    for (const lease of leases) {
      if (lease.qos === 1) continue;
      if (places.get(lease.packetId) === lease.position) lease.group.settled(lease);
      else lease.group.giveBack(lease);
    }
  }

  /** Once all claims under way are done, what clients left behind is given to the disk. */
  async close(): Promise<void> {
    await Promise.all(this.#claims.values());
    this.#departures.close();
  }

  #isOver(stored: StoredSession): boolean {
    if (stored.disconnectedMs === 0) return false;
    const atMs = expiryMs(stored.expirySeconds, stored.disconnectedMs);
    return atMs !== undefined && atMs <= this.#broker.clock.nowMs();
  }

  async #removeStored(space: InstanceSpace, key: string, stored: StoredSession): Promise<void> {
    const { sessions, wills } = this.#broker;
    this.#clearExpiry(key, stored);
    const ids = stored.keepsIds ? await sessions.readIds(key) : NO_IDS;
    await durably((settled) => sessions.remove(key, stored.pages ?? 0, ids, settled));
    this.#departures.forget(key);
    dropLeases(space, key);
    space.uncountOffline(stored.subscriptions); // only now: a refused removal is tried again
    await wills.sessionEnded(key);
  }

  #clearExpiry(key: string, stored: StoredSession): void {
    const atMs = expiryMs(stored.expirySeconds, stored.disconnectedMs);
    if (atMs !== undefined) this.#broker.sessions.clearExpiry(key, atMs);
  }

  async #restore(session: Session, stored: StoredSession): Promise<void> {
    const { sessions } = this.#broker;
    session.live = false;
    session.behind = true;
    const cursor = await sessions.readCursor(session.key);
    // Without a cursor (killed before the first was written) the subscriptions say from where.
    session.next = cursor?.next ?? 0;
    for (const item of cursor?.deliveries ?? []) {
      session.inflight.restore(item);
      if (item.topic !== undefined) {
        session.retainedInflight ??= new Map();
        session.retainedInflight.set(item.id, item.topic);
      }
    }
    if (cursor !== undefined) {
      session.inflight.lastId = cursor.lastId;
      if (cursor.deliveries.length > 0) session.resend = [...cursor.deliveries];
      session.walk = cursor.walk;
    }
    for (const { text, owed } of stored.subscriptions) {
      if (owed !== undefined) (session.owed ??= new Set()).add(text);
    }
    session.keepsIds = stored.keepsIds;
    session.idsNoted = stored.keepsIds;
    const inbound = stored.keepsIds ? (await sessions.readIds(session.key)).inbound : [];
    if (stored.keepsIds) {
      session.inbound = new Set(inbound);
      session.inboundBefore = new Set(inbound);
    }
    if (stored.subscriptions.length === 0 && cursor === undefined) session.live = true;
  }

  async #turnOf(key: string): Promise<() => void> {
    let done: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      done = resolve;
    });
    const before = this.#claims.get(key);
    const chain = before === undefined ? mine : before.then(() => mine);
    this.#claims.set(key, chain);
    if (before !== undefined) await before;
    return () => {
      done();
      if (this.#claims.get(key) === chain) this.#claims.delete(key);
    };
  }

  /** Ends the offline sessions whose time is up. */
  async #sweep(): Promise<void> {
    if (this.#sweeping || this.#broker.closing) return;
    this.#sweeping = true;
    try {
      const nowMs = this.#broker.clock.nowMs();
      for (; this.#sweptMs <= nowMs; this.#sweptMs += EXPIRY_BUCKET_MS) {
        for await (const { key, atMs } of this.#broker.sessions.expiring(this.#sweptMs)) {
          if (atMs <= nowMs) await this.#expire(key, atMs);
        }
        if (this.#sweptMs + EXPIRY_BUCKET_MS > nowMs) break;
      }
    } catch (error) {
      this.#broker.log.error('session expiry failed; tried again', { error: String(error) });
    } finally {
      this.#sweeping = false;
    }
  }

  async #expire(key: string, atMs: number): Promise<void> {
    const release = await this.#turnOf(key);
    try {
      const { sessions, metrics } = this.#broker;
      const space = this.#broker.spaceOfKey(key);
      const stored = await sessions.read(key);
      // Whatever the row says: who is online goes on, and writes it anew.
      const isOnline = space?.isOnline(key) === true;
      const isOffline = stored !== undefined && stored.disconnectedMs > 0 && !isOnline;
      if (!isOffline || !this.#isOver(stored)) {
        sessions.clearExpiry(key, atMs);
        return;
      }
      if (space === undefined) return;
      if (stored.mailboxOnly !== true) metrics.sessionsExpired++;
      await this.#removeStored(space, key, stored);
    } finally {
      release();
    }
  }
}

/** Since when groups owe their durable members what is published, as these say. */
class GroupBeginnings {
  readonly #bySpace = new Map<InstanceSpace, Map<string, Position>>();

  note(space: InstanceSpace, subscriptions: readonly StoredSubscription[]): void {
    for (const { text, qos, since } of subscriptions) {
      const shared = splitShare(text);
      if (shared === undefined || qos === 0) continue;
      let known = this.#bySpace.get(space);
      if (known === undefined) this.#bySpace.set(space, (known = new Map()));
      const key = groupKey(shared.share, shared.filter);
      known.set(key, Math.min(known.get(key) ?? since, since));
    }
  }

  of({ space, key }: SharedGroup): Position | undefined {
    return this.#bySpace.get(space)?.get(key);
  }
}

function bucketOf(nowMs: number): number {
  return Math.floor(nowMs / EXPIRY_BUCKET_MS) * EXPIRY_BUCKET_MS;
}
