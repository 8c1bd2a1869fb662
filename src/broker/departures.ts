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
import { keepApartAgain } from './retained-inflight.ts';
import type { Session } from './session.ts';
import { expiryMs } from './session-store.ts';

const RETRY_MS = 1000;

interface Departure {
  readonly session: Session;
  readonly nowMs: number;
}

export class Departures {
  readonly #broker: Broker;
  readonly #byKey = new Map<string, Departure>();

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  begin(session: Session, nowMs: number): void {
    // It stays where it is, whenever that is written.
    session.next = session.reached;
    session.live = false;
    const departure: Departure = { session, nowMs };
    this.#byKey.set(session.key, departure);
    this.#write(departure);
  }

  /** Settles once all that is known of the session is on disk; rejects where that is refused. */
  async finish(key: string): Promise<void> {
    const departure = this.#byKey.get(key);
    if (departure === undefined) return;
    await new Promise<void>((resolve, reject) => {
      const settled: Settled['settled'] = (fault) =>
        fault === undefined ? resolve() : reject(fault);
      this.#writeRows(departure, { settled });
    });
    if (this.#isUnderWay(departure)) this.forget(key);
  }

  /** The session is over. */
  forget(key: string): void {
    this.#byKey.delete(key);
  }

  #write(departure: Departure): void {
    const { session } = departure;
    this.#writeRows(departure, {
      patient: true,
      settled: (fault) => {
        if (!this.#isUnderWay(departure)) return;
        if (fault === undefined) this.forget(session.key);
        else this.#broker.clock.after(RETRY_MS, () => this.#writeAgain(departure));
      },
    });
  }

  #writeAgain(departure: Departure): void {
    if (!this.#isUnderWay(departure)) return;
    const { session } = departure;
    if (session.space.instance.removed) this.forget(session.key);
    else this.#write(departure);
  }

  #writeRows({ session, nowMs }: Departure, settled: Settled): void {
    const { sessions } = this.#broker;
    keepApartAgain(session);
    sessions.writeCursor(session);
    const atMs = expiryMs(session.expirySeconds, nowMs);
    if (atMs !== undefined) sessions.setExpiry(session.key, atMs);
    sessions.write(session, nowMs, settled);
  }

  /** It may be over, or the session was taken up and left anew since. */
  #isUnderWay(departure: Departure): boolean {
    return this.#byKey.get(departure.session.key) === departure;
  }
}
