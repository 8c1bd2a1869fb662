/**
 * One message to one session: at once where window and socket allow, later where not.
 *
 * What cannot leave now waits by kind: QoS 0 is dropped and counted; QoS 1/2 of a transient
 * session waits in its bounded queue; of a durable one it stays in the log, where its cursor
 * finds it.
 *
 * @hot
 */
import type { Position } from '#ports';
import type { Qos } from '#wire';
import { type Connection, ConnectionState, PACKET_BYTES_ANY } from './connection.ts';
import { InflightState } from './inflight.ts';
import type { KeptMessage } from './kept-message.ts';
import { settleLease } from './leases.ts';
import { layoutOf, type Publication } from './publication.ts';
import { forgetApart, keepApart } from './retained-inflight.ts';
import type { PendingDelivery, Session } from './session.ts';
import type { SharedGroup } from './shared-group.ts';
import type { Delivery } from './subscription.ts';
import { AliasesOut } from './topic-aliases.ts';

const NO_BYTES = Buffer.alloc(0);
const TOPIC_ALIAS = 0x23;
const ALIAS_BYTES = 3;

/** The QoS a message has for a subscriber [MQTT-3.8.4-8]. */
export function effectiveQos(published: Qos, granted: Qos): Qos {
  return published < granted ? published : granted;
}

/** A copy at QoS 0: sent or dropped. */
export function deliverQos0(delivery: Delivery, publication: Publication, retain: boolean): void {
  const { connection } = delivery.session;
  // What comes before CONNACK is out is lost to QoS 0 [MQTT-3.2.0-1].
  if (connection === undefined || connection.state !== ConnectionState.open) return;
  const { metrics } = connection.broker;
  if (connection.full) {
    metrics.droppedQos0SlowSubscriber++;
    return;
  }
  if (!fits(connection, delivery, publication, false)) return;
  metrics.messagesSentQos0++;
  send(connection, delivery, publication, 0, 0, retain);
}

/** A copy at QoS 1 or 2 to a session that ends with its connection. */
export function deliverTransient(
  delivery: Delivery,
  publication: Publication,
  qos: Qos,
  retain: boolean,
  group: SharedGroup | undefined,
): void {
  const { session } = delivery;
  const { connection } = session;
  if (connection === undefined) return;
  if (session.pendingCount > 0 || !session.windowOpen || connection.full) {
    enqueue(session, { message: publication.keep(), delivery, qos, retain, group });
    return;
  }
  sendTransient(connection, delivery, publication, qos, retain, group);
}

function sendTransient(
  connection: Connection,
  delivery: Delivery,
  publication: Publication,
  qos: Qos,
  retain: boolean,
  group: SharedGroup | undefined,
): void {
  if (!fits(connection, delivery, publication, true)) return;
  const packetId = sendWithId(delivery, publication, qos, retain, 0);
  // Once it is sent, QoS 2 goes to no other member [MQTT-4.8.2-5].
  if (qos === 1) group?.lend(delivery.session, packetId, qos, 0, publication.keep());
}

/** What a session that was behind is owed from its own queue. */
export function pumpPending(session: Session, connection: Connection): void {
  const queue = session.pending;
  if (queue === undefined) return;
  const { broker } = connection;
  const nowMs = broker.clock.nowMs();
  if (session.windowOpen) session.windowShutMs = broker.clock.monotonicMs();
  while (session.pendingHead < queue.length && session.windowOpen && !connection.full) {
    const item = queue[session.pendingHead++]!;
    session.pendingBytes -= item.message.bytes;
    const { message } = item;
    if (message.expiresMs > 0 && message.expiresMs <= nowMs) {
      broker.metrics.messagesExpired++; // [MQTT-3.3.2-5]
      continue;
    }
    broker.replayed.load(message, message.topicBytes, nowMs);
    sendTransient(connection, item.delivery, broker.replayed, item.qos, item.retain, item.group);
  }
  if (session.pendingHead === queue.length) {
    session.pending = undefined;
    session.pendingHead = 0;
  } else if (session.pendingHead > 1024 && session.pendingHead * 2 > queue.length) {
    queue.splice(0, session.pendingHead);
    session.pendingHead = 0;
  }
}

