/**
 * From CONNECT to CONNACK: checks, authentication, session, will.
 *
 * Whatever the client sends behind its CONNECT waits, unread where it can, until the answer is
 * out [MQTT-3.1.4-5] [MQTT-3.1.4-6].
 */
import { FAULTS } from '#base';
import {
  type Caller,
  type ConnectAttempt,
  type Exchange,
  type ExchangeStep,
  isRefusal,
  type Refusal,
  type Verdict,
} from '#identity';
import type { InstanceLimits } from '#instances';
import { countViolation } from '#telemetry';
import {
  type AuthPacket,
  ConnectFault,
  type ConnackProperties,
  type ConnectPacket,
  decodeConnect,
  encodeAuth,
  encodeConnack,
  isReasonAllowed,
} from '#wire';
import type { Broker } from './broker.ts';
import { Block, type Connection, ConnectionState, PACKET_BYTES_ANY } from './connection.ts';
import { setVersion } from './connect-version.ts';
import type { InstanceSpace } from './instance-space.ts';
import { ConnectedClient, dropForbidden } from './live-client.ts';
import { pump } from './pump.ts';
import { NEVER_EXPIRES } from './session-store.ts';

const CONTINUE_AUTHENTICATION = 0x18;
const RE_AUTHENTICATE = 0x19;

export function receiveConnect(
  connection: Connection,
  bytes: Buffer,
  bodyStart: number,
  end: number,
): void {
  const { broker } = connection;
  let packet: ConnectPacket;
  try {
    packet = decodeConnect(bytes, bodyStart, end);
  } catch (error) {
    if (!(error instanceof ConnectFault)) throw error;
    countViolation(broker.metrics, error.code);
    if (error.protocolVersion === undefined) connection.abandon();
    else {
      setVersion(connection, error.protocolVersion);
      refuseConnect(connection, { refused: error.code, detail: error.message });
    }
    return;
  }
  setVersion(connection, packet.protocolVersion);
  const { properties } = packet;
  connection.connect = packet;
  connection.tellsReasons = properties.requestProblemInformation;
  const packetBytesMax = properties.maximumPacketSize ?? PACKET_BYTES_ANY;
  connection.packetBytesMax = Math.min(packetBytesMax, PACKET_BYTES_ANY);
  connection.state = ConnectionState.connecting;
  const refused = checkClientId(connection, packet);
  if (refused !== undefined) {
    refuseConnect(connection, refused);
    return;
  }
  connection.block(Block.connecting);
  const busy = broker.admission.ask(connection, () => {
    settle(connection, authenticate(connection, packet));
  });
  if (busy !== undefined) {
    broker.metrics.overloadRefusals++;
    refuseConnect(connection, { refused: busy, detail: FAULTS[busy].text });
  }
}

function settle(connection: Connection, work: Promise<void>): void {
  work.catch((error: unknown) => connection.broker.failed(connection, error));
}

/** Refuses with a CONNACK where the version has a code for it, and closes. */
export function refuseConnect(connection: Connection, refusal: Refusal): void {
  if (connection.gone) return;
  const { broker } = connection;
  broker.metrics.connectsRefused++;
  const fault = FAULTS[refusal.refused];
  const detail = refusal.detail ?? fault.text;
  const { instance } = refusal;
  if (instance?.removed === false) broker.space(instance).metrics.connectsRefused++;
  broker.log.debug('connect refused', {
    instance: instance?.id,
    client: connection.connect?.clientId,
    address: connection.transport.peer.address,
    reason: detail,
  });
  if (!connection.versionKnown) return connection.abandon(); // nothing it would understand
  if (connection.version5) {
    if (!isReasonAllowed(fault.v5, 'connack', 'server')) return connection.abandon();
    const properties: ConnackProperties = {
      reasonString: detail,
      serverReference: refusal.serverReference,
    };
    const packet = { sessionPresent: false, reasonCode: fault.v5, properties };
    connection.appendPacket(encodeConnack(5, packet, connection.packetBytesMax));
  } else if (fault.v3 !== null) {
    const packet = { sessionPresent: false, reasonCode: fault.v3 }; // [MQTT-3.2.2-4]
    connection.appendPacket(encodeConnack(connection.version, packet, Number.POSITIVE_INFINITY));
  }
  connection.finish();
}

