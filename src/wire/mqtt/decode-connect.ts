/**
 * CONNECT (section 3.1 of each standard): the packet in which the three versions differ most.
 *
 * The version is known only part of the way in, and how a refusal is worded depends on it; so
 * every fault leaves here as a `ConnectFault` that carries what was known.
 */
import { isUtf8 } from 'node:buffer';
import { Fault, type FaultCode } from '#base';
import type { ConnectPacket, ConnectProperties, ProtocolVersion, Qos, Will } from './packet.ts';
import { PacketReader } from './packet-reader.ts';
import { PropertyId, type PropertyValues } from './properties.ts';
import { propertySection, readProperties, readProperty } from './property-reader.ts';

/** A CONNECT that is refused, with the version whose CONNACK its sender understands. */
export class ConnectFault extends Fault {
  /** `undefined`: no MQTT that we know of; nothing is answered. */
  readonly protocolVersion: ProtocolVersion | undefined;

  constructor(
    code: FaultCode,
    detail: string,
    protocolVersion: ProtocolVersion | undefined,
    options?: ErrorOptions,
  ) {
    super(code, detail, options);
    this.protocolVersion = protocolVersion;
  }
}

/** The properties of a CONNECT that has none. */
export const CONNECT_PROPERTY_DEFAULTS: ConnectProperties = {
  sessionExpiryInterval: undefined,
  receiveMaximum: 0xffff,
  maximumPacketSize: undefined,
  topicAliasMaximum: 0,
  requestResponseInformation: false,
  requestProblemInformation: true,
  userProperties: [],
  authenticationMethod: undefined,
  authenticationData: undefined,
};

/** Decodes `[start, end)`, the packet behind its fixed header; throws `ConnectFault`. */
export function decodeConnect(bytes: Buffer, start: number, end: number): ConnectPacket {
  const reader = new PacketReader('CONNECT', bytes, start, end);
  let version: ProtocolVersion | undefined;
  try {
    const protocol = readProtocol(reader);
    version = protocol.version;
    return readConnect(reader, version, protocol.bridge);
  } catch (error) {
    if (!(error instanceof Fault) || error instanceof ConnectFault) throw error;
    throw new ConnectFault(error.code, error.message, version, { cause: error });
  }
}

interface Protocol {
  readonly version: ProtocolVersion;
  readonly bridge: boolean;
}

function readProtocol(reader: PacketReader): Protocol {
  const name = reader.string('protocol name');
  if (name !== 'MQTT' && name !== 'MQIsdp') {
    throw new ConnectFault('unsupportedVersion', 'CONNECT: protocol name is unknown', undefined);
  }
  const level = reader.u8('protocol level');
  if (name === 'MQTT') {
    if (level === 5) return { version: 5, bridge: false };
    if ((level & 0x7f) === 4) return { version: 4, bridge: level > 0x7f };
  } else if ((level & 0x7f) === 3) {
    return { version: 3, bridge: level > 0x7f };
  }
  // [MQTT-3.1.2-2] Said in the form that the nearest level we know would understand.
  const nearest = name === 'MQIsdp' ? 3 : level < 5 ? 4 : 5;
  throw new ConnectFault('unsupportedVersion', `CONNECT: protocol level is ${level}`, nearest);
}

interface ConnectFlags {
  readonly cleanStart: boolean;
  readonly will: boolean;
  readonly willQos: Qos;
  readonly willRetain: boolean;
  readonly password: boolean;
  readonly userName: boolean;
}

function readConnect(
  reader: PacketReader,
  version: ProtocolVersion,
  bridge: boolean,
): ConnectPacket {
  const flags = readFlags(reader, version);
  const keepAliveSeconds = reader.u16('keep alive');
  const properties = version === 5 ? readConnectProperties(reader) : CONNECT_PROPERTY_DEFAULTS;
  const clientId = reader.string('client identifier'); // [MQTT-3.1.3-3] [MQTT-3.1.3-4]
  const will = flags.will ? readWill(reader, version, flags) : undefined;
  // In 3.1 the length decides: credentials may be missing though their flags are set.
  const hasUserName = flags.userName && (version > 3 || reader.left > 0);
  const userName = hasUserName ? reader.string('user name') : undefined;
  const hasPassword = flags.password && (version > 3 || reader.left > 0);
  const password = hasPassword ? reader.binary('password') : undefined;
  reader.finish();
  const { cleanStart } = flags;
  if (clientId === '' && (version === 3 || (version === 4 && !cleanStart))) {
    throw new Fault('clientIdNotValid', 'CONNECT: client identifier is empty'); // [MQTT-3.1.3-8]
  }
  return {
    protocolVersion: version,
    bridge,
    cleanStart,
    keepAliveSeconds,
    clientId,
    userName,
    password,
    will,
    properties,
  };
}

