/**
 * Sessions whose client has gone, until what they leave behind is on disk: it is written until it
 * is there, or until the client is back.
 *
 * Whoever takes a session up before that waits for it. So a client is told nothing that a crash
 * could take back, and what was on its way to the disk when its connection ended is decided: a
 * packet id that the disk refuses is nobody's, not the group's and the session's both.
 */
import type { Settled } from '#ports';
import type { Broker } from './broker.ts';
import { durably } from './durably.ts';
import type { InstanceSpace } from './instance-space.ts';
import { settleRemembered } from './leases.ts';
import { keepApartAgain } from './retained-inflight.ts';
import type { Session } from './session.ts';
import { expiryMs } from './session-store.ts';

const RETRY_MS = 1000;

/** What a client left behind. */
export interface Departure {
  readonly space: InstanceSpace;
  /** Of its session. */
  readonly key: string;
  write(settled: Settled): void;
  /** It is on disk. */
  written?(): void;
}

export class Departures {
  readonly #broker: Broker;
  readonly #byKey = new Map<string, Departure>();
  /** Those that the disk refused, until they are written again. */
  readonly #refused = new Set<Departure>();

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /** What was left behind before, and is not on disk, is written with it. */
  begin(departure: Departure): void {
    const earlier = this.#byKey.get(departure.key);
    const whole: Departure =
      earlier === undefined
        ? departure
        : {
            ...departure,
            write: (settled) => {
              earlier.write({ settled: () => {} });
              departure.write(settled);
            },
          };
    this.#byKey.set(departure.key, whole);
    this.#write(whole);
  }

  /** The broker is stopping: the disk is asked a last time for what it refused. */
  close(): void {
    for (const departure of this.#refused) this.#writeAgain(departure);
  }

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  /** Its client has gone, and the session stays. */
  leave(session: Session, nowMs: number): void {
    // It stays where it is, whenever that is written.
    session.next = session.reached;
    session.live = false;
    const { space, key } = session;
    this.begin({
      space,
      key,
      write: (settled) => this.#writeRows(session, nowMs, settled),
      written: () => settleRemembered(session),
    });
  }

  /** Its client has gone, and the session is over. */
  end(session: Session): void {
    const { space, key, inbound = [] } = session;
    const ids = { inbound, retained: [...(session.retainedInflight?.keys() ?? [])] };
    const pages = session.pages?.count ?? 0;
    this.begin({
      space,
      key,
      write: (settled) => this.#broker.sessions.remove(key, pages, ids, settled),
    });
  }

  /** Settles once all that is known of the session is on disk; rejects where that is refused. */
  async finish(key: string): Promise<void> {
    const departure = this.#byKey.get(key);
    if (departure === undefined) return;
    await durably((settled) => departure.write(settled));
    this.#done(departure);
  }

  /** The session is over. */
  forget(key: string): void {
    this.#byKey.delete(key);
  }

  #write(departure: Departure): void {
    departure.write({
      patient: true,
      settled: (fault) => {
        if (!this.#isUnderWay(departure)) return;
        if (fault === undefined) return this.#done(departure);
        this.#refused.add(departure);
        const { clock, closing } = this.#broker;
        if (!closing) clock.after(RETRY_MS, () => this.#writeAgain(departure));
      },
    });
  }

  #done(departure: Departure): void {
    if (!this.#isUnderWay(departure)) return;
    this.forget(departure.key);
    departure.written?.();
  }

  #writeAgain(departure: Departure): void {
    if (!this.#refused.delete(departure) || !this.#isUnderWay(departure)) return;
    if (departure.space.instance.removed) this.forget(departure.key);
    else this.#write(departure);
  }

  #writeRows(session: Session, nowMs: number, settled: Settled): void {
    const { sessions, cursors } = this.#broker;
    keepApartAgain(session);
    cursors.writeWithGroups(session);
    const atMs = expiryMs(session.expirySeconds, nowMs);
    if (atMs !== undefined) sessions.setExpiry(session.key, atMs);
    sessions.write(session, nowMs, settled);
  }

  /** It may be over, or the session was taken up and left anew since. */
  #isUnderWay(departure: Departure): boolean {
    return this.#byKey.get(departure.key) === departure;
  }
}