/**
 * A logged message to a session whose window is open: a durable one, or a member of a group.
 *
 * At QoS 2 it is sent only once it is on disk whose it is, or a crash in between would give the
 * client, or another one of the group, the message again.
 */
export function handOver(
  delivery: Delivery,
  publication: Publication,
  qos: Qos,
  position: Position,
  group: SharedGroup | undefined,
): void {
  const { session } = delivery;
  const connection = session.connection!;
  const retain = delivery.retainAsPublished && publication.retain;
  if (!fits(connection, delivery, publication, true)) return;
  session.space.metrics.deliveries++;
  // What follows a delivery that waits for its commit waits with it: the order stays.
  const waits = qos === 2 && (session.durable || group !== undefined);
  if (waits || session.sendsBehindCommit) {
    const packetId = takeId(delivery, qos, retain, position);
    sendBehindCommit(delivery, publication.keep(), qos, retain, packetId);
    group?.lend(session, packetId, qos, position, undefined);
    return;
  }
  const packetId = sendWithId(delivery, publication, qos, retain, position);
  group?.lend(session, packetId, qos, position, undefined);
  if (session.durable) connection.broker.markDirty(session);
}

/**
 * A message that is not in the log to a durable session: a retained one, or one published before
 * its group had a durable member. It is kept apart, should the client reconnect before it answers.
 */
export function handOverApart(
  delivery: Delivery,
  message: KeptMessage,
  qos: Qos,
  retain: boolean,
  group: SharedGroup | undefined,
): void {
  const { session } = delivery;
  const { broker } = session.space;
  const publication = broker.replayed;
  if (!fits(session.connection!, delivery, publication, true)) return;
  let packetId: number;
  if (qos === 2 || session.sendsBehindCommit) {
    packetId = takeId(delivery, qos, retain, 0);
    sendBehindCommit(delivery, message, qos, retain, packetId);
  } else {
    packetId = sendWithId(delivery, publication, qos, retain, 0);
    broker.markDirty(session);
  }
  keepApart(session, packetId, message);
  if (qos === 1) group?.lend(session, packetId, qos, 0, message);
}

function sendBehindCommit(
  delivery: Delivery,
  message: KeptMessage,
  qos: Qos,
  retain: boolean,
  packetId: number,
): void {
  const { session } = delivery;
  (session.unsent ??= []).push({ packetId, message, delivery, qos, retain });
  session.space.broker.markUrgent(session);
}

/** The client has it, or is not to have it any more: its packet id is free. */
export function endDelivery(session: Session, packetId: number): void {
  session.inflight.advance(packetId, InflightState.free);
  if (session.retainedInflight !== undefined) forgetApart(session, packetId);
  settleLease(session, packetId);
}

/** The next packet id, by which it is remembered what is sent: the same goes out again. */
function takeId(
  { session, identifiers }: Delivery,
  qos: Qos,
  retain: boolean,
  position: Position,
): number {
  const state = qos === 1 ? InflightState.awaitsPuback : InflightState.awaitsPubrec;
  // To a session that ends with its connection nothing is ever sent again.
  const remembered = session.durable ? identifiers : NO_BYTES;
  return session.inflight.take(state, position, retain, remembered);
}

/** Takes a packet id and sends; the caller has checked window and size. Answers the id. */
function sendWithId(
  delivery: Delivery,
  publication: Publication,
  qos: Qos,
  retain: boolean,
  position: Position,
): number {
  const connection = delivery.session.connection!;
  const packetId = takeId(delivery, qos, retain, position);
  const { metrics } = connection.broker;
  if (qos === 1) metrics.messagesSentQos1++;
  else metrics.messagesSentQos2++;
  send(connection, delivery, publication, qos, packetId, retain);
  return packetId;
}

