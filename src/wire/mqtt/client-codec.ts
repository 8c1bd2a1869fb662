/** The client's half of the protocol: for the command line, rules that speak MQTT, and tests. */
import { Fault } from '#base';
import { readPacketId } from './decoder.ts';
import {
  type ConnackPacket,
  type ConnectPacket,
  type ConnectProperties,
  type ListAckPacket,
  PacketType,
  type ProtocolVersion,
  type PublishPacket,
  type Qos,
  type SubscribePacket,
  type UnsubscribePacket,
} from './packet.ts';
import { PacketReader } from './packet-reader.ts';
import { encodeProperties, PacketWriter } from './packet-writer.ts';
import type { PropertyPlace, PropertyValues } from './properties.ts';
import { propertySection, readProperties, readProperty } from './property-reader.ts';
import { isReasonAllowed } from './reason.ts';

/** CONNECT. Properties that say what their absence says are left out. */
export function encodeConnect(packet: ConnectPacket): Buffer {
  const { protocolVersion: version, will, userName, password } = packet;
  const writer = new PacketWriter();
  writer.string(version === 3 ? 'MQIsdp' : 'MQTT');
  writer.u8(version | (packet.bridge ? 0x80 : 0));
  let flags = packet.cleanStart ? 0x02 : 0;
  if (will !== undefined) flags |= 0x04 | (will.qos << 3) | (will.retain ? 0x20 : 0);
  if (password !== undefined) flags |= 0x40;
  if (userName !== undefined) flags |= 0x80;
  writer.u8(flags);
  writer.u16(packet.keepAliveSeconds);
  if (version === 5) writer.section(encodeProperties(spokenProperties(packet.properties)));
  writer.string(packet.clientId);
  if (will !== undefined) {
    if (version === 5) {
      const { willDelayInterval: delay } = will;
      const own = encodeProperties({ willDelayInterval: delay === 0 ? undefined : delay });
      writer.section(Buffer.concat([own, will.publishProperties]));
    }
    writer.string(will.topic);
    writer.binary(will.payload);
  }
  if (userName !== undefined) writer.string(userName);
  if (password !== undefined) writer.binary(password);
  return writer.packet(PacketType.connect << 4);
}

/** SUBSCRIBE. */
export function encodeSubscribe(version: ProtocolVersion, packet: SubscribePacket): Buffer {
  const writer = new PacketWriter();
  writer.u16(packet.packetId);
  if (version === 5) {
    const { subscriptionIdentifier: id, userProperties } = packet;
    const subscriptionIdentifiers = id === 0 ? undefined : [id];
    writer.section(encodeProperties({ subscriptionIdentifiers, userProperties }));
  }
  for (const request of packet.subscriptions) {
    writer.string(request.filter);
    const options =
      (request.noLocal ? 0x04 : 0) |
      (request.retainAsPublished ? 0x08 : 0) |
      (request.retainHandling << 4);
    writer.u8(request.qos | (version === 5 ? options : 0));
  }
  return writer.packet((PacketType.subscribe << 4) | 0x02);
}

/** UNSUBSCRIBE. */
export function encodeUnsubscribe(version: ProtocolVersion, packet: UnsubscribePacket): Buffer {
  const writer = new PacketWriter();
  writer.u16(packet.packetId);
  if (version === 5) {
    writer.section(encodeProperties({ userProperties: packet.userProperties }));
  }
  for (const filter of packet.filters) writer.string(filter);
  return writer.packet((PacketType.unsubscribe << 4) | 0x02);
}

/** PUBLISH, in either direction. */
export function encodePublish(version: ProtocolVersion, packet: PublishPacket): Buffer {
  const writer = new PacketWriter();
  writer.string(packet.topic);
  if (packet.qos > 0) writer.u16(packet.packetId);
  if (version === 5) writer.section(packet.properties);
  writer.raw(packet.payload);
  const flags = (packet.dup ? 0x08 : 0) | (packet.qos << 1) | (packet.retain ? 0x01 : 0);
  return writer.packet((PacketType.publish << 4) | flags);
}

/** CONNACK. */
export function decodeConnack(
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  end: number,
): ConnackPacket {
  const reader = new PacketReader('CONNACK', bytes, start, end);
  const flags = reader.u8('acknowledge flags');
  if (flags > 1) throw reader.malformed(`acknowledge flags are 0x${flags.toString(16)}`);
  const sessionPresent = flags === 1;
  const reasonCode = reader.u8('reason code');
  if (version < 5) {
    reader.finish();
    return { sessionPresent, reasonCode };
  }
  if (!isReasonAllowed(reasonCode, 'connack', 'server')) {
    throw reader.protocolError(`reason code is 0x${reasonCode.toString(16)}`); // [MQTT-3.2.2-8]
  }
  const values = readProperties(reader, 'connack', 'server');
  reader.finish();
  const maximumQos = values.maximumQos as 0 | 1 | undefined;
  return { sessionPresent, reasonCode, properties: { ...values, maximumQos } };
}

