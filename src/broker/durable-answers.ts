/**
 * SUBACK and UNSUBACK of durable sessions: they leave once what they say is on disk.
 *
 * A row has many of a session's subscriptions, so it is written once a turn, however many packets
 * of the turn changed them.
 */
import type { Fault } from '#base';
import type { Settled } from '#ports';
import type { Broker } from './broker.ts';
import { type Connection, ConnectionState } from './connection.ts';
import type { Session } from './session.ts';

/** An answer, and what begins once it is out. */
export interface DurableAnswer {
  readonly packet: Buffer;
  readonly next: () => void;
}

export class DurableAnswers {
  readonly #broker: Broker;
  #sessions: Session[] = [];

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  add(session: Session, answer: DurableAnswer): void {
    if (session.answers === undefined) {
      session.answers = [];
      this.#sessions.push(session);
      this.#broker.turn.schedule();
    }
    session.answers.push(answer);
  }

  /** At the end of the turn. */
  writeRows(): void {
    if (this.#sessions.length === 0) return;
    const sessions = this.#sessions;
    this.#sessions = [];
    for (const session of sessions) {
      const { connection, answers } = session;
      session.answers = undefined;
      // Who has gone meanwhile left a row behind, and hears no answer.
      if (connection === undefined || answers === undefined) continue;
      const behind = new AnswersBehindCommit(connection, answers);
      this.#broker.sessions.writeChanged(session, behind);
    }
  }
}

class AnswersBehindCommit implements Settled {
  readonly #connection: Connection;
  readonly #answers: readonly DurableAnswer[];

  constructor(connection: Connection, answers: readonly DurableAnswer[]) {
    this.#connection = connection;
    this.#answers = answers;
  }

  settled(fault: Fault | undefined): void {
    const connection = this.#connection;
    const { broker } = connection;
    if (connection.state !== ConnectionState.open) return;
    if (fault !== undefined) {
      broker.disconnect(connection, fault.code, fault.message);
      return;
    }
    for (const { packet, next } of this.#answers) {
      connection.appendPacket(packet);
      next();
    }
    broker.turn.schedule();
  }
}
