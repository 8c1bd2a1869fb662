/** SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11): each filter decided on its own, one answer for all. */
import type { Settled } from '#ports';
import {
  decodeSubscribe,
  decodeUnsubscribe,
  encodeSuback,
  encodeUnsuback,
  reasonName,
  type SubscribePacket,
  type SubscriptionRequest,
} from '#wire';
import { type Connection, ConnectionState } from './connection.ts';
import { levelCount } from './instance-space.ts';
import { pump } from './pump.ts';
import { RetainedReplay } from './retained-replay.ts';
import { splitShare, type Subscription } from './subscription.ts';

const NOT_AUTHORIZED = 0x87;
const TOPIC_FILTER_INVALID = 0x8f;
const QUOTA_EXCEEDED = 0x97;
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
  const reasonCodes = packet.subscriptions.map((request) => {
    const refused = refusal(connection, request);
    if (refused !== 0) return connection.version5 ? refused : FAILURE;
    const existed = session.subscriptions.has(request.filter);
    const subscription = subscribe(connection, packet, request);
    if (wantsRetained(request, existed)) made.push(subscription);
    return request.qos;
  });
  const answer = encodeSuback(
    connection.version,
    { packetId: packet.packetId, reasonCodes, reasonString: reasonFor(connection, reasonCodes) },
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

function refusal(connection: Connection, request: SubscriptionRequest): number {
  if (request.invalid) return TOPIC_FILTER_INVALID;
  const permissions = connection.caller!.permissions;
  const filter = splitShare(request.filter)?.filter ?? request.filter;
  if (permissions !== undefined && !permissions.maySubscribe(filter)) return NOT_AUTHORIZED;
  const { subscriptions, filterLevels } = connection.session!;
  if (subscriptions.has(request.filter)) return 0;
  const { subscriptionsPerSessionMax, filterLevelsPerSessionMax } = connection.broker.limits;
  const tooDeep = filterLevels + levelCount(request.filter) > filterLevelsPerSessionMax;
  return tooDeep || subscriptions.size >= subscriptionsPerSessionMax ? QUOTA_EXCEEDED : 0;
}

/** The first refusal in words. */
function reasonFor(connection: Connection, reasonCodes: readonly number[]): string | undefined {
  if (!connection.version5 || !connection.tellsReasons) return undefined;
  const refused = reasonCodes.find((code) => code >= 0x80);
  return refused === undefined ? undefined : reasonName(refused);
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
