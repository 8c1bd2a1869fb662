/**
 * The packets a broker sends, all but PUBLISH.
 *
 * `sizeMax` is the receiver's Maximum Packet Size (Infinity: none told). What explains a refusal
 * to people gives way first: the Reason String, then the User Properties. A packet may still be
 * larger after that; then it is the caller who must not send it [MQTT-3.1.2-24].
 */
import type { AckType } from './decoder.ts';
import {
  type AckPacket,
  type AuthPacket,
  type ConnackPacket,
  type DisconnectPacket,
  type ListAckPacket,
  PacketType,
  type ProtocolVersion,
} from './packet.ts';
import { encodeProperties, PacketWriter } from './packet-writer.ts';
import type { PropertyValues } from './properties.ts';
import { Reason } from './reason.ts';

export const PINGREQ: Uint8Array = Uint8Array.of(PacketType.pingreq << 4, 0);
export const PINGRESP: Uint8Array = Uint8Array.of(PacketType.pingresp << 4, 0);

/** CONNACK; before 5.0 the properties are not said. */
export function encodeConnack(
  version: ProtocolVersion,
  packet: ConnackPacket,
  sizeMax: number,
): Buffer {
  // [MQTT-3.2.2-6]; in 3.1 the byte is not used.
  const present = packet.sessionPresent && packet.reasonCode === Reason.success && version > 3;
  const firstByte = PacketType.connack << 4;
  if (version < 5) return Buffer.of(firstByte, 2, present ? 1 : 0, packet.reasonCode);
  // [MQTT-3.2.2-19] [MQTT-3.2.2-20]
  return fitted(packet.properties ?? {}, sizeMax, (properties) => {
    const writer = new PacketWriter();
    writer.u8(present ? 1 : 0);
    writer.u8(packet.reasonCode);
    writer.section(properties);
    return writer.packet(firstByte);
  });
}

/** SUBACK. */
export function encodeSuback(
  version: ProtocolVersion,
  packet: ListAckPacket,
  sizeMax: number,
): Buffer {
  // [MQTT-3.9.2-1] [MQTT-3.9.2-2]
  return fitted(version === 5 ? packet : {}, sizeMax, (properties) => {
    const writer = new PacketWriter();
    writer.u16(packet.packetId);
    if (version === 5) writer.section(properties);
    for (const code of packet.reasonCodes) writer.u8(code);
    return writer.packet(PacketType.suback << 4);
  });
}

/** UNSUBACK; before 5.0 it is the packet identifier alone. */
export function encodeUnsuback(
  version: ProtocolVersion,
  packet: ListAckPacket,
  sizeMax: number,
): Buffer {
  const firstByte = PacketType.unsuback << 4;
  const { packetId } = packet;
  if (version < 5) return Buffer.of(firstByte, 2, packetId >> 8, packetId & 0xff);
  // [MQTT-3.11.2-1] [MQTT-3.11.2-2]
  return fitted(packet, sizeMax, (properties) => {
    const writer = new PacketWriter();
    writer.u16(packetId);
    writer.section(properties);
    for (const code of packet.reasonCodes) writer.u8(code);
    return writer.packet(firstByte);
  });
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP, in the shortest form there is. */
export function encodeAck(
  version: ProtocolVersion,
  type: AckType,
  packet: AckPacket,
  sizeMax: number,
): Buffer {
  const { packetId, reasonCode } = packet;
  const firstByte = (type << 4) | (type === PacketType.pubrel ? 0x02 : 0); // [MQTT-3.6.1-1]
  const high = packetId >> 8;
  const low = packetId & 0xff;
  const plain = packet.reasonString === undefined && packet.userProperties === undefined;
  if (version < 5 || (plain && reasonCode === Reason.success)) {
    return Buffer.of(firstByte, 2, high, low);
  }
  if (plain) return Buffer.of(firstByte, 3, high, low, reasonCode);
  // [MQTT-3.4.2-2] [MQTT-3.4.2-3], and their like for the other three
  return fitted(packet, sizeMax, (properties) => {
    const writer = new PacketWriter();
    writer.u16(packetId);
    writeReasonAndProperties(writer, reasonCode, properties);
    return writer.packet(firstByte);
  });
}

/** DISCONNECT. Before 5.0 only a client sends one, and it says nothing: `{ reasonCode: 0 }`. */
export function encodeDisconnect(packet: DisconnectPacket, sizeMax: number): Buffer {
  // [MQTT-3.14.2-3] [MQTT-3.14.2-4]
  return fitted(packet, sizeMax, (properties) => {
    const writer = new PacketWriter();
    writeReasonAndProperties(writer, packet.reasonCode, properties);
    return writer.packet(PacketType.disconnect << 4);
  });
}

/** AUTH. */
export function encodeAuth(packet: AuthPacket, sizeMax: number): Buffer {
  // [MQTT-3.15.2-2] [MQTT-3.15.2-3]
  return fitted(packet, sizeMax, (properties) => {
    const writer = new PacketWriter();
    writeReasonAndProperties(writer, packet.reasonCode, properties);
    return writer.packet(PacketType.auth << 4);
  });
}

/** Leaves out a success without properties, and a Property Length of nothing. */
function writeReasonAndProperties(writer: PacketWriter, code: number, properties: Buffer): void {
  if (properties.length === 0 && code === Reason.success) return;
  writer.u8(code);
  if (properties.length > 0) writer.section(properties);
}

function fitted(
  properties: Readonly<PropertyValues>,
  sizeMax: number,
  encode: (properties: Buffer) => Buffer,
): Buffer {
  const whole = encode(encodeProperties(properties));
  if (whole.length <= sizeMax) return whole;
  const unexplained = encode(encodeProperties({ ...properties, reasonString: undefined }));
  if (unexplained.length <= sizeMax) return unexplained;
  const bare = { ...properties, reasonString: undefined, userProperties: undefined };
  return encode(encodeProperties(bare));
}
