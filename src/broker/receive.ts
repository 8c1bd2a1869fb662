/**
 * What each packet from a client does, in the order of the specification. PUBLISH and plain
 * acknowledgements, nearly all the traffic, are read in place; the rest is decoded.
 *
 * @hot
 */
import { Fault } from '#base';
import { type AckType, decodeAck, decodeAuth, decodeDisconnect, PacketType, PINGRESP } from '#wire';
import { PUBCOMP, PUBREL } from './acks.ts';
import { type Connection, ConnectionState } from './connection.ts';
import { endDelivery } from './delivery.ts';
import { receiveAuth, receiveConnect } from './handshake.ts';
import { InflightState } from './inflight.ts';
import { settleLease } from './leases.ts';
import type { Piece } from './publication.ts';
import { receivePublish } from './publish.ts';
import type { Session } from './session.ts';
import { receiveSubscribe, receiveUnsubscribe } from './subscribe.ts';

const PACKET_ID_NOT_FOUND = 0x92;
const DISCONNECT_WITH_WILL = 0x04;
const PINGRESP_BYTES = Buffer.from(PINGRESP);

/** One whole packet: `bytes[start..end)`, its body from `bodyStart`; a PUBLISH may go on in `rest`. */
export function receive(
  connection: Connection,
  bytes: Buffer,
  start: number,
  bodyStart: number,
  end: number,
  rest?: Piece,
): void {
  const firstByte = bytes[start]!;
  if (connection.state === ConnectionState.open) {
    if (firstByte >> 4 === PacketType.publish) {
      receivePublish(connection, bytes, start, bodyStart, end, rest);
      return;
    }
    if (end - bodyStart === 2 && firstByte >= 0x40 && firstByte < 0x80) {
      const packetId = (bytes[bodyStart]! << 8) | bytes[bodyStart + 1]!;
      if (packetId !== 0 && flagsOf(firstByte >> 4) === (firstByte & 15)) {
        receiveAck(connection, (firstByte >> 4) as AckType, packetId, 0);
        return;
      }
    }
  }
  try {
    receiveOther(connection, firstByte, bytes, bodyStart, end);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    connection.broker.violated(connection, error.code, error.message);
  }
}

/** The reserved flags of a packet type [MQTT-2.1.3-1] [MQTT-2.2.2-1]. */
function flagsOf(type: number): number {
  return type === PacketType.pubrel ||
    type === PacketType.subscribe ||
    type === PacketType.unsubscribe
    ? 2
    : 0;
}

function receiveOther(
  connection: Connection,
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  end: number,
): void {
  const type = firstByte >> 4;
  if (type !== PacketType.publish && (firstByte & 15) !== flagsOf(type)) {
    // Before 3.1.1 the flags of these packets said DUP and QoS, which is of no use.
    if (connection.version !== 3 || connection.state !== ConnectionState.open) {
      throw new Fault('malformedPacket', `reserved flags of packet type ${type}`);
    }
  }
  if (connection.state === ConnectionState.fresh) {
    receiveConnect(connection, bytes, bodyStart, end);
    return;
  }
  if (connection.state === ConnectionState.connecting) {
    if (type !== PacketType.auth && type !== PacketType.disconnect) {
      throw new Fault('protocolError', 'only AUTH may follow until CONNACK'); // [MQTT-3.1.2-30]
    }
  }
  const { version } = connection;
  switch (type) {
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubrel:
    case PacketType.pubcomp: {
      const ack = decodeAck(version, type, bytes, bodyStart, end);
      receiveAck(connection, type, ack.packetId, ack.reasonCode);
      return;
    }
    case PacketType.subscribe:
      receiveSubscribe(connection, bytes, bodyStart, end);
      return;
    case PacketType.unsubscribe:
      receiveUnsubscribe(connection, bytes, bodyStart, end);
      return;
    case PacketType.pingreq:
      if (end > bodyStart) throw new Fault('malformedPacket', 'PINGREQ with a body');
      connection.appendPacket(PINGRESP_BYTES); // [MQTT-3.12.4-1]
      return;
    case PacketType.disconnect:
      receiveDisconnect(connection, bytes, bodyStart, end);
      return;
    case PacketType.auth:
      if (version !== 5) throw new Fault('malformedPacket', 'packet type 15');
      receiveAuth(connection, decodeAuth(bytes, bodyStart, end));
      return;
    case PacketType.connect:
      throw new Fault('protocolError', 'a second CONNECT'); // [MQTT-3.1.0-2]
    default:
      throw new Fault(type === 0 ? 'malformedPacket' : 'protocolError', `packet type ${type}`);
  }
}

