/**
 * P2P messages of clients that are away: kept from the first on until the client comes.
 *
 * A mailbox is a subscription (ADR 7). Where the client has a session it is one of its; where it
 * has none, a row of its own says from where in the log its messages are.
 */
import type { Position, Settled } from '#ports';
import type { Broker } from './broker.ts';
import type { Departures } from './departures.ts';
import type { InstanceSpace } from './instance-space.ts';
import { isMailbox, mailboxText, mayHaveMailbox } from './mailbox.ts';
import type { Session } from './session.ts';
import type { StoredSession } from './session-store.ts';
import type { StoredSubscription } from './subscription.ts';

const DAY = 86_400;

/** Whose it is, with or without a session. */
type Owner = Pick<Session, 'space' | 'key' | 'clientId'>;

export class KeptMail {
  readonly #broker: Broker;
  readonly #departures: Departures;

  constructor(broker: Broker, departures: Departures) {
    this.#broker = broker;
    this.#departures = departures;
  }

  /** Up to where the client has its P2P messages; `undefined`: it has no mailbox. */
  async mailOf(key: string, stored: StoredSession | undefined): Promise<Position | undefined> {
    const mailbox = stored?.subscriptions.find((item) => isMailbox(item.text));
    if (mailbox === undefined) return undefined;
    if (stored?.mailboxOnly === true) return mailbox.since;
    const cursor = await this.#broker.sessions.readCursor(key);
    if (cursor === undefined) return mailbox.since;
    return Math.max(mailbox.since, unreadFrom(cursor.next, cursor.deliveries));
  }

  /** For the first P2P message to a client that has no session; false: it cannot be kept. */
  make(owner: Owner): boolean {
    const { space, key, clientId } = owner;
    if (!mayHaveMailbox(clientId)) return false;
    if (space.mailboxes.size >= this.#broker.limits.mailboxCountMax) return false;
    const end = space.log.end();
    if (this.#departures.has(key)) this.keep(owner, end);
    else this.#begin(owner, end);
    return true;
  }

  /** Every session of a compatible instance has one; what came while there was none is read now. */
  open(session: Session, mail: Position | undefined): void {
    const { space, clientId } = session;
    if (!space.guard.compatible || !mayHaveMailbox(clientId)) return;
    if (session.subscriptions.has(mailboxText(clientId))) return;
    const end = space.log.end();
    const since = mail ?? end;
    space.subscribe(session, storedMailbox(clientId, since));
    if (since >= end) return;
    session.next = Math.min(session.next, since);
    session.live = false;
    session.behind = true;
    if (!session.durable) session.readsUntil = end; // what comes from here on comes live
  }

  /** The session ends with its connection: mail that it has not had is kept. */
  leave(session: Session): void {
    const { live, next, readsUntil, inflight, space } = session;
    if (readsUntil === Number.POSITIVE_INFINITY || space.instance.removed) return;
    const read = unreadFrom(live ? readsUntil : next, inflight.list());
    if (read < readsUntil) this.keep(session, read);
  }

  /** In the same commit as the message that it is made for. */
  #begin({ space, key, clientId }: Owner, since: Position): void {
    const stored = this.#stored(space, clientId, since);
    this.#write(key, stored, {
      patient: true,
      settled: (fault) => {
        // Nor was the message kept: the next one makes it anew.
        if (fault !== undefined) space.uncountOffline(stored.subscriptions);
      },
    });
    space.countOffline(stored.subscriptions);
  }

  /** Until the client comes, or its messages are no longer kept. */
  keep({ space, key, clientId }: Owner, since: Position): void {
    const stored = this.#stored(space, clientId, since);
    const write = (settled: Settled): void => this.#write(key, stored, settled);
    this.#departures.begin({ space, key, write });
    space.countOffline(stored.subscriptions);
  }

  #stored({ instance }: InstanceSpace, clientId: string, since: Position): StoredSession {
    const seconds = Math.ceil(Math.min(instance.limits.offlineMessageAgeMs / 1000, DAY * 30));
    return {
      expirySeconds: seconds,
      disconnectedMs: this.#broker.clock.nowMs(),
      keepsIds: false,
      mailboxOnly: true,
      subscriptions: [storedMailbox(clientId, since)],
    };
  }

  #write(key: string, stored: StoredSession, settled: Settled): void {
    const { sessions } = this.#broker;
    sessions.setExpiry(key, stored.disconnectedMs + stored.expirySeconds * 1000);
    sessions.rewrite(key, stored, settled);
  }
}

function storedMailbox(clientId: string, since: Position): StoredSubscription {
  const text = mailboxText(clientId);
  return { text, qos: 2, noLocal: false, retainAsPublished: false, identifier: 0, since };
}

/** Up to here a client has all of its messages that it has acknowledged in order. */
function unreadFrom(next: Position, open: readonly { readonly position: Position }[]): Position {
  let since = next;
  for (const { position } of open) {
    if (position > 0) since = Math.min(since, position - 1);
  }
  return since;
}
