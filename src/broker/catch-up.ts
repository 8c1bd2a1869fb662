/**
 * What sessions that are behind are served by: their filters, arranged, and the messages read
 * ahead of their windows, so that the price of a page is not paid again for each message.
 *
 * All of it can be made again at any time, so it is kept only while it is used: a session that
 * rests, or that hears of messages live, has none of it a moment later.
 */
import {
  FilterSet,
  type LogEntry,
  type LogFilter,
  type LogPage,
  NEVER,
  type Position,
} from '#ports';
import type { Broker } from './broker.ts';
import { isMailbox } from './mailbox.ts';
import type { Session } from './session.ts';
import { type Delivery, stillOwed, type Subscription } from './subscription.ts';

const SWEEP_PERIOD_MS = 1000;
/** What an entry takes beside its bytes, roughly. */
const ENTRY_BYTES = 320;

/** A subscription as it asks the log; `NEVER`: what it is for comes live. */
export interface LoggedFilter extends LogFilter {
  readonly subscription: Subscription;
}

/** Made of the subscriptions a session has; with the next change of them it is void. */
export class CatchUp {
  readonly filters: FilterSet<LoggedFilter>;
  /** Beyond it all subscriptions have begun: a topic has one delivery. */
  readonly settledAt: Position;
  /** How the session gets the topics of the page, where it is settled. */
  readonly deliveries: Map<string, Delivery | undefined> = new Map();
  /** Read, and handed over up to `handed`. */
  page: LogPage | undefined = undefined;
  handed = 0;
  bytes = 0;
  /** Since the last sweep. */
  used = true;

  constructor(session: Session) {
    const filters: LoggedFilter[] = [];
    let settledAt: Position = 0;
    for (const subscription of session.subscriptions.values()) {
      const { filter, since, share, earlier } = subscription;
      if (share !== undefined) continue;
      settledAt = Math.max(settledAt, since);
      for (const { until } of earlier ?? []) settledAt = Math.max(settledAt, until);
      filters.push({ filter, after: askedAfter(session, subscription), subscription });
    }
    this.filters = new FilterSet(filters);
    this.settledAt = settledAt;
  }
}

/** What is still owed of an earlier grant is asked for as well. */
function askedAfter(session: Session, { text, qos, since, earlier }: Subscription): Position {
  if (!session.durable && !isMailbox(text)) return NEVER; // comes live
  const after = qos > 0 ? since : NEVER;
  const owed = stillOwed(earlier, session.next) ?? [];
  return owed.reduce((from, grant) => Math.min(from, grant.since), after);
}

export class CatchUps {
  readonly #broker: Broker;
  readonly #sessions = new Set<Session>();
  /** Of the messages read ahead, all sessions. */
  #bytes = 0;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /** Sweeps from now on; the answer stops it. */
  start(): () => void {
    return this.#broker.clock.every(SWEEP_PERIOD_MS, () => this.#sweep());
  }

  of(session: Session): CatchUp {
    session.catchUp ??= this.#make(session);
    session.catchUp.used = true;
    return session.catchUp;
  }

  /** No more may be read ahead. */
  get full(): boolean {
    return this.#bytes >= this.#broker.limits.readAheadBytesMax;
  }

  /** The page was handed over up to `handed`; the rest stays, if there is room for it. */
  keep(catchUp: CatchUp, page: LogPage, handed: number): void {
    if (catchUp.page !== page) {
      const bytes = bytesOf(page.entries, handed);
      if (this.#bytes + bytes > this.#broker.limits.readAheadBytesMax) {
        this.turnPage(catchUp);
        return;
      }
      catchUp.page = page;
      catchUp.bytes = bytes;
      this.#bytes += bytes;
    }
    catchUp.handed = handed;
  }

  /** The page is used up, or is to be read again. */
  turnPage(catchUp: CatchUp): void {
    this.#bytes -= catchUp.bytes;
    catchUp.bytes = 0;
    catchUp.page = undefined;
    catchUp.deliveries.clear();
  }

  forget(session: Session): void {
    const { catchUp } = session;
    if (catchUp === undefined) return;
    this.turnPage(catchUp);
    session.catchUp = undefined;
    this.#sessions.delete(session);
  }

  #make(session: Session): CatchUp {
    this.#sessions.add(session);
    return new CatchUp(session);
  }

  #sweep(): void {
    for (const session of this.#sessions) {
      const catchUp = session.catchUp!;
      if (catchUp.used || session.reading) catchUp.used = false;
      else this.forget(session);
    }
  }
}

function bytesOf(entries: readonly LogEntry[], from: number): number {
  let bytes = 0;
  for (let i = from; i < entries.length; i++) {
    const { topic, payloadStart, payloadEnd, propertiesStart, propertiesEnd } = entries[i]!;
    bytes += ENTRY_BYTES + topic.length + payloadEnd - payloadStart;
    bytes += propertiesEnd - propertiesStart;
  }
  return bytes;
}
