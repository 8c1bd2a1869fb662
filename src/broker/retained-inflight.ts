/**
 * Retained messages on their way to the client of a durable session. They are not in the log, so
 * each has a row of its own until the client has it, and stays in memory until that row is on
 * disk: where the disk refuses it, the client is told, and the session leaves it behind with the
 * rest of what it leaves.
 */
import type { Fault } from '#base';
import type { Settled } from '#ports';
import type { KeptMessage } from './kept-message.ts';
import type { Session } from './session.ts';

/** Takes the row of a message that is sent under this packet id. */
export function keepApart(session: Session, id: number, message: KeptMessage): void {
  (session.retainedInflight ??= new Map()).set(id, message.topic);
  (session.retainedUnkept ??= new Map()).set(id, message);
  write(session, id, message);
}

/** Those that the disk has not taken, in the same commit as what follows. */
export function keepApartAgain(session: Session): void {
  for (const [id, message] of session.retainedUnkept ?? []) write(session, id, message);
}

/** The client has it, or is not to have it any more. */
export function forgetApart(session: Session, id: number): void {
  if (session.retainedInflight?.delete(id) !== true) return;
  session.retainedUnkept?.delete(id);
  session.space.broker.sessions.forgetRetained(session, id);
}

function write(session: Session, id: number, message: KeptMessage): void {
  session.space.broker.sessions.keepRetained(session, id, message, new Row(session, id, message));
}

class Row implements Settled {
  readonly patient = true;
  readonly #session: Session;
  readonly #id: number;
  readonly #message: KeptMessage;

  constructor(session: Session, id: number, message: KeptMessage) {
    this.#session = session;
    this.#id = id;
    this.#message = message;
  }

  settled(fault: Fault | undefined): void {
    const { retainedUnkept, connection } = this.#session;
    if (retainedUnkept?.get(this.#id) !== this.#message) return; // it is over
    if (fault === undefined) {
      retainedUnkept.delete(this.#id);
    } else if (connection !== undefined) {
      // What it is sent would pile up in memory: it comes back when it can be kept.
      connection.broker.disconnect(connection, fault.code, fault.message);
    }
  }
}
