/**
 * A PUBLISH from a client: read in place, checked, and sent on its way.
 *
 * Nothing here allocates for a message that only passes through: topic and route come from the
 * cache, the frame is forwarded as it lies in the chunk. What somebody durable must get goes to
 * the log first; its acknowledgement leaves once that is on disk.
 *
 * @hot
 */
import { isUtf8 } from 'node:buffer';
import type { FaultCode } from '#base';
import type { Permissions } from '#identity';
import { isTopicName, isValidUtf8, type Qos, readPublishProperties } from '#wire';
import { type Acknowledging, type PendingAck, PUBACK, publishReason, PUBREC } from './acks.ts';
import { receiveCommand } from './client-commands.ts';
import { Commit } from './commit.ts';
import type { Connection } from './connection.ts';
import { deliverQos0, deliverTransient, effectiveQos } from './delivery.ts';
import type { InstanceSpace } from './instance-space.ts';
import type { KeptMessage } from './kept-message.ts';
import { layoutOf, type Piece, type Publication } from './publication.ts';
import type { Route } from './route.ts';
import type { Session } from './session.ts';
import type { Delivery } from './subscription.ts';
import { AliasesIn } from './topic-aliases.ts';
import type { TopicEntry } from './topic-cache.ts';

const NO_MATCHING_SUBSCRIBERS = 0x10;
/** What a topic not met before is counted as, in deliveries. */
const TOPIC_WORK = 16;

/**
 * One PUBLISH: the packet is `bytes[start..end)`, its variable header begins at `bodyStart`. Where
 * it came in two chunks its payload goes on in `rest`.
 */
export function receivePublish(
  connection: Connection,
  bytes: Buffer,
  start: number,
  bodyStart: number,
  end: number,
  rest?: Piece,
): void {
  const { broker } = connection;
  const flags = bytes[start]!;
  const qos = ((flags >> 1) & 3) as Qos;
  if ((flags & 0x06) === 0x06) return broker.violated(connection, 'malformedPacket', 'QoS 3');
  if (qos === 0 && (flags & 0x08) !== 0) {
    return broker.violated(connection, 'malformedPacket', 'DUP set at QoS 0'); // [MQTT-3.3.1-2]
  }
  const topicEnd = bodyStart + 2 + (bytes[bodyStart]! << 8) + bytes[bodyStart + 1]!;
  let at = qos === 0 ? topicEnd : topicEnd + 2;
  if (bodyStart + 2 > end || at > end) {
    return broker.violated(connection, 'malformedPacket', 'PUBLISH cut short');
  }
  const packetId = qos === 0 ? 0 : (bytes[topicEnd]! << 8) | bytes[topicEnd + 1]!;
  if (qos > 0 && packetId === 0) {
    return broker.violated(connection, 'protocolError', 'packet identifier 0'); // [MQTT-2.2.1-3]
  }
  const publication = broker.publication;
  publication.begin(qos, (flags & 1) !== 0);
  const view = broker.propertyView;
  view.topicAlias = 0;
  if (connection.version5) {
    at = readProperties(connection, publication, bytes, at, end);
    if (at < 0) return;
  }
  const entry = topicOf(connection, bytes, bodyStart + 2, topicEnd);
  if (entry === undefined) return;
  publication.setTopic(entry);
  publication.hold(bytes);
  publication.payloadStart = at;
  publication.payloadEnd = end;
  publication.rest = rest;
  if (view.topicAlias === 0) {
    const layout = layoutOf(connection.version5, qos > 0);
    publication.forward(bytes, start, end, layout, topicEnd);
  }
  take(connection, publication, entry, packetId);
}

/** Reads the properties of 5.0; returns where the payload begins, or -1: the connection is closed. */
function readProperties(
  connection: Connection,
  publication: Publication,
  bytes: Buffer,
  offset: number,
  end: number,
): number {
  const { broker } = connection;
  const view = broker.propertyView;
  let at = offset;
  let size = 0;
  let shift = 0;
  for (;;) {
    if (at >= end || shift > 21) return refuse(connection, 'property length cut short');
    const byte = bytes[at++]!;
    size |= (byte & 0x7f) << shift;
    if (byte < 128) break;
    shift += 7;
  }
  if (size === 0) return at;
  const propertiesEnd = at + size;
  if (propertiesEnd > end) return refuse(connection, 'properties beyond the packet');
  if (!readPublishProperties(bytes, at, propertiesEnd, view)) {
    broker.violated(connection, view.fault === '' ? 'malformedPacket' : view.fault, view.faultText);
    return -1;
  }
  publication.properties = bytes;
  publication.propertiesStart = at;
  publication.propertiesEnd = propertiesEnd;
  if (view.topicAlias > 0) {
    // Cut out: an alias belongs to one connection [MQTT-3.3.2-7].
    publication.properties = Buffer.concat([
      bytes.subarray(at, view.aliasStart),
      bytes.subarray(view.aliasEnd, propertiesEnd),
    ]);
    publication.propertiesStart = 0;
    publication.propertiesEnd = publication.properties.length;
  }
  if (view.messageExpiryInterval >= 0) {
    publication.acceptedMs = broker.clock.nowMs();
    // An interval of 0 has expired for everybody who does not get it at once.
    publication.expiresMs = publication.acceptedMs + Math.max(1, view.messageExpiryInterval * 1000);
  }
  if (view.payloadFormatUtf8 && broker.limits.validatePayloadFormat) {
    publication.payloadInvalid = !isUtf8(bytes.subarray(propertiesEnd, end));
  }
  return propertiesEnd;
}

