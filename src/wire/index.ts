/** Bytes and what they mean: MQTT packets, PROXY headers, WebSocket frames. Knows no sockets and no broker. */
export {
  decodeConnack,
  decodePublish,
  decodePublishProperties,
  decodeSuback,
  decodeUnsuback,
  encodeConnect,
  encodePublish,
  encodePublishProperties,
  encodeSubscribe,
  encodeUnsubscribe,
  type PublishProperties,
} from './mqtt/client-codec.ts';
export { CONNECT_PROPERTY_DEFAULTS, ConnectFault, decodeConnect } from './mqtt/decode-connect.ts';
export {
  type AckType,
  decodeAck,
  decodeAuth,
  decodeDisconnect,
  decodeSubscribe,
  decodeUnsubscribe,
} from './mqtt/decoder.ts';
export {
  encodeAck,
  encodeAuth,
  encodeConnack,
  encodeDisconnect,
  encodeSuback,
  encodeUnsuback,
  PINGREQ,
  PINGRESP,
} from './mqtt/encoder.ts';
export {
  type AckPacket,
  type AuthPacket,
  type ConnackPacket,
  type ConnackProperties,
  type ConnectPacket,
  type ConnectProperties,
  type DisconnectPacket,
  type ListAckPacket,
  PacketType,
  type ProtocolVersion,
  type PublishPacket,
  type Qos,
  type SubscribePacket,
  type SubscriptionRequest,
  type UnsubscribePacket,
  type UserProperties,
  type Will,
} from './mqtt/packet.ts';
export {
  PROPERTIES,
  PropertyId,
  type PropertyPlace,
  type PropertyRow,
  type PropertyType,
  type PropertyValues,
  type Sender,
} from './mqtt/properties.ts';
export { PublishPropertyView, readPublishProperties } from './mqtt/publish-properties.ts';
export { isReasonAllowed, Reason, reasonName, type ReasonRow, REASONS } from './mqtt/reason.ts';
export { isValidFilter, parseShare, type Share } from './mqtt/topic-filter-syntax.ts';
export { isTopicName, isValidUtf8 } from './mqtt/utf8.ts';
export {
  readVarint,
  readVarintSize,
  VARINT_MAX,
  varintSize,
  writeVarint,
} from './mqtt/varint.ts';
export {
  createProxyHeaderReader,
  type ProxyHeader,
  type ProxyHeaderReader,
  type ProxySource,
} from './proxy-protocol.ts';
export {
  binaryFrameHeader,
  closeFrame,
  pongFrame,
  WebSocketClose,
  WebSocketReader,
} from './websocket-frames.ts';