function checkClientId(connection: Connection, packet: ConnectPacket): Refusal | undefined {
  const { clientId, protocolVersion, cleanStart } = packet;
  if (clientId === '' && (protocolVersion === 3 || (protocolVersion === 4 && !cleanStart))) {
    return { refused: 'clientIdNotValid', detail: 'empty client identifier' }; // [MQTT-3.1.3-8]
  }
  if (Buffer.byteLength(clientId) > connection.broker.limits.clientIdBytesMax) {
    return { refused: 'clientIdNotValid', detail: 'client identifier too long' };
  }
  return undefined;
}

function attemptOf(connection: Connection, packet: ConnectPacket): ConnectAttempt {
  const { peer } = connection.transport;
  return {
    protocolVersion: packet.protocolVersion,
    clientId: packet.clientId,
    userName: packet.userName,
    password: packet.password,
    address: peer.address,
    listener: peer.listener,
    listenerInstanceId: peer.instanceId,
    serverName: peer.serverName,
    certificate: peer.certificate,
    certificateVerified: peer.certificateVerified,
  };
}

async function authenticate(connection: Connection, packet: ConnectPacket): Promise<void> {
  const { authenticator } = connection.broker;
  const request = attemptOf(connection, packet);
  const method = packet.properties.authenticationMethod;
  if (method === undefined) {
    await decide(connection, packet, await authenticator.authenticate(request), undefined);
    return;
  }
  const exchange = authenticator.exchange(method, request);
  if (exchange === undefined) {
    const detail = 'authentication method not supported'; // [MQTT-4.12.0-1]
    refuseConnect(connection, { refused: 'badAuthMethod', detail });
    return;
  }
  connection.authMethod = method;
  connection.exchange = exchange;
  const step = await exchange.step(packet.properties.authenticationData);
  await takeStep(connection, step, packet);
}

/** An AUTH packet: the next step of an exchange, or the beginning of a new one. */
export function receiveAuth(connection: Connection, packet: AuthPacket): void {
  const { broker } = connection;
  if (connection.authMethod === undefined) {
    broker.violated(connection, 'protocolError', 'AUTH without authentication method');
    return; // [MQTT-4.12.0-7]
  }
  if (packet.authenticationMethod !== connection.authMethod) {
    broker.violated(connection, 'protocolError', 'another authentication method');
    return; // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
  }
  const open = connection.state === ConnectionState.open;
  if (packet.reasonCode === RE_AUTHENTICATE && open && connection.exchange === undefined) {
    const request = attemptOf(connection, connection.connect!);
    connection.exchange = broker.authenticator.exchange(connection.authMethod, request);
  } else if (packet.reasonCode !== CONTINUE_AUTHENTICATION || connection.exchange === undefined) {
    broker.violated(connection, 'protocolError', 'AUTH out of turn'); // [MQTT-4.12.0-3]
    return;
  }
  const { exchange } = connection;
  if (exchange === undefined) {
    broker.disconnect(connection, 'notAuthorized', 'authentication method not supported');
    return;
  }
  connection.block(Block.connecting);
  settle(connection, nextStep(connection, exchange, packet.authenticationData));
}

async function nextStep(
  connection: Connection,
  exchange: Exchange,
  data: Uint8Array | undefined,
): Promise<void> {
  const step = await exchange.step(data);
  await takeStep(connection, step, connection.connect!);
}

