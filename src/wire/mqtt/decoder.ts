/**
 * The rare packets a client sends, all but CONNECT: bytes in, values out, `Fault` where the
 * standard is broken. `[start, end)` is always the packet behind its fixed header.
 *
 * Acknowledgements and DISCONNECT go both ways, so `sender` says whose rules they obey.
 */
import { Fault } from '#base';
import {
  type AckPacket,
  type AuthPacket,
  type DisconnectPacket,
  PacketType,
  type ProtocolVersion,
  type Qos,
  type SubscribePacket,
  type SubscriptionRequest,
  type UnsubscribePacket,
} from './packet.ts';
import { PacketReader } from './packet-reader.ts';
import type { PropertyPlace, PropertyValues, Sender } from './properties.ts';
import { readProperties } from './property-reader.ts';
import { isReasonAllowed, Reason } from './reason.ts';
import { isValidFilter, parseShare } from './topic-filter-syntax.ts';

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export type AckType =
  | typeof PacketType.puback
  | typeof PacketType.pubrec
  | typeof PacketType.pubrel
  | typeof PacketType.pubcomp;

const ACK_PLACES: Readonly<Record<AckType, PropertyPlace>> = {
  [PacketType.puback]: 'puback',
  [PacketType.pubrec]: 'pubrec',
  [PacketType.pubrel]: 'pubrel',
  [PacketType.pubcomp]: 'pubcomp',
};

/** SUBSCRIBE. A badly written filter does not fail the packet: its request is `invalid`. */
export function decodeSubscribe(
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  end: number,
): SubscribePacket {
  const reader = new PacketReader('SUBSCRIBE', bytes, start, end);
  const packetId = readPacketId(reader, version);
  const properties = version === 5 ? readProperties(reader, 'subscribe', 'client') : {};
  if (reader.left === 0) throw reader.protocolError('no topic filter'); // [MQTT-3.8.3-2]
  const subscriptions: SubscriptionRequest[] = [];
  while (reader.left > 0) subscriptions.push(readSubscription(reader, version));
  return {
    packetId,
    subscriptions,
    subscriptionIdentifier: properties.subscriptionIdentifiers?.[0] ?? 0,
    userProperties: properties.userProperties ?? [],
  };
}

