/** SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11): each filter decided on its own, one answer for all. */
import { FAULTS, type FaultCode } from '#base';
import {
  decodeSubscribe,
  decodeUnsubscribe,
  encodeSuback,
  encodeUnsuback,
  type SubscribePacket,
  type SubscriptionRequest,
} from '#wire';
import type { Connection } from './connection.ts';
import { levelCount } from './instance-space.ts';
import { keepOwn } from './leases.ts';
import { pump } from './pump.ts';
import { oweRetained, replayRetained } from './retained-replay.ts';
import type { Session } from './session.ts';
import {
  addGrant,
  type EarlierGrant,
  splitShare,
  stillOwed,
  type Subscription,
} from './subscription.ts';

const NO_SUBSCRIPTION_EXISTED = 0x11;
/** The one refusal that 3.1.1 knows. 3.1 has none, and takes this one as well. */
const FAILURE = 0x80;

export function receiveSubscribe(
  connection: Connection,
  bytes: Buffer,
  bodyStart: number,
  end: number,
): void {
  const packet = decodeSubscribe(connection.version, bytes, bodyStart, end);
  const session = connection.session!;
  let fault: FaultCode | undefined;
  const reasonCodes = packet.subscriptions.map((request) => {
    const refused = refusal(connection, request);
    if (refused !== undefined) {
      fault ??= refused;
      connection.broker.metrics.subscriptionsRefused++;
      session.space.metrics.subscriptionsRefused++;
      return refuseSubscription(connection, request, refused);
    }
    subscribe(connection, packet, request);
    return request.qos;
  });
  if (connection.gone) return;
  const answer = encodeSuback(
    connection.version,
    { packetId: packet.packetId, reasonCodes, reasonString: reasonFor(connection, fault) },
    connection.packetBytesMax,
  );
  answerDurably(connection, answer, () => {
    replayRetained(session);
    pump(session);
  });
}

function subscribe(
  connection: Connection,
  packet: SubscribePacket,
  request: SubscriptionRequest,
): void {
  const session = connection.session!;
  const { space } = session;
  const old = session.subscriptions.get(request.filter);
  const wants = wantsRetained(request, old !== undefined);
  if (wants) (session.owed ??= new Set()).add(request.filter);
  // What an earlier SUBSCRIBE is owed stays owed where this one asks for nothing [MQTT-3.8.4-4].
  space.subscribe(session, {
    text: request.filter,
    qos: request.qos,
    noLocal: request.noLocal,
    retainAsPublished: request.retainAsPublished,
    identifier: packet.subscriptionIdentifier,
    // A grant that goes on goes on where it was: nothing is lost by the swap [MQTT-3.8.4-4].
    since: goesOn(old, request) ? old.since : space.log.issued(),
    earlier: earlierGrants(session, old, request),
    owed: wants ? oweRetained(session) : old?.owed,
  });
}

function goesOn(old: Subscription | undefined, request: SubscriptionRequest): old is Subscription {
  return old !== undefined && old.qos > 0 === request.qos > 0;
}

/** Where QoS 0 takes the place of more: what was published until now and is still on its way. */
function earlierGrants(
  session: Session,
  old: Subscription | undefined,
  request: SubscriptionRequest,
): readonly EarlierGrant[] | undefined {
  if (old === undefined || !session.durable || old.share !== undefined) return undefined;
  const { space } = session;
  const before = stillOwed(old.earlier, session.reached);
  if (old.qos === 0 || request.qos > 0) return before;
  const until = space.log.issued();
  if (session.live && space.dispatched >= until) return before;
  return addGrant(before, { qos: old.qos, since: old.since, until });
}

function refusal(connection: Connection, request: SubscriptionRequest): FaultCode | undefined {
  if (request.invalid) return 'topicFilterInvalid';
  const session = connection.session!;
  if (connection.gone) return 'notAuthorized'; // ended for a filter before this one
  const permissions = connection.caller!.permissions;
  const filter = splitShare(request.filter)?.filter ?? request.filter;
  if (permissions !== undefined && !permissions.maySubscribe(filter)) return 'notAuthorized';
  const { subscriptions } = session;
  const isNew = !subscriptions.has(request.filter);
  const fault = session.space.guard.subscribe(session, filter, isNew);
  if (fault !== undefined || !isNew) return fault;
  return hasRoomFor(session, request.filter) ? undefined : 'quotaExceeded';
}

function hasRoomFor(session: Session, filter: string): boolean {
  const { limits } = session.space.broker;
  return (
    session.subscriptions.size < limits.subscriptionsPerSessionMax &&
    session.filterLevels + levelCount(filter) <= limits.filterLevelsPerSessionMax &&
    session.filterBytes + Buffer.byteLength(filter) <= limits.filterBytesPerSessionMax
  );
}

/** The reason for SUBACK; or the end of the connection, where the instance wants that. */
function refuseSubscription(
  connection: Connection,
  request: SubscriptionRequest,
  fault: FaultCode,
): number {
  const { broker } = connection;
  if (connection.session!.space.instance.overstepping === 'close' && !request.invalid) {
    connection.caller!.refused?.('subscribe', request.filter);
    broker.disconnect(connection, fault);
  }
  return connection.version5 ? FAULTS[fault].v5 : FAILURE;
}

/** The first refusal in words. */
function reasonFor(connection: Connection, fault: FaultCode | undefined): string | undefined {
  if (!connection.version5 || !connection.tellsReasons || fault === undefined) return undefined;
  return FAULTS[fault].text;
}

/** Shared subscriptions get none (4.8.2); else by Retain Handling. */
function wantsRetained(request: SubscriptionRequest, existed: boolean): boolean {
  if (splitShare(request.filter) !== undefined) return false;
  if (request.retainHandling === 0) return true; // [MQTT-3.3.1-9]
  return request.retainHandling === 1 && !existed; // [MQTT-3.3.1-10] [MQTT-3.3.1-11]
}

export function receiveUnsubscribe(
  connection: Connection,
  bytes: Buffer,
  bodyStart: number,
  end: number,
): void {
  const packet = decodeUnsubscribe(connection.version, bytes, bodyStart, end);
  const session = connection.session!;
  const reasonCodes = packet.filters.map((filter) =>
    session.space.unsubscribe(session, filter) ? 0 : NO_SUBSCRIPTION_EXISTED,
  );
  const answer = encodeUnsuback(
    connection.version,
    { packetId: packet.packetId, reasonCodes },
    connection.packetBytesMax,
  );
  answerDurably(connection, answer, () => {});
}

/** A durable session's answer leaves once what it says is on disk. */
function answerDurably(connection: Connection, answer: Buffer, next: () => void): void {
  const session = connection.session!;
  const { broker } = connection;
  if (session.durable) {
    keepOwn(session);
    broker.answers.add(session, { packet: answer, next });
    return;
  }
  connection.appendPacket(answer);
  next();
  broker.turn.schedule();
}
