/** SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11): each filter decided on its own, one answer for all. */
import { FAULTS, type FaultCode } from '#base';
import type { Settled } from '#ports';
import {
  decodeSubscribe,
  decodeUnsubscribe,
  encodeSuback,
  encodeUnsuback,
  type SubscribePacket,
  type SubscriptionRequest,
} from '#wire';
import { type Connection, ConnectionState } from './connection.ts';
import { levelCount } from './instance-space.ts';
import { pump } from './pump.ts';
import { RetainedReplay } from './retained-replay.ts';
import type { Session } from './session.ts';
import { splitShare, type Subscription } from './subscription.ts';

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
  const made: Subscription[] = [];
  let fault: FaultCode | undefined;
  const reasonCodes = packet.subscriptions.map((request) => {
    const refused = refusal(connection, request);
    if (refused !== undefined) {
      fault ??= refused;
      connection.broker.metrics.subscriptionsRefused++;
      session.space.metrics.subscriptionsRefused++;
      return refuseSubscription(connection, request, refused);
    }
    const existed = session.subscriptions.has(request.filter);
    const subscription = subscribe(connection, packet, request);
    if (wantsRetained(request, existed)) made.push(subscription);
    return request.qos;
  });
  if (connection.gone) return;
  const answer = encodeSuback(
    connection.version,
    { packetId: packet.packetId, reasonCodes, reasonString: reasonFor(connection, fault) },
    connection.packetBytesMax,
  );
  answerDurably(connection, answer, () => {
    for (const subscription of made) new RetainedReplay(session, subscription);
    pump(session);
  });
}

function subscribe(
  connection: Connection,
  packet: SubscribePacket,
  request: SubscriptionRequest,
): Subscription {
  const session = connection.session!;
  const { space } = session;
  const old = session.subscriptions.get(request.filter);
  for (const replay of session.replays?.slice() ?? []) {
    if (replay.subscription === old) replay.end();
  }
  return space.subscribe(session, {
    text: request.filter,
    qos: request.qos,
    noLocal: request.noLocal,
    retainAsPublished: request.retainAsPublished,
    identifier: packet.subscriptionIdentifier,
    // A filter the session had goes on where it was: nothing is lost by the swap [MQTT-3.8.4-4].
    since: old?.since ?? space.log.end(),
  });
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
  const reasonCodes = packet.filters.map((filter) => {
    const old = session.subscriptions.get(filter);
    for (const replay of session.replays?.slice() ?? []) {
      if (replay.subscription === old) replay.end();
    }
    return session.space.unsubscribe(session, filter) ? 0 : NO_SUBSCRIPTION_EXISTED;
  });
  const answer = encodeUnsuback(
    connection.version,
    { packetId: packet.packetId, reasonCodes },
    connection.packetBytesMax,
  );
  answerDurably(connection, answer, () => {});
}

/** A durable session's answer leaves once what it says is on disk. */
function answerDurably(connection: Connection, answer: Buffer, then: () => void): void {
  const session = connection.session!;
  const { broker } = connection;
  const send = (): void => {
    connection.appendPacket(answer);
    then();
    broker.turn.schedule();
  };
  if (!session.durable) {
    send();
    return;
  }
  const settled: Settled = {
    settled: (fault) => {
      if (connection.state !== ConnectionState.open) return;
      if (fault === undefined) send();
      else broker.disconnect(connection, fault.code, fault.message);
    },
  };
  broker.sessions.write(session, 0, settled);
}
