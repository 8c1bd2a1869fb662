/**
 * The properties of a client's PUBLISH, checked in place.
 *
 * They are forwarded as the bytes they came as, so nothing is decoded here but what the broker
 * acts on: the topic alias (cut out when forwarding) and the expiry (patched when forwarding).
 *
 * @hot
 */
import type { FaultCode } from '#base';
import { isTopicName, isValidUtf8 } from './utf8.ts';

/** What the broker has to know of a PUBLISH's properties. One object, filled again and again. */
export class PublishPropertyView {
  /** Empty: the properties are in order. */
  fault: FaultCode | '' = '';
  faultText = '';
  /** 0: none. */
  topicAlias = 0;
  /** Where the topic alias stands, identifier included; -1: nowhere. */
  aliasStart = -1;
  aliasEnd = -1;
  /** Seconds; -1: never expires. */
  messageExpiryInterval = -1;
  /** Where the four bytes of the interval stand; -1: nowhere. */
  expiryOffset = -1;
  payloadFormatUtf8 = false;
  hasResponseTopic = false;

  reset(): void {
    this.fault = '';
    this.faultText = '';
    this.topicAlias = 0;
    this.aliasStart = -1;
    this.aliasEnd = -1;
    this.messageExpiryInterval = -1;
    this.expiryOffset = -1;
    this.payloadFormatUtf8 = false;
    this.hasResponseTopic = false;
  }
}

/** Reads and checks `[start, end)`, the bytes behind the Property Length; false: see `fault`. */
export function readPublishProperties(
  bytes: Uint8Array,
  start: number,
  end: number,
  view: PublishPropertyView,
): boolean {
  view.reset();
  let seen = 0; // one bit per property
  let i = start;
  while (i < end) {
    const id = bytes[i]!;
    if (id !== USER_PROPERTY) {
      const bit = seenBit(id);
      if (bit === 0) return refuseIdentifier(view, id);
      if ((seen & bit) !== 0) return refuse(view, 'protocolError', TWICE);
      seen |= bit;
    }
    const next = readOne(bytes, i, end, id, view);
    if (next < 0) return false;
    i = next;
  }
  return true;
}

/** Reads the property at `at` and returns the offset after it; -1: refused. */
function readOne(
  bytes: Uint8Array,
  at: number,
  end: number,
  id: number,
  view: PublishPropertyView,
): number {
  const value = at + 1;
  switch (id) {
    case USER_PROPERTY: {
      const middle = afterString(bytes, value, end, view);
      return middle < 0 ? -1 : afterString(bytes, middle, end, view);
    }
    case TOPIC_ALIAS:
      if (end - value < 2) return refused(view, 'malformedPacket', CUT_SHORT);
      view.topicAlias = (bytes[value]! << 8) | bytes[value + 1]!;
      if (view.topicAlias === 0) return refused(view, 'topicAliasInvalid', ALIAS_ZERO);
      view.aliasStart = at;
      view.aliasEnd = value + 2;
      return value + 2;
    case MESSAGE_EXPIRY:
      if (end - value < 4) return refused(view, 'malformedPacket', CUT_SHORT);
      view.messageExpiryInterval = readU32(bytes, value);
      view.expiryOffset = value;
      return value + 4;
    case PAYLOAD_FORMAT:
      if (end - value < 1) return refused(view, 'malformedPacket', CUT_SHORT);
      if (bytes[value]! > 1) return refused(view, 'protocolError', FORMAT_UNKNOWN);
      view.payloadFormatUtf8 = bytes[value] === 1;
      return value + 1;
    case CONTENT_TYPE:
      return afterString(bytes, value, end, view);
    case RESPONSE_TOPIC: {
      const next = afterString(bytes, value, end, view);
      if (next < 0) return -1;
      // [MQTT-3.3.2-14]
      if (!isTopicName(bytes, value + 2, next)) return refused(view, 'protocolError', NO_TOPIC);
      view.hasResponseTopic = true;
      return next;
    }
    default:
      return afterBinary(bytes, value, end, view); // correlation data
  }
}

function afterBinary(
  bytes: Uint8Array,
  at: number,
  end: number,
  view: PublishPropertyView,
): number {
  if (end - at < 2) return refused(view, 'malformedPacket', CUT_SHORT);
  const next = at + 2 + ((bytes[at]! << 8) | bytes[at + 1]!);
  return next > end ? refused(view, 'malformedPacket', CUT_SHORT) : next;
}

function afterString(
  bytes: Uint8Array,
  at: number,
  end: number,
  view: PublishPropertyView,
): number {
  const next = afterBinary(bytes, at, end, view);
  if (next < 0 || isValidUtf8(bytes, at + 2, next)) return next;
  return refused(view, 'malformedPacket', NOT_UTF8);
}

function readU32(bytes: Uint8Array, at: number): number {
  const high = (bytes[at]! << 8) | bytes[at + 1]!;
  return high * 0x1_0000 + ((bytes[at + 2]! << 8) | bytes[at + 3]!);
}

/** 0: a client's PUBLISH does not hold this property. */
function seenBit(id: number): number {
  switch (id) {
    case PAYLOAD_FORMAT:
    case MESSAGE_EXPIRY:
    case CONTENT_TYPE:
    case RESPONSE_TOPIC:
    case CORRELATION_DATA:
      return 1 << id;
    case TOPIC_ALIAS:
      return 1;
    default:
      return 0;
  }
}

function refuseIdentifier(view: PublishPropertyView, id: number): boolean {
  // [MQTT-3.3.4-6]
  if (id === SUBSCRIPTION_ID) return refuse(view, 'protocolError', SUBSCRIPTION_ID_SENT);
  return refuse(view, 'malformedPacket', MISPLACED);
}

function refused(view: PublishPropertyView, code: FaultCode, text: string): -1 {
  refuse(view, code, text);
  return -1;
}

function refuse(view: PublishPropertyView, code: FaultCode, text: string): false {
  view.fault = code;
  view.faultText = text;
  return false;
}

const PAYLOAD_FORMAT = 0x01;
const MESSAGE_EXPIRY = 0x02;
const CONTENT_TYPE = 0x03;
const RESPONSE_TOPIC = 0x08;
const CORRELATION_DATA = 0x09;
const SUBSCRIPTION_ID = 0x0b;
const TOPIC_ALIAS = 0x23;
const USER_PROPERTY = 0x26;

const TWICE = 'PUBLISH: a property stands there twice';
const CUT_SHORT = 'PUBLISH: a property reaches beyond the properties';
const NOT_UTF8 = 'PUBLISH: a property is not valid UTF-8';
const MISPLACED = 'PUBLISH: a property that does not exist or does not belong there';
const SUBSCRIPTION_ID_SENT = 'PUBLISH: a client sends no subscription identifier';
const ALIAS_ZERO = 'PUBLISH: topic alias is 0';
const FORMAT_UNKNOWN = 'PUBLISH: payload format indicator is neither 0 nor 1';
const NO_TOPIC = 'PUBLISH: response topic is empty or has a wildcard';