function receiveAck(connection: Connection, type: AckType, id: number, reason: number): void {
  const session = connection.session!;
  if (type === PacketType.puback) receivePuback(connection, session, id);
  else if (type === PacketType.pubrec) receivePubrec(connection, session, id, reason);
  else if (type === PacketType.pubrel) receivePubrel(connection, session, id);
  else receivePubcomp(connection, session, id);
}

function receivePuback(connection: Connection, session: Session, id: number): void {
  const state = session.inflight.state(id);
  if (state === InflightState.awaitsPuback) finish(connection, session, id);
  else if (state !== InflightState.free) wrongKind(connection, 'PUBACK');
}

function receivePubrec(connection: Connection, session: Session, id: number, reason: number): void {
  const state = session.inflight.state(id);
  if (state === InflightState.awaitsPuback) {
    wrongKind(connection, 'PUBREC');
  } else if (state === InflightState.free) {
    if (reason >= 0x80) return; // it has given up the id itself: there is nothing to release
    const unknown = connection.version5 ? PACKET_ID_NOT_FOUND : 0;
    connection.broker.ackWriter.write(connection, PUBREL, id, unknown);
  } else if (reason >= 0x80) {
    finish(connection, session, id); // settled, and never sent again [MQTT-4.4.0-2]
  } else {
    session.inflight.advance(id, InflightState.awaitsPubcomp);
    settleLease(session, id);
    if (session.durable) {
      // The client has the message: that must be on disk before it may forget the id.
      (session.releases ??= []).push(id);
      connection.broker.markUrgent(session);
    } else {
      connection.broker.ackWriter.write(connection, PUBREL, id, 0); // [MQTT-4.3.3-4]
    }
  }
}

function receivePubcomp(connection: Connection, session: Session, id: number): void {
  const state = session.inflight.state(id);
  if (state === InflightState.awaitsPubcomp) finish(connection, session, id);
  else if (state !== InflightState.free) wrongKind(connection, 'PUBCOMP');
}

/** The publisher releases a packet id: from here on it means a new message [MQTT-4.3.3-12]. */
function receivePubrel(connection: Connection, session: Session, id: number): void {
  session.inboundBefore?.delete(id);
  if (session.inbound?.delete(id) !== true) {
    connection.acknowledge(PUBCOMP, id, connection.version5 ? PACKET_ID_NOT_FOUND : 0);
    return;
  }
  if (!session.durable) {
    connection.acknowledge(PUBCOMP, id, 0); // [MQTT-4.3.3-11]
    return;
  }
  // On disk first: an id that came back with the next start would swallow a message.
  const { broker } = connection;
  const ack = broker.pendingAck(connection, PUBCOMP, id, 0);
  ack.ready = false;
  connection.acks.push(ack);
  broker.sessions.inbound.write(broker.sessions.inboundKey(session, id), undefined, {
    settled: (fault) => {
      if (fault === undefined) connection.settleAck(ack, 0);
      else broker.disconnect(connection, fault.code, fault.message);
      broker.committed();
    },
  });
}

function finish(connection: Connection, session: Session, id: number): void {
  endDelivery(session, id);
  if (session.durable) connection.broker.markDirty(session);
}

function wrongKind(connection: Connection, name: string): void {
  connection.broker.violated(connection, 'protocolError', `${name} does not fit the QoS`);
}

function receiveDisconnect(
  connection: Connection,
  bytes: Buffer,
  bodyStart: number,
  end: number,
): void {
  const { broker, session } = connection;
  const packet = decodeDisconnect(connection.version, bytes, bodyStart, end);
  const expirySeconds = packet.sessionExpiryInterval;
  if (expirySeconds !== undefined && session !== undefined) {
    if (session.expirySeconds === 0 && expirySeconds > 0) {
      throw new Fault('protocolError', 'session expiry above 0 after 0 in CONNECT');
    }
    broker.directory.setExpiry(session, expirySeconds);
  }
  if (packet.reasonCode !== DISCONNECT_WITH_WILL && packet.reasonCode < 0x80) {
    broker.wills.cancel(connection);
  }
  connection.finish();
}