function readFlags(reader: PacketReader, version: ProtocolVersion): ConnectFlags {
  const byte = reader.u8('connect flags');
  const will = (byte & 0x04) !== 0;
  const willQos = (byte >> 3) & 0x03;
  const willRetain = (byte & 0x20) !== 0;
  const password = (byte & 0x40) !== 0;
  const userName = (byte & 0x80) !== 0;
  if (willQos > 2 && (will || version > 3)) throw reader.malformed('will QoS is 3');
  if (version > 3) {
    // [MQTT-3.1.2-3]; 3.1 has no opinion on bits that are out of use.
    if ((byte & 0x01) !== 0) throw reader.malformed('connect flags: bit 0 is set');
    if (!will && (byte & 0x38) !== 0) {
      // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
      throw reader.malformed('will QoS or will retain is set, will flag is not');
    }
  }
  if (version === 4 && password && !userName) {
    throw reader.malformed('password flag without user name flag'); // [MQTT-3.1.2-22]
  }
  const cleanStart = (byte & 0x02) !== 0;
  return { cleanStart, will, willQos: willQos as Qos, willRetain, password, userName };
}

function readConnectProperties(reader: PacketReader): ConnectProperties {
  const values = readProperties(reader, 'connect', 'client');
  const { authenticationMethod, authenticationData } = values;
  if (authenticationMethod === undefined && authenticationData !== undefined) {
    throw reader.protocolError('authentication data without an authentication method');
  }
  return {
    sessionExpiryInterval: values.sessionExpiryInterval,
    receiveMaximum: values.receiveMaximum ?? CONNECT_PROPERTY_DEFAULTS.receiveMaximum,
    maximumPacketSize: values.maximumPacketSize,
    topicAliasMaximum: values.topicAliasMaximum ?? 0,
    requestResponseInformation: values.requestResponseInformation ?? false,
    requestProblemInformation: values.requestProblemInformation ?? true,
    userProperties: values.userProperties ?? [],
    authenticationMethod,
    authenticationData,
  };
}

function readWill(reader: PacketReader, version: ProtocolVersion, flags: ConnectFlags): Will {
  const properties = version === 5 ? readWillProperties(reader) : NO_WILL_PROPERTIES;
  const topic = reader.string('will topic'); // [MQTT-3.1.3-11]
  const payload = reader.binary('will payload');
  if (topic === '') throw new Fault('topicNameInvalid', 'CONNECT: will topic is empty');
  if (topic.includes('+') || topic.includes('#')) {
    throw new Fault('topicNameInvalid', 'CONNECT: will topic has a wildcard'); // [MQTT-4.7.0-1]
  }
  if (properties.values.payloadFormatIndicator === 1 && !isUtf8(payload)) {
    throw new Fault('payloadFormatInvalid', 'CONNECT: will payload is not valid UTF-8');
  }
  return {
    topic,
    payload,
    qos: flags.willQos,
    retain: flags.willRetain,
    willDelayInterval: properties.values.willDelayInterval ?? 0,
    publishProperties: properties.published,
  };
}

interface WillProperties {
  readonly values: PropertyValues;
  readonly published: Uint8Array;
}

const NO_WILL_PROPERTIES: WillProperties = { values: {}, published: new Uint8Array(0) };

function readWillProperties(reader: PacketReader): WillProperties {
  const section = propertySection(reader);
  const { bytes, position: start, end } = section;
  const values: PropertyValues = {};
  let delayStart = end;
  let delayEnd = end;
  while (section.left > 0) {
    const at = section.position;
    if (readProperty(section, 'will', 'client', values) === PropertyId.willDelayInterval) {
      delayStart = at;
      delayEnd = section.position;
    }
  }
  const { responseTopic } = values;
  if (responseTopic !== undefined && (responseTopic === '' || /[+#]/.test(responseTopic))) {
    throw reader.protocolError('response topic is empty or has a wildcard'); // [MQTT-3.3.2-14]
  }
  const published =
    delayStart === delayEnd
      ? bytes.subarray(start, end)
      : Buffer.concat([bytes.subarray(start, delayStart), bytes.subarray(delayEnd, end)]);
  return { values, published };
}
