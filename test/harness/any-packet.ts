/**
 * Any packet there is, for property tests; within what `mqtt-packet` can say too, so that it
 * can serve as a second opinion.
 */
import fc from 'fast-check';
import {
  CONNECT_PROPERTY_DEFAULTS,
  type ConnectPacket,
  type decodeAck,
  type decodeAuth,
  type decodeConnack,
  type decodeDisconnect,
  type decodePublish,
  type decodeSuback,
  type decodeSubscribe,
  type decodeUnsubscribe,
  encodePublishProperties,
  type PropertyPlace,
  type ProtocolVersion,
  type PublishProperties,
  REASONS,
  type Sender,
  type UserProperties,
} from '#wire';

const anyText = fc
  .string({ unit: 'binary', maxLength: 40 })
  .map((text) => text.replaceAll('\0', '0'));
const anyWord = anyText.map((text) => `w${text}`);
const anyTopic = anyWord.map((text) => text.replaceAll(/[+#]/g, '-'));
const anyBytes = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const anyId = fc.integer({ min: 1, max: 0xffff });
const anyU16 = fc.nat(0xffff);
const anyU32 = fc.nat(0xffff_ffff);
const anyQos = fc.constantFrom(0 as const, 1 as const, 2 as const);
/** A user property. */
export const anyPair: fc.Arbitrary<[string, string]> = fc.tuple(anyText, anyText);
/** User properties, each name once, none empty. */
export const anyPairs: fc.Arbitrary<[string, string][]> = fc.uniqueArray(
  fc.tuple(anyWord, anyText),
  {
    maxLength: 3,
    selector: ([name]) => name,
  },
);

function maybe<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.option(arbitrary, { nil: undefined });
}

function anyReason(place: PropertyPlace, sender: Sender): fc.Arbitrary<number> {
  // mqtt-packet has no 0x8C in DISCONNECT; the standard has it in one table of two.
  const rows = REASONS.filter(
    (row) => row[sender].includes(place) && (row.code !== 0x8c || place !== 'disconnect'),
  );
  return fc.constantFrom(...rows.map((row) => row.code));
}

/** A PUBLISH's properties, with the given user properties. */
export function anyPublishProperties(
  userProperties: fc.Arbitrary<UserProperties>,
): fc.Arbitrary<PublishProperties> {
  return fc.record(
    {
      payloadFormatIndicator: fc.constantFrom(0, 1),
      messageExpiryInterval: anyU32,
      contentType: anyText,
      responseTopic: anyTopic,
      correlationData: anyBytes,
      subscriptionIdentifiers: fc.array(fc.integer({ min: 1, max: 268_435_455 }), {
        minLength: 1,
        maxLength: 3,
      }),
      topicAlias: anyId,
      userProperties: userProperties.filter((pairs) => pairs.length > 0),
    },
    { requiredKeys: [] },
  );
}

/** CONNECT. */
export function anyConnect(version: ProtocolVersion): fc.Arbitrary<ConnectPacket> {
  const modern = version === 5;
  const properties = fc.record({
    sessionExpiryInterval: maybe(anyU32),
    receiveMaximum: anyId,
    maximumPacketSize: maybe(fc.integer({ min: 1, max: 0xffff_ffff })),
    topicAliasMaximum: anyU16,
    requestResponseInformation: fc.boolean(),
    requestProblemInformation: fc.boolean(),
    userProperties: anyPairs,
    authenticationMethod: maybe(anyWord),
    authenticationData: maybe(anyBytes),
  });
  const willProperties = anyPublishProperties(anyPairs).map((properties) =>
    encodePublishProperties({
      ...properties,
      topicAlias: undefined,
      subscriptionIdentifiers: undefined,
      payloadFormatIndicator: properties.payloadFormatIndicator && 0, // any payload will do
    }),
  );
  return fc
    .record({
      bridge: modern ? fc.constant(false) : fc.boolean(),
      cleanStart: fc.boolean(),
      keepAliveSeconds: anyU16,
      // mqtt-packet wants a client identifier with Clean Start 0 even in 5.0, leaves out an
      // empty user name, and wants a user name with every password.
      clientId: anyWord,
      credentials: maybe(fc.tuple(anyWord, maybe(anyBytes))),
      will: maybe(
        fc.record({
          topic: anyTopic,
          payload: anyBytes,
          qos: anyQos,
          retain: fc.boolean(),
          willDelayInterval: modern ? anyU32 : fc.constant(0),
          publishProperties: modern ? willProperties : fc.constant(Buffer.alloc(0)),
        }),
      ),
      properties: modern ? properties : fc.constant(CONNECT_PROPERTY_DEFAULTS),
    })
    .map(({ credentials, ...packet }) => {
      const withoutMethod = packet.properties.authenticationMethod === undefined;
      return {
        protocolVersion: version,
        ...packet,
        userName: credentials?.[0],
        password: credentials?.[1],
        properties: withoutMethod
          ? { ...packet.properties, authenticationData: undefined }
          : packet.properties,
      };
    });
}

/** CONNACK. */
export function anyConnack(
  version: ProtocolVersion,
): fc.Arbitrary<ReturnType<typeof decodeConnack>> {
  const properties = fc.record(
    {
      sessionExpiryInterval: anyU32,
      receiveMaximum: anyId,
      maximumQos: fc.constantFrom(0 as const, 1 as const),
      retainAvailable: fc.boolean(),
      maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
      assignedClientIdentifier: anyText,
      topicAliasMaximum: anyU16,
      reasonString: anyText,
      userProperties: anyPairs.filter((pairs) => pairs.length > 0),
      wildcardSubscriptionAvailable: fc.boolean(),
      subscriptionIdentifiersAvailable: fc.boolean(),
      sharedSubscriptionAvailable: fc.boolean(),
      serverKeepAlive: anyU16,
      responseInformation: anyText,
      serverReference: anyText,
      authenticationMethod: anyText,
      authenticationData: anyBytes,
    },
    { requiredKeys: [] },
  );
  const code = version < 5 ? fc.nat(5) : anyReason('connack', 'server');
  return fc
    .record({ sessionPresent: fc.boolean(), reasonCode: code, properties })
    .map(({ sessionPresent, reasonCode, ...rest }) => ({
      sessionPresent: sessionPresent && reasonCode === 0 && version > 3,
      reasonCode,
      ...(version < 5 ? {} : rest),
    }));
}

/** PUBLISH. */
export function anyPublish(
  version: ProtocolVersion,
): fc.Arbitrary<ReturnType<typeof decodePublish>> {
  return fc
    .record({
      topic: anyTopic,
      payload: anyBytes,
      qos: anyQos,
      retain: fc.boolean(),
      dup: fc.boolean(),
      packetId: anyId,
      properties:
        version < 5
          ? fc.constant(Buffer.alloc(0))
          : anyPublishProperties(anyPairs).map(encodePublishProperties),
    })
    .map((packet) => ({ ...packet, packetId: packet.qos > 0 ? packet.packetId : 0 }));
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function anyAck(
  version: ProtocolVersion,
  place: PropertyPlace,
  sender: Sender,
): fc.Arbitrary<ReturnType<typeof decodeAck>> {
  if (version < 5) return fc.record({ packetId: anyId, reasonCode: fc.constant(0) });
  return fc.record(
    { packetId: anyId, reasonCode: anyReason(place, sender), ...anyExplanation },
    { requiredKeys: ['packetId', 'reasonCode'] },
  );
}

/** SUBACK or UNSUBACK. */
export function anyListAck(
  version: ProtocolVersion,
  place: 'suback' | 'unsuback',
): fc.Arbitrary<ReturnType<typeof decodeSuback>> {
  const code = version < 5 ? fc.constantFrom(0, 1, 2, 0x80) : anyReason(place, 'server');
  const none = version < 5 && place === 'unsuback';
  const reasonCodes = none ? fc.constant([]) : fc.array(code, { minLength: 1, maxLength: 8 });
  if (version < 5) return fc.record({ packetId: anyId, reasonCodes });
  return fc.record(
    { packetId: anyId, reasonCodes, ...anyExplanation },
    { requiredKeys: ['packetId', 'reasonCodes'] },
  );
}

/** SUBSCRIBE, every filter well written. */
export function anySubscribe(
  version: ProtocolVersion,
): fc.Arbitrary<ReturnType<typeof decodeSubscribe>> {
  const modern = version === 5;
  const subscription = fc.record({
    filter: anyTopic,
    invalid: fc.constant(false),
    qos: anyQos,
    noLocal: modern ? fc.boolean() : fc.constant(false),
    retainAsPublished: modern ? fc.boolean() : fc.constant(false),
    retainHandling: modern ? anyQos : fc.constant(0 as const),
  });
  return fc.record({
    packetId: anyId,
    subscriptions: fc.array(subscription, { minLength: 1, maxLength: 5 }),
    subscriptionIdentifier: modern ? fc.nat(268_435_455) : fc.constant(0),
    userProperties: modern ? anyPairs : fc.constant([]),
  });
}

/** UNSUBSCRIBE. */
export function anyUnsubscribe(
  version: ProtocolVersion,
): fc.Arbitrary<ReturnType<typeof decodeUnsubscribe>> {
  return fc.record({
    packetId: anyId,
    filters: fc.array(anyWord, { minLength: 1, maxLength: 5 }),
    userProperties: version === 5 ? anyPairs : fc.constant([]),
  });
}

/** DISCONNECT of 5.0. */
export function anyDisconnect(sender: Sender): fc.Arbitrary<ReturnType<typeof decodeDisconnect>> {
  const reasonCode = anyReason('disconnect', sender);
  const required = { requiredKeys: ['reasonCode'] as ['reasonCode'] };
  return sender === 'client'
    ? fc.record({ reasonCode, sessionExpiryInterval: anyU32, ...anyExplanation }, required)
    : fc.record({ reasonCode, serverReference: anyText, ...anyExplanation }, required);
}

/** AUTH. */
export function anyAuth(sender: Sender): fc.Arbitrary<ReturnType<typeof decodeAuth>> {
  return fc.record(
    {
      reasonCode: anyReason('auth', sender),
      authenticationMethod: anyWord,
      authenticationData: anyBytes,
      ...anyExplanation,
    },
    { requiredKeys: ['reasonCode', 'authenticationMethod'] },
  );
}

const anyExplanation = {
  reasonString: anyText,
  userProperties: anyPairs.filter((pairs) => pairs.length > 0),
};