function refuse(connection: Connection, text: string): -1 {
  connection.broker.violated(connection, 'malformedPacket', text);
  return -1;
}

/** The topic, by name or alias; `undefined`: the connection is closed. */
function topicOf(
  connection: Connection,
  bytes: Buffer,
  start: number,
  end: number,
): TopicEntry | undefined {
  const { broker } = connection;
  const alias = broker.propertyView.topicAlias;
  let entry: TopicEntry | undefined;
  if (start < end) {
    const { topics } = connection.session!.space;
    entry = connection.lastTopic;
    if (entry === undefined || !topics.holds(entry, bytes, start, end)) {
      entry = topics.lookUp(bytes, start, end);
      if (entry === undefined) {
        if (!isTopicName(bytes, start, end)) {
          const utf8 = isValidUtf8(bytes, start, end);
          const text = utf8 ? 'wildcard in a topic name' : 'topic name is not UTF-8';
          broker.violated(connection, utf8 ? 'topicNameInvalid' : 'malformedPacket', text);
          return undefined; // [MQTT-3.3.2-1] [MQTT-3.3.2-2]
        }
        entry = topics.add(bytes, start, end);
        connection.work += TOPIC_WORK;
      }
      connection.lastTopic = entry;
    }
    if (alias === 0) return entry;
  } else if (alias === 0) {
    const code = connection.version5 ? 'protocolError' : 'malformedPacket';
    broker.violated(connection, code, 'empty topic name'); // [MQTT-4.7.3-1]
    return undefined;
  }
  if (alias > broker.limits.topicAliasMaximum) {
    broker.violated(connection, 'topicAliasInvalid', `topic alias ${alias}`); // [MQTT-3.3.2-9]
    return undefined;
  }
  const aliases = (connection.aliasesIn ??= new AliasesIn());
  if (entry !== undefined) {
    if (aliases.set(alias, entry, broker.limits.topicAliasBytesMax)) return entry;
    broker.disconnect(connection, 'quotaExceeded', 'too many bytes of topics behind aliases');
    return undefined;
  }
  entry = aliases.get(alias);
  if (entry === undefined) {
    broker.violated(connection, 'protocolError', `topic alias ${alias} is not mapped`);
  }
  return entry;
}

/** Takes the message: permission, flow control, exactly once; then distributes it. */
function take(
  connection: Connection,
  publication: Publication,
  entry: TopicEntry,
  packetId: number,
): void {
  const { broker } = connection;
  const { metrics } = broker;
  const session = connection.session!;
  const { qos } = publication;
  const ackByte = qos === 1 ? PUBACK : PUBREC;
  if (qos === 2 && session.inbound?.has(packetId) === true) {
    session.inboundBefore?.delete(packetId);
    connection.acknowledge(PUBREC, packetId, 0); // [MQTT-4.3.3-10]
    return;
  }
  if (qos > 0 && connection.version5) {
    const before = session.inboundBefore?.size ?? 0; // 4.9: each connection begins anew
    const open = connection.acks.pubackCount + (session.inbound?.size ?? 0) - before;
    if (open >= broker.limits.receiveMaximum) {
      return broker.violated(connection, 'receiveMaximum', `${open + 1} publishes are open`);
    }
  }
  if (entry.reserved && receiveCommand(connection, publication, entry, packetId)) return;
  const refused = refusal(connection, publication, entry);
  if (refused !== undefined) {
    refusePublish(connection, publication, packetId, refused);
    return;
  }
  if (qos === 0) metrics.messagesReceivedQos0++;
  else if (qos === 1) metrics.messagesReceivedQos1++;
  else metrics.messagesReceivedQos2++;
  publication.publisher = session;
  publication.publisherId = session.clientId;
  const { space } = session;
  space.metrics.messagesReceived++;
  space.metrics.bytesReceived += publication.payloadSize;
  const route = routeOf(space, entry, qos > 0 && session.durable);
  if (qos > 0 && route.empty) metrics.messagesUnmatched++;
  let reason = qos > 0 && route.empty && !publication.retain ? NO_MATCHING_SUBSCRIBERS : 0;
  if (qos === 2) {
    session.inbound ??= new Set();
    session.inbound.add(packetId);
  }
  let logged = qos > 0 && route.durable;
  if (logged && !session.durable && leftToLuck(space, entry, route)) {
    logged = false;
    reason = NO_MATCHING_SUBSCRIBERS;
  }
  // Before anybody keeps the message: retention goes by this time.
  if (logged && publication.expiresMs === 0) publication.acceptedMs = broker.clock.nowMs();
  distribute(space, route, publication, connection);
  const remembered = qos === 2 && session.durable;
  if (logged || remembered || publication.retain) {
    store(space, entry, route, publication, { connection, packetId, reason, logged });
  } else if (qos > 0) {
    connection.acknowledge(ackByte, packetId, connection.version5 ? reason : 0);
  }
}

