/**
 * After a session is resumed: what was in flight is sent again as it was sent, under the same
 * packet ids, in the original order, before anything new [MQTT-4.4.0-1] [MQTT-4.6.0-1].
 *
 * RETAIN and subscription identifiers are those of the first time: they tell by which subscriptions
 * the message came, which those held now do not.
 */
import type { LogEntry } from '#ports';
import { PUBREL } from './acks.ts';
import type { Connection } from './connection.ts';
import type { StoredDelivery } from './cursor-row.ts';
import { endDelivery, fits, send } from './delivery.ts';
import { InflightState } from './inflight.ts';
import type { KeptMessage } from './kept-message.ts';
import { passOn } from './leases.ts';
import { receiverOf } from './mailbox.ts';
import type { Session } from './session.ts';
import { Delivery } from './subscription.ts';

/** Messages in memory at a time, however large the window. */
const PART_COUNT_MAX = 16;

/** Sends again as much as the window allows, and goes on with `then`; the rest follows later. */
export function resend(session: Session, connection: Connection, then: () => void): void {
  if (session.reading || connection.congested) return;
  const list = session.resend ?? [];
  const onTheWire = session.inflight.count - list.length;
  const room = Math.max(0, session.windowMax - onTheWire);
  const part = list.slice(0, Math.min(room, PART_COUNT_MAX));
  if (part.length === 0 && list.length > 0) return;
  session.reading = true;
  fetchAll(session, part).then(
    (messages) => {
      session.reading = false;
      if (session.connection !== connection) return;
      for (const [index, item] of part.entries()) again(session, connection, item, messages[index]);
      list.splice(0, part.length);
      if (list.length === 0) session.resend = undefined;
      connection.broker.turn.schedule();
      then();
    },
    (error: unknown) => {
      session.reading = false;
      connection.broker.failed(connection, error);
    },
  );
}

type Found = LogEntry | KeptMessage | undefined;

async function fetchAll(session: Session, items: readonly StoredDelivery[]): Promise<Found[]> {
  const logged = items.filter((item) => needsMessage(item) && item.topic === undefined);
  const entries = await session.space.log.get(logged.map((item) => item.position));
  const byPosition = new Map(logged.map((item, index) => [item, entries[index]]));
  const found: Found[] = [];
  for (const item of items) {
    if (item.topic === undefined) found.push(byPosition.get(item));
    else found.push(await session.space.broker.sessions.readRetained(session, item.id));
  }
  return found;
}

function needsMessage(item: StoredDelivery): boolean {
  return item.state !== InflightState.awaitsPubcomp;
}

function again(session: Session, connection: Connection, item: StoredDelivery, found: Found): void {
  const { broker } = connection;
  // An early acknowledgement has moved it on: the client remembers.
  if (session.inflight.state(item.id) !== item.state) return;
  if (!needsMessage(item)) {
    broker.ackWriter.write(connection, PUBREL, item.id, 0);
    return;
  }
  if (found === undefined) {
    // Retention took it: nothing is left to send.
    endDelivery(session, item.id);
    return;
  }
  if (!mayHave(session, connection, found.topic)) {
    passOn(session, item.id);
    endDelivery(session, item.id);
    return;
  }
  const qos = item.state === InflightState.awaitsPuback ? 1 : 2;
  const delivery = new Delivery(session, qos, false, false, item.identifiers);
  broker.replayed.load(found, Buffer.from(found.topic), broker.clock.nowMs());
  broker.replayed.dup = true; // [MQTT-3.3.1-1]
  // By a new connection the client may take less than before.
  if (!fits(connection, delivery, broker.replayed, true)) {
    endDelivery(session, item.id);
    return;
  }
  if (qos === 1) broker.metrics.messagesSentQos1++;
  else broker.metrics.messagesSentQos2++;
  send(connection, delivery, broker.replayed, qos, item.id, item.retain);
}

/** The rights of the caller may be fewer now, or those of somebody else. */
function mayHave(session: Session, { caller }: Connection, topic: string): boolean {
  if (session.space.guard.compatible && receiverOf(topic) === session.clientId) return true;
  return caller?.permissions?.maySubscribe(topic) !== false;
}