/** SUBACK. */
export function decodeSuback(
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  end: number,
): ListAckPacket {
  return decodeListAck(version, 'suback', new PacketReader('SUBACK', bytes, start, end));
}

/** UNSUBACK; before 5.0 it has no reason codes. */
export function decodeUnsuback(
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  end: number,
): ListAckPacket {
  return decodeListAck(version, 'unsuback', new PacketReader('UNSUBACK', bytes, start, end));
}

/** PUBLISH as a broker sends it; `firstByte` is the packet's. Views of `bytes`. */
export function decodePublish(
  version: ProtocolVersion,
  firstByte: number,
  bytes: Buffer,
  start: number,
  end: number,
): PublishPacket {
  const reader = new PacketReader('PUBLISH', bytes, start, end);
  const qos = (firstByte >> 1) & 0x03;
  if (qos > 2) throw reader.malformed('QoS is 3'); // [MQTT-3.3.1-4]
  const topic = reader.string('topic'); // [MQTT-3.3.2-1]
  if (topic.includes('+') || topic.includes('#')) {
    throw reader.malformed('topic has a wildcard'); // [MQTT-3.3.2-2]
  }
  const packetId = qos > 0 ? readPacketId(reader, version) : 0;
  const properties = version === 5 ? readPublishSection(reader, topic) : new Uint8Array(0);
  if (version < 5 && topic === '') throw reader.malformed('topic is empty'); // [MQTT-4.7.3-1]
  return {
    topic,
    payload: reader.rest(),
    qos: qos as Qos,
    retain: (firstByte & 0x01) !== 0,
    dup: (firstByte & 0x08) !== 0,
    packetId,
    properties,
  };
}

/** A PUBLISH's properties as values. */
export interface PublishProperties {
  readonly payloadFormatIndicator?: number | undefined;
  readonly messageExpiryInterval?: number | undefined;
  readonly contentType?: string | undefined;
  readonly responseTopic?: string | undefined;
  readonly correlationData?: Uint8Array | undefined;
  readonly subscriptionIdentifiers?: readonly number[] | undefined;
  readonly topicAlias?: number | undefined;
  readonly userProperties?: readonly (readonly [name: string, value: string])[] | undefined;
}

/** Property bytes of a PUBLISH, without their length. */
export function encodePublishProperties(properties: PublishProperties): Buffer {
  return encodeProperties(properties);
}

/** Reads what `encodePublishProperties` and brokers write. */
export function decodePublishProperties(bytes: Uint8Array): PublishProperties {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const section = new PacketReader('PUBLISH', view, 0, view.length);
  const values: PropertyValues = {};
  while (section.left > 0) readProperty(section, 'publish', 'server', values);
  return values;
}

function spokenProperties(properties: ConnectProperties): PropertyValues {
  return {
    sessionExpiryInterval: properties.sessionExpiryInterval,
    receiveMaximum: properties.receiveMaximum === 0xffff ? undefined : properties.receiveMaximum,
    maximumPacketSize: properties.maximumPacketSize,
    topicAliasMaximum: properties.topicAliasMaximum || undefined,
    requestResponseInformation: properties.requestResponseInformation || undefined,
    requestProblemInformation: properties.requestProblemInformation ? undefined : false,
    userProperties: properties.userProperties,
    authenticationMethod: properties.authenticationMethod,
    authenticationData: properties.authenticationData,
  };
}

function decodeListAck(
  version: ProtocolVersion,
  place: PropertyPlace,
  reader: PacketReader,
): ListAckPacket {
  const packetId = readPacketId(reader, version);
  if (version < 5) {
    const reasonCodes = [...reader.rest()];
    if (place === 'unsuback' && reasonCodes.length > 0) throw reader.malformed('it has a payload');
    const unknown = reasonCodes.find((code) => code > 2 && code !== 0x80);
    if (unknown !== undefined) throw reader.protocolError(`return code is ${unknown}`);
    return { packetId, reasonCodes };
  }
  const { reasonString, userProperties } = readProperties(reader, place, 'server');
  const reasonCodes = [...reader.rest()];
  const unknown = reasonCodes.find((code) => !isReasonAllowed(code, place, 'server'));
  if (unknown !== undefined) throw reader.protocolError(`reason code is ${unknown}`);
  return { packetId, reasonCodes, reasonString, userProperties };
}

function readPublishSection(reader: PacketReader, topic: string): Uint8Array {
  const section = propertySection(reader);
  const bytes = section.bytes.subarray(section.position, section.end);
  const { topicAlias } = decodePublishProperties(bytes);
  if (topic === '' && topicAlias === undefined) {
    throw new Fault('protocolError', 'PUBLISH: neither topic nor topic alias');
  }
  return bytes;
}