/** Where the message goes; a P2P message that is to wait for an absent client waits from now on. */
function routeOf(space: InstanceSpace, entry: TopicEntry, waits: boolean): Route {
  const route = space.topics.route(entry);
  if (entry.receiver === undefined || !waits || !route.empty) return route;
  space.broker.directory.makeMailbox(space, entry.receiver);
  return space.topics.route(entry);
}

/** A P2P message of a sender that keeps no session is not kept for a receiver that is away. */
function leftToLuck(space: InstanceSpace, entry: TopicEntry, route: Route): boolean {
  if (entry.receiver === undefined || space.online.has(entry.receiver)) return false;
  return route.deliveries.length === 0 && route.groups.length === 0;
}

/** Why this caller may not publish this, or `undefined`. */
function refusal(
  connection: Connection,
  publication: Publication,
  entry: TopicEntry,
): FaultCode | undefined {
  const { permissions } = connection.caller!;
  if (permissions !== undefined && !mayPublish(connection, permissions, entry)) {
    return 'notAuthorized';
  }
  if (publication.payloadInvalid) return 'payloadFormatInvalid';
  // What begins with $SYS/ is the server's own to say (4.7.2).
  if (entry.reserved) return 'notAuthorized';
  const session = connection.session!;
  const { payloadSize, qos } = publication;
  return session.space.guard.publish(entry, payloadSize, qos, !session.durable);
}

/** The last topic that was allowed is remembered until permissions change. */
function mayPublish(connection: Connection, permissions: Permissions, entry: TopicEntry): boolean {
  const { version } = permissions;
  if (connection.permittedTopic === entry && connection.permittedVersion === version) return true;
  if (!permissions.mayPublish(entry.topic)) return false;
  connection.permittedTopic = entry;
  connection.permittedVersion = version;
  return true;
}

/** Says no in the way of the protocol version, or ends the connection where the instance wants it. */
function refusePublish(
  connection: Connection,
  publication: Publication,
  packetId: number,
  fault: FaultCode,
): void {
  const { broker } = connection;
  const { metrics } = broker;
  if (fault === 'notAuthorized') metrics.droppedNotAuthorized++;
  else metrics.droppedOverLimit++;
  const { instance, metrics: own } = connection.session!.space;
  own.publishesRefused++;
  if (instance.overstepping === 'close') {
    connection.caller!.refused?.('publish', publication.topic);
    broker.disconnect(connection, fault);
    return;
  }
  const { qos } = publication;
  if (qos > 0) {
    const reason = connection.version5 ? publishReason(fault) : 0; // [MQTT-3.3.5-2]
    connection.acknowledge(qos === 1 ? PUBACK : PUBREC, packetId, reason);
  } else if (fault === 'payloadFormatInvalid') broker.disconnect(connection, fault);
}

/** Copies for everybody who gets them now: QoS 0, and QoS 1/2 of transient sessions. */
export function distribute(
  space: InstanceSpace,
  route: Route,
  publication: Publication,
  publisher: Connection | undefined,
): void {
  let receivers = 1;
  let congested = 0;
  let slowest: Session | undefined;
  const { solo } = route;
  if (solo !== undefined) {
    if (!deliver(solo, publication)) {
      congested = 1;
      slowest = solo.session;
    }
  } else {
    const { deliveries, groups } = route;
    receivers = deliveries.length + groups.length;
    for (let i = 0; i < deliveries.length; i++) {
      const delivery = deliveries[i]!;
      if (deliver(delivery, publication)) continue;
      congested++;
      slowest = delivery.session;
    }
    for (let i = 0; i < groups.length; i++) {
      const member = groups[i]!.publish(publication);
      if (member === undefined) continue;
      congested++;
      slowest = member;
    }
  }
  space.guard.delivered(publication.qos, receivers);
  space.metrics.deliveries += receivers;
  if (publisher === undefined) return;
  publisher.work += receivers;
  if (slowest !== undefined && congested * 2 >= receivers) space.broker.waitFor(publisher, slowest);
}