/** Writes the frame one subscriber gets. */
export function send(
  connection: Connection,
  delivery: Delivery,
  publication: Publication,
  qos: Qos,
  packetId: number,
  retain: boolean,
): void {
  if (connection.version5) {
    if (connection.aliasOutMax > 0) {
      sendAliased(connection, delivery, publication, qos, packetId, retain);
      return;
    }
    if (delivery.identifiers.length > 0) {
      const { topicBytes } = publication;
      publication.copyWith(connection, qos, packetId, retain, topicBytes, delivery.identifiers);
      return;
    }
  }
  const layout = layoutOf(connection.version5, packetId !== 0);
  publication.copyTo(connection, layout, qos, packetId, retain);
}

/** To a client that takes aliases [MQTT-3.1.2-26]. */
function sendAliased(
  connection: Connection,
  delivery: Delivery,
  publication: Publication,
  qos: Qos,
  packetId: number,
  retain: boolean,
): void {
  const aliases = (connection.aliasesOut ??= new AliasesOut());
  const topic = publication.shownTopic ?? publication.topic;
  let alias = aliases.get(topic);
  let { topicBytes } = publication;
  const { packetBytesMax, aliasOutMax } = connection;
  const extraSize = delivery.identifiers.length + ALIAS_BYTES;
  if (alias !== undefined) {
    topicBytes = NO_BYTES;
  } else if (publication.sizeWith(packetId !== 0, topicBytes.length, extraSize) <= packetBytesMax) {
    const { topicAliasBytesMax } = connection.broker.limits;
    alias = aliases.give(topic, topicBytes.length, aliasOutMax, topicAliasBytesMax);
  }
  let extra: Uint8Array = delivery.identifiers;
  if (alias !== undefined) {
    extra = Buffer.concat([extra, Uint8Array.of(TOPIC_ALIAS, alias >> 8, alias & 0xff)]);
  }
  publication.copyWith(connection, qos, packetId, retain, topicBytes, extra);
}

/** False, and counted: the client takes no packet so large [MQTT-3.1.2-24] [MQTT-3.1.2-25]. */
export function fits(
  connection: Connection,
  delivery: Delivery,
  publication: Publication,
  withId: boolean,
): boolean {
  if (connection.packetBytesMax === PACKET_BYTES_ANY) return true;
  const size = connection.version5
    ? sizeInV5(connection, delivery, publication, withId)
    : publication.frameSize(layoutOf(false, withId));
  if (size <= connection.packetBytesMax) return true;
  connection.broker.metrics.droppedPacketTooLarge++;
  return false;
}

/** A new alias is sent only where it fits as well, so it makes no packet too large. */
function sizeInV5(
  connection: Connection,
  { identifiers }: Delivery,
  publication: Publication,
  withId: boolean,
): number {
  const known =
    connection.aliasesOut?.get(publication.shownTopic ?? publication.topic) !== undefined;
  const topicSize = known ? 0 : publication.topicBytes.length;
  return publication.sizeWith(withId, topicSize, identifiers.length + (known ? ALIAS_BYTES : 0));
}

function enqueue(session: Session, item: PendingDelivery): void {
  const connection = session.connection!;
  const { limits, metrics } = connection.broker;
  if (session.overflowed) return; // its end is on the way
  session.pending ??= [];
  const queue = session.pending;
  if (session.pendingCount === 0) session.windowShutMs = connection.broker.clock.monotonicMs();
  session.pendingBytes += item.message.bytes;
  queue.push(item);
  session.behind = true;
  if (session.pendingCount > limits.pendingCountMax || overBytes(session, limits.pendingBytesMax)) {
    metrics.slowSubscribersDisconnected++;
    session.overflowed = true;
    connection.broker.disconnectSoon(connection, 'quotaExceeded', 'client reads too slowly');
  }
}

/** One message may be as large as it likes; a queue may not. */
function overBytes(session: Session, bytesMax: number): boolean {
  return session.pendingBytes > bytesMax && session.pendingCount > 1;
}