async function takeStep(
  connection: Connection,
  step: ExchangeStep,
  packet: ConnectPacket,
): Promise<void> {
  if (connection.gone) return;
  const authenticationMethod = connection.authMethod;
  if ('more' in step) {
    const auth = {
      reasonCode: CONTINUE_AUTHENTICATION, // [MQTT-4.12.0-2]
      authenticationMethod,
      authenticationData: step.more,
    };
    connection.appendPacket(encodeAuth(auth, connection.packetBytesMax));
    connection.broker.turn.schedule();
    connection.unblock(Block.connecting);
    return;
  }
  connection.exchange = undefined;
  if (connection.state !== ConnectionState.open) {
    await decide(connection, packet, step.verdict, step.data);
    return;
  }
  if (isRefusal(step.verdict)) {
    const { refused, detail, serverReference } = step.verdict;
    connection.broker.disconnect(connection, refused, detail, serverReference); // [MQTT-4.12.1-2]
    return;
  }
  if (!changeCaller(connection, step.verdict)) return;
  const auth = { reasonCode: 0, authenticationMethod, authenticationData: step.data };
  connection.appendPacket(encodeAuth(auth, connection.packetBytesMax));
  connection.broker.turn.schedule();
  connection.unblock(Block.connecting);
}

/** The client has authenticated again, perhaps as somebody who may do less. */
function changeCaller(connection: Connection, caller: Caller): boolean {
  const before = connection.caller!;
  if (caller.instance !== before.instance || caller.userName !== before.userName) {
    const detail = 'authenticated as somebody else';
    connection.broker.disconnect(connection, 'notAuthorized', detail);
    return false;
  }
  connection.disconnected?.();
  connection.caller = caller;
  connection.permittedTopic = undefined;
  connectCaller(connection, caller);
  if (!connection.gone) new ConnectedClient(connection).permissionsChanged();
  return !connection.gone;
}

/** From here on whoever knows the caller may end the connection, perhaps at once. */
function connectCaller(connection: Connection, caller: Caller): void {
  const client = new ConnectedClient(connection);
  connection.broker.authenticator.accepted?.(caller, client);
  const disconnected = caller.connected?.(client);
  if (connection.gone) disconnected?.();
  else connection.disconnected = disconnected;
}

async function decide(
  connection: Connection,
  packet: ConnectPacket,
  verdict: Verdict,
  authenticationData: Uint8Array | undefined,
): Promise<void> {
  if (connection.gone) return;
  if (isRefusal(verdict)) {
    refuseConnect(connection, verdict);
    return;
  }
  const will = packet.will;
  if (will !== undefined && verdict.permissions?.mayPublish(will.topic) === false) {
    refuseConnect(connection, { refused: 'notAuthorized', detail: 'will topic not permitted' });
    return;
  }
  await establish(connection, packet, verdict, authenticationData);
}

