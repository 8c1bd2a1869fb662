/**
 * An accepted connection as identity holds it: to tell its client something, to end it, and to
 * take back what permissions no longer allow.
 */
import { FAULTS, type FaultCode } from '#base';
import type { LiveClient } from '#identity';
import type { Connection } from './connection.ts';
import { deliverQos0 } from './delivery.ts';
import { KeptMessage } from './kept-message.ts';
import { isMailbox } from './mailbox.ts';
import { Delivery } from './subscription.ts';

const NO_BYTES = Buffer.alloc(0);

export class ConnectedClient implements LiveClient {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get clientId(): string {
    return this.#connection.session?.clientId ?? '';
  }

  get address(): string {
    return this.#connection.transport.peer.address;
  }

  notify(topic: string, payload: string): void {
    const connection = this.#connection;
    const { broker, session } = connection;
    if (connection.gone || session === undefined) return;
    const bytes = Buffer.from(payload);
    const nowMs = broker.clock.nowMs();
    const message = new KeptMessage(
      topic,
      Buffer.from(topic),
      bytes,
      NO_BYTES,
      0,
      false,
      '',
      nowMs,
      0,
    );
    broker.replayed.load(message, message.topicBytes, nowMs);
    deliverQos0(new Delivery(session, 0, false, false, NO_BYTES), broker.replayed, false);
    broker.turn.schedule();
  }

  disconnect(code: FaultCode): void {
    const connection = this.#connection;
    const { broker } = connection;
    if (connection.gone) return;
    broker.metrics.clientsExpelled++;
    const { space, clientId } = connection.session!;
    space.metrics.clientsExpelled++;
    broker.log.info('client expelled', {
      instance: space.instance.id,
      client: clientId,
      reason: FAULTS[code].text,
    });
    broker.disconnect(connection, code);
  }

  /**
   * A client is not told by MQTT that a subscription is over, so its connection ends as well; what
   * it may still have, it finds when it comes back.
   */
  permissionsChanged(): void {
    if (dropForbidden(this.#connection) > 0) this.disconnect('permissionWithdrawn');
  }
}

/** Ends the subscriptions that the caller may not have; returns how many there were. */
export function dropForbidden(connection: Connection): number {
  const { session, caller } = connection;
  const permissions = caller?.permissions;
  if (session === undefined || permissions === undefined) return 0;
  let count = 0;
  for (const { text, filter } of session.subscriptions.values()) {
    if (isMailbox(text) || permissions.maySubscribe(filter)) continue;
    session.space.unsubscribe(session, text);
    count++;
  }
  if (count > 0 && session.durable) connection.broker.sessions.write(session, 0);
  return count;
}