/** UNSUBSCRIBE. Filters are not checked for wildcards: one that cannot be held is not held. */
export function decodeUnsubscribe(
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  end: number,
): UnsubscribePacket {
  const reader = new PacketReader('UNSUBSCRIBE', bytes, start, end);
  const packetId = readPacketId(reader, version);
  const properties = version === 5 ? readProperties(reader, 'unsubscribe', 'client') : {};
  if (reader.left === 0) throw reader.protocolError('no topic filter'); // [MQTT-3.10.3-2]
  const filters: string[] = [];
  while (reader.left > 0) filters.push(readFilter(reader, version));
  return { packetId, filters, userProperties: properties.userProperties ?? [] };
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function decodeAck(
  version: ProtocolVersion,
  type: AckType,
  bytes: Buffer,
  start: number,
  end: number,
  sender: Sender = 'client',
): AckPacket {
  const place = ACK_PLACES[type];
  const reader = new PacketReader(place.toUpperCase(), bytes, start, end);
  const packetId = readPacketId(reader, version);
  if (version < 5 || reader.left === 0) {
    reader.finish();
    return {
      packetId,
      reasonCode: Reason.success,
      reasonString: undefined,
      userProperties: undefined,
    };
  }
  const reasonCode = readReason(reader, place, sender);
  const { reasonString, userProperties } = readLastProperties(reader, place, sender);
  return { packetId, reasonCode, reasonString, userProperties };
}

/** DISCONNECT. Whether its expiry may follow that of CONNECT is the session's affair. */
export function decodeDisconnect(
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  end: number,
  sender: Sender = 'client',
): DisconnectPacket {
  const reader = new PacketReader('DISCONNECT', bytes, start, end);
  if (version < 5 || reader.left === 0) {
    reader.finish();
    return { reasonCode: Reason.success };
  }
  const reasonCode = readReason(reader, 'disconnect', sender); // [MQTT-3.14.2-1]
  const properties = readLastProperties(reader, 'disconnect', sender);
  const { sessionExpiryInterval, reasonString, serverReference, userProperties } = properties;
  return { reasonCode, sessionExpiryInterval, reasonString, serverReference, userProperties };
}

/** AUTH, which exists since 5.0. */
export function decodeAuth(
  bytes: Buffer,
  start: number,
  end: number,
  sender: Sender = 'client',
): AuthPacket {
  const reader = new PacketReader('AUTH', bytes, start, end);
  if (reader.left === 0) throw reader.protocolError('no authentication method');
  const reasonCode = readReason(reader, 'auth', sender); // [MQTT-3.15.2-1]
  const properties = readLastProperties(reader, 'auth', sender);
  const { authenticationMethod, authenticationData, reasonString, userProperties } = properties;
  if (authenticationMethod === undefined) throw reader.protocolError('no authentication method');
  return { reasonCode, authenticationMethod, authenticationData, reasonString, userProperties };
}

/** Reads a packet identifier, which is never 0. */
export function readPacketId(reader: PacketReader, version: ProtocolVersion): number {
  const packetId = reader.u16('packet identifier');
  if (packetId === 0) {
    // [MQTT-2.2.1-3]; before 5.0 [MQTT-2.3.1-1]
    const code = version === 5 ? 'protocolError' : 'malformedPacket';
    throw new Fault(code, `${reader.packet}: packet identifier is 0`);
  }
  return packetId;
}

/** An empty filter closes a connection before 5.0, which can answer it by its reason. */
function readFilter(reader: PacketReader, version: ProtocolVersion): string {
  const filter = reader.string('topic filter');
  if (filter === '' && version < 5) throw reader.malformed('empty topic filter'); // [MQTT-4.7.3-1]
  return filter;
}

function readSubscription(reader: PacketReader, version: ProtocolVersion): SubscriptionRequest {
  const filter = readFilter(reader, version); // [MQTT-3.8.3-1]
  const options = reader.u8('subscription options');
  const parsed = parseShare(filter);
  // Before 5.0 `$share` means nothing, so what is no shared subscription is a filter like others.
  const share = parsed === 'invalid' && version < 5 ? undefined : parsed;
  const invalid = share === 'invalid' || (share === undefined && !isValidFilter(filter));
  const qos = (options & 0x03) as Qos;
  if (version < 5) {
    // [MQTT-3.8.3-4]; 3.1 does not use the upper bits.
    if ((options & 0x03) > 2 || (version === 4 && options > 2)) {
      throw reader.malformed(`requested QoS is 0x${options.toString(16)}`);
    }
    return { filter, invalid, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 };
  }
  const noLocal = (options & 0x04) !== 0;
  const retainAsPublished = (options & 0x08) !== 0;
  const retainHandling = (options >> 4) & 0x03;
  if ((options & 0xc0) !== 0) {
    throw reader.malformed(`subscription options are 0x${options.toString(16)}`); // [MQTT-3.8.3-5]
  }
  if ((options & 0x03) > 2) throw reader.protocolError('requested QoS is 3');
  if (retainHandling > 2) throw reader.protocolError('retain handling is 3');
  if (noLocal && share !== undefined) {
    throw reader.protocolError('no local on a shared subscription'); // [MQTT-3.8.3-4]
  }
  return {
    filter,
    invalid,
    qos,
    noLocal,
    retainAsPublished,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

function readReason(reader: PacketReader, place: PropertyPlace, sender: Sender): number {
  const code = reader.u8('reason code');
  if (!isReasonAllowed(code, place, sender)) {
    throw reader.protocolError(`reason code is 0x${code.toString(16)}`);
  }
  return code;
}

/** The properties of a packet that may end before its Property Length. */
function readLastProperties(
  reader: PacketReader,
  place: PropertyPlace,
  sender: Sender,
): PropertyValues {
  if (reader.left === 0) return {};
  const values = readProperties(reader, place, sender);
  reader.finish();
  return values;
}