async function establish(
  connection: Connection,
  packet: ConnectPacket,
  caller: Caller,
  authenticationData: Uint8Array | undefined,
): Promise<void> {
  const { broker } = connection;
  const { limits } = broker;
  const space = broker.space(caller.instance);
  if (refusedByInstance(connection, packet, space)) return;
  const bounds = caller.instance.limits;
  const clientId = caller.assignedClientId ?? (packet.clientId || freshClientId(broker));
  const assigned = clientId !== packet.clientId || caller.assignedClientId !== undefined;
  connection.caller = caller;
  const asked = expiryAsked(packet);
  const expirySeconds = space.guard.expirySeconds(asked);
  const keepAlive = boundKeepAlive(packet.keepAliveSeconds, bounds);
  const silenceMs = keepAlive * 1_500;
  connection.packetBytesInMax = Math.min(limits.packetBytesMax, bounds.packetBytesMax);
  const properties: ConnackProperties = {
    sessionExpiryInterval: expirySeconds === asked ? undefined : expirySeconds,
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: connection.packetBytesInMax,
    serverKeepAlive: keepAlive === packet.keepAliveSeconds ? undefined : keepAlive,
    topicAliasMaximum: limits.topicAliasMaximum,
    assignedClientIdentifier: assigned ? clientId : undefined, // [MQTT-3.1.3-7]
    responseInformation: packet.properties.requestResponseInformation
      ? `responses/${clientId}` // [MQTT-3.1.2-28]
      : undefined,
    authenticationMethod: connection.authMethod,
    authenticationData,
  };
  const answer = fittingAnswer(connection, properties);
  if (answer === undefined) {
    // Before anything is taken over: whom nobody can admit changes nothing [MQTT-3.1.2-24].
    refuseConnect(connection, { refused: 'packetTooLarge', detail: 'CONNACK is too large' });
    return;
  }
  const present = await broker.directory.claim(connection, caller, {
    clientId,
    cleanStart: packet.cleanStart,
    expirySeconds,
  });
  if (connection.gone) return;
  const session = connection.session!;
  if (space.instance.removed) {
    session.expirySeconds = 0; // nothing of it stays
    refuseConnect(connection, { refused: 'instanceUnknown' });
    return;
  }
  session.windowMax = Math.min(packet.properties.receiveMaximum, limits.inflightCountMax);
  connection.aliasOutMax = Math.min(packet.properties.topicAliasMaximum, limits.topicAliasMaximum);
  dropForbidden(connection); // a session may come back to a client that may do less
  connection.appendPacket(encodeAccepted(connection, answer, present));
  connection.state = ConnectionState.open;
  broker.metrics.connectsAccepted++;
  space.metrics.connectsAccepted++;
  connection.silence.bound(silenceMs);
  if (silenceMs === 0) connection.transport.watchPeer();
  broker.log.debug('client connected', {
    client: clientId,
    address: connection.transport.peer.address,
    version: connection.version,
  });
  if (connection.authMethod === undefined) connection.connect = undefined;
  connectCaller(connection, caller);
  if (connection.gone) return;
  pump(session);
  connection.unblock(Block.connecting);
  broker.turn.schedule();
}

/** What fits the client's Maximum Packet Size: what it can do without gives way first. */
function fittingAnswer(
  connection: Connection,
  properties: ConnackProperties,
): ConnackProperties | undefined {
  const bare: ConnackProperties = { ...properties, responseInformation: undefined };
  for (const answer of [properties, bare]) {
    if (encodeAccepted(connection, answer, false).length <= connection.packetBytesMax) {
      return answer;
    }
  }
  return undefined;
}

function encodeAccepted(
  { version, packetBytesMax }: Connection,
  properties: ConnackProperties,
  sessionPresent: boolean,
): Buffer {
  return encodeConnack(version, { sessionPresent, reasonCode: 0, properties }, packetBytesMax);
}

/** True: the instance does not want this connection, or not its will, and it was told so. */
function refusedByInstance(
  connection: Connection,
  { clientId, will }: ConnectPacket,
  { guard, instance }: InstanceSpace,
): boolean {
  const refused = guard.connect(clientId) ?? (will === undefined ? undefined : guard.will(will));
  if (refused === undefined) return false;
  connection.broker.metrics.overloadRefusals++;
  refuseConnect(connection, { refused, instance });
  return true;
}

function freshClientId(broker: Broker): string {
  return `auto-${Buffer.from(broker.random.bytes(12)).toString('hex')}`;
}

/** 0 means no bound, so it is more than any. */
function boundKeepAlive(seconds: number, { keepAliveSecondsMax }: InstanceLimits): number {
  if (seconds > 0 && seconds <= keepAliveSecondsMax) return seconds;
  return keepAliveSecondsMax === Number.POSITIVE_INFINITY ? seconds : keepAliveSecondsMax;
}

/** Seconds the client wants its session kept: before 5.0 for ever, or not at all. */
function expiryAsked(packet: ConnectPacket): number {
  if (packet.protocolVersion === 5) return packet.properties.sessionExpiryInterval ?? 0;
  return packet.cleanStart ? 0 : NEVER_EXPIRES;
}