/** One session's copy, if it gets one now; false: that session is behind. */
function deliver(granted: Delivery, publication: Publication): boolean {
  const { session } = granted;
  const delivery = session === publication.publisher ? granted.toPublisher : granted;
  if (delivery === undefined) return true; // [MQTT-3.8.3-3]
  const qos = effectiveQos(publication.qos, delivery.qos);
  if (qos > 0 && session.durable) return true; // comes from the log
  const { congested } = session;
  const retain = publication.retain && delivery.retainAsPublished;
  if (qos === 0) deliverQos0(delivery, publication, retain);
  else deliverTransient(delivery, publication, qos, retain, undefined);
  return !congested;
}

interface Origin {
  readonly connection: Connection;
  readonly packetId: number;
  readonly reason: number;
  readonly logged: boolean;
}

/** Gives the disk what must survive: message, retained message, packet id; all in one commit. */
function store(
  space: InstanceSpace,
  entry: TopicEntry,
  route: Route,
  publication: Publication,
  origin: Origin,
): void {
  const { qos } = publication;
  let ack: PendingAck | undefined;
  const { connection } = origin;
  if (qos > 0) {
    const ackByte = qos === 1 ? PUBACK : PUBREC;
    ack = space.broker.pendingAck(connection, ackByte, origin.packetId, origin.reason);
    ack.ready = false;
    connection.acks.push(ack);
  }
  const { packetId } = origin;
  const inbound = qos === 2 ? { session: connection.session!, packetId } : undefined;
  persist(space, entry, route, publication, { ack, inbound, logged: origin.logged });
  if (space.broker.engine.pendingBytes > space.broker.limits.commitBytesHigh) {
    space.broker.waitForCommit(connection);
  }
}

/** Who waits for a message that is being kept: a will has neither acknowledgement nor packet id. */
interface Keeping {
  readonly ack: Acknowledging | undefined;
  /** The publisher's session, at QoS 2. */
  readonly inbound: { readonly session: Session; readonly packetId: number } | undefined;
  readonly logged: boolean;
}

/** The same for a message of any origin. */
function persist(
  space: InstanceSpace,
  entry: TopicEntry,
  route: Route,
  publication: Publication,
  keeping: Keeping,
): void {
  const { broker } = space;
  const { ack, inbound, logged } = keeping;
  if (publication.expiresMs === 0) publication.acceptedMs = broker.clock.nowMs();
  const message = logged && route.durableOnline ? publication.keep() : undefined;
  const commit = new Commit(space, entry, message, ack);
  const remembered = inbound?.session.durable === true;
  commit.waits = (logged ? 1 : 0) + (publication.retain ? 1 : 0) + (remembered ? 1 : 0);
  if (publication.retain) space.retained.write(publication, commit);
  if (remembered) {
    broker.sessions.keepInbound(inbound.session, inbound.packetId, commit);
  }
  if (logged) {
    broker.metrics.messagesLogged++;
    space.metrics.messagesLogged++;
    space.log.append(message?.logMessage ?? broker.logView.of(publication), commit);
  }
}

/** Publishes a message of the broker's own: a will, a metric; `ack` hears when it is kept. */
export function publishMessage(
  space: InstanceSpace,
  message: KeptMessage,
  ack?: Acknowledging,
): void {
  const { publication } = space.broker;
  const entry = loadMessage(space, message);
  const route = routeOf(space, entry, publication.qos > 0);
  distribute(space, route, publication, undefined);
  keepMessage(space, entry, route, ack);
}

/** Once more for those who get it from the disk, which refused it. */
export function keepAgain(space: InstanceSpace, message: KeptMessage, ack: Acknowledging): void {
  const entry = loadMessage(space, message);
  keepMessage(space, entry, space.topics.route(entry), ack);
}

function loadMessage(space: InstanceSpace, message: KeptMessage): TopicEntry {
  const { publication, propertyView: view } = space.broker;
  const { properties } = message;
  publication.load(message, message.topicBytes, message.acceptedMs);
  if (properties.length > 0 && readPublishProperties(properties, 0, properties.length, view)) {
    const seconds = view.messageExpiryInterval;
    if (seconds >= 0) publication.expiresMs = message.acceptedMs + Math.max(1, seconds * 1000);
  }
  return space.topics.entry(message.topic);
}

function keepMessage(
  space: InstanceSpace,
  entry: TopicEntry,
  route: Route,
  ack: Acknowledging | undefined,
): void {
  const { broker } = space;
  const { publication } = broker;
  const logged = publication.qos > 0 && route.durable;
  if (logged || publication.retain) {
    persist(space, entry, route, publication, { ack, inbound: undefined, logged });
  } else ack?.settle(undefined);
  broker.turn.schedule();
}
