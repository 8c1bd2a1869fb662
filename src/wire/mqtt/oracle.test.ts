/**
 * Every packet against a second opinion (`mqtt-packet`), in both directions: it must read our
 * bytes as it reads its own, and we must read its bytes as the values they were made from.
 *
 * Where it deviates from the standard the values are kept out of its reach, with a remark.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import mqttPacket, { type Packet } from 'mqtt-packet';
import {
  type AckType,
  CONNECT_PROPERTY_DEFAULTS,
  decodeAck,
  decodeAuth,
  decodeConnack,
  decodeConnect,
  decodeDisconnect,
  decodePublish,
  decodePublishProperties,
  decodeSuback,
  decodeSubscribe,
  decodeUnsuback,
  decodeUnsubscribe,
  encodeAck,
  encodeAuth,
  encodeConnack,
  encodeConnect,
  encodeDisconnect,
  encodePublish,
  encodePublishProperties,
  encodeSuback,
  encodeSubscribe,
  encodeUnsuback,
  encodeUnsubscribe,
  PacketType,
  PINGREQ,
  PINGRESP,
  type ProtocolVersion,
  readVarintSize,
  type UserProperties,
} from '../index.ts';
import {
  anyAck,
  anyAuth,
  anyConnack,
  anyConnect,
  anyDisconnect,
  anyListAck,
  anyPair,
  anyPublish,
  anyPublishProperties,
  anySubscribe,
  anyUnsubscribe,
} from '../../../test/harness/any-packet.ts';

const RUNS = { numRuns: 80 };
const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5];

describe('mqtt-packet and we agree on', () => {
  for (const version of VERSIONS) {
    test(`CONNECT of version ${version}`, () => {
      agree(
        anyConnect(version),
        version,
        encodeConnect,
        (bytes, start) => decodeConnect(bytes, start, bytes.length),
        (packet) => ({
          cmd: 'connect',
          protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
          protocolVersion: version,
          bridgeMode: packet.bridge,
          clean: packet.cleanStart,
          keepalive: packet.keepAliveSeconds,
          clientId: packet.clientId,
          username: packet.userName,
          password: packet.password,
          will: packet.will && {
            topic: packet.will.topic,
            payload: packet.will.payload,
            qos: packet.will.qos,
            retain: packet.will.retain,
            properties:
              version < 5
                ? undefined
                : {
                    ...oracleProperties(decodePublishProperties(packet.will.publishProperties)),
                    willDelayInterval: packet.will.willDelayInterval || undefined,
                  },
          },
          properties: version < 5 ? undefined : oracleProperties(spoken(packet.properties)),
        }),
      );
    });

    test(`CONNACK of version ${version}`, () => {
      agree(
        anyConnack(version),
        version,
        (packet) => encodeConnack(version, packet, Infinity),
        (bytes, start) => decodeConnack(version, bytes, start, bytes.length),
        ({ sessionPresent, reasonCode, properties }) => ({
          cmd: 'connack',
          sessionPresent,
          ...(version < 5 ? { returnCode: reasonCode } : { reasonCode }),
          properties: properties && oracleProperties(properties),
        }),
      );
    });

    test(`PUBLISH of version ${version}`, () => {
      agree(
        anyPublish(version),
        version,
        (packet) => encodePublish(version, packet),
        (bytes, start) => decodePublish(version, bytes[0]!, bytes, start, bytes.length),
        ({ packetId, properties, ...packet }) => ({
          cmd: 'publish',
          ...packet,
          messageId: packetId,
          properties:
            version < 5 ? undefined : oracleProperties(decodePublishProperties(properties)),
        }),
      );
    });

    for (const name of ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const) {
      for (const sender of ['client', 'server'] as const) {
        const type: AckType = PacketType[name];
        test(`${name.toUpperCase()} of a ${sender} of version ${version}`, () => {
          agree(
            anyAck(version, name, sender),
            version,
            (packet) => encodeAck(version, type, packet, Infinity),
            (bytes, start) => decodeAck(version, type, bytes, start, bytes.length, sender),
            ({ packetId, reasonCode, ...properties }) => ({
              cmd: name,
              messageId: packetId,
              ...(version < 5 ? {} : { reasonCode, properties: oracleProperties(properties) }),
            }),
          );
        });
      }
    }

    test(`SUBSCRIBE of version ${version}`, () => {
      agree(
        anySubscribe(version),
        version,
        (packet) => encodeSubscribe(version, packet),
        (bytes, start) => decodeSubscribe(version, bytes, start, bytes.length),
        (packet) => ({
          cmd: 'subscribe',
          messageId: packet.packetId,
          subscriptions: packet.subscriptions.map((request) => ({
            topic: request.filter,
            qos: request.qos,
            ...(version < 5
              ? {}
              : {
                  nl: request.noLocal,
                  rap: request.retainAsPublished,
                  rh: request.retainHandling,
                }),
          })),
          properties:
            version < 5
              ? undefined
              : {
                  ...oracleProperties({ userProperties: packet.userProperties }),
                  subscriptionIdentifier: packet.subscriptionIdentifier || undefined,
                },
        }),
      );
    });

    test(`UNSUBSCRIBE of version ${version}`, () => {
      agree(
        anyUnsubscribe(version),
        version,
        (packet) => encodeUnsubscribe(version, packet),
        (bytes, start) => decodeUnsubscribe(version, bytes, start, bytes.length),
        ({ packetId, filters, userProperties }) => ({
          cmd: 'unsubscribe',
          messageId: packetId,
          unsubscriptions: filters,
          properties: version < 5 ? undefined : oracleProperties({ userProperties }),
        }),
      );
    });

    for (const name of ['suback', 'unsuback'] as const) {
      test(`${name.toUpperCase()} of version ${version}`, () => {
        const [encode, decode] =
          name === 'suback' ? [encodeSuback, decodeSuback] : [encodeUnsuback, decodeUnsuback];
        agree(
          anyListAck(version, name),
          version,
          (packet) => encode(version, packet, Infinity),
          (bytes, start) => decode(version, bytes, start, bytes.length),
          ({ packetId, reasonCodes, ...properties }) => ({
            cmd: name,
            messageId: packetId,
            granted: reasonCodes,
            properties: version < 5 ? undefined : oracleProperties(properties),
          }),
        );
      });
    }
  }

  for (const sender of ['client', 'server'] as const) {
    test(`DISCONNECT of a ${sender} of version 5`, () => {
      agree(
        anyDisconnect(sender),
        5,
        (packet) => encodeDisconnect(packet, Infinity),
        (bytes, start) => decodeDisconnect(5, bytes, start, bytes.length, sender),
        ({ reasonCode, ...properties }) => ({
          cmd: 'disconnect',
          reasonCode,
          properties: oracleProperties(properties),
        }),
      );
    });

    test(`AUTH of a ${sender}`, () => {
      agree(
        anyAuth(sender),
        5,
        (packet) => encodeAuth(packet, Infinity),
        (bytes, start) => decodeAuth(bytes, start, bytes.length, sender),
        ({ reasonCode, ...properties }) => ({
          cmd: 'auth',
          reasonCode,
          properties: oracleProperties(properties),
        }),
      );
    });
  }

  test('packets without a body', () => {
    for (const version of VERSIONS) {
      assert.equal(parse(version, PINGREQ)['cmd'], 'pingreq');
      assert.equal(parse(version, PINGRESP)['cmd'], 'pingresp');
      assert.equal(parse(version, encodeDisconnect({ reasonCode: 0 }, 4))['cmd'], 'disconnect');
      assert.deepEqual(decodeDisconnect(version, Buffer.alloc(0), 0, 0), { reasonCode: 0 });
    }
  });
});

test('user properties keep their order, and properties survive the way there and back', () => {
  fc.assert(
    fc.property(anyPublishProperties(fc.array(anyPair, { maxLength: 6 })), (properties) => {
      const bytes = encodePublishProperties(properties);

      assert.deepEqual(plain(decodePublishProperties(bytes)), plain(properties));
    }),
    RUNS,
  );
});

/** Both directions, for packets of one kind. */
function agree<T>(
  packets: fc.Arbitrary<T>,
  version: ProtocolVersion,
  encode: (packet: T) => Buffer,
  decode: (bytes: Buffer, start: number) => T,
  toOracle: (packet: T) => object,
): void {
  fc.assert(
    fc.property(packets, (packet) => {
      const ours = encode(packet);
      const theirs = mqttPacket.generate(without(toOracle(packet)) as unknown as Packet, {
        protocolVersion: version,
      });

      assert.deepEqual(plain(decode(ours, bodyStart(ours))), plain(packet), 'ours by us');
      assert.deepEqual(parse(version, ours), parse(version, theirs), 'ours by them');
      assert.deepEqual(sorted(decode(theirs, bodyStart(theirs))), sorted(packet), 'theirs by us');
    }),
    RUNS,
  );
}

function bodyStart(bytes: Uint8Array): number {
  return 1 + readVarintSize(bytes, 1);
}

function parse(version: ProtocolVersion, bytes: Uint8Array): Record<string, unknown> {
  const parser = mqttPacket.parser({ protocolVersion: version });
  const packets: Packet[] = [];
  parser.on('packet', (packet) => packets.push(packet));
  parser.on('error', (error) => assert.fail(`mqtt-packet: ${error.message}`));
  parser.parse(Buffer.from(bytes));
  assert.equal(packets.length, 1, 'mqtt-packet reads one packet');
  const fields = plain(packets[0]) as Record<string, unknown>;
  delete fields['length'];
  // An empty property section and none at all mean the same.
  if (Object.keys((fields['properties'] as object) ?? {}).length === 0) delete fields['properties'];
  return fields;
}

/** Bytes as hexadecimal text, nothing undefined: what two packets can be compared by. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  return Object.fromEntries(entries.map(([key, one]) => [key, plain(one)]));
}

/** As `plain`, with the order of properties taken away: mqtt-packet keeps them in an object. */
function sorted(value: unknown): unknown {
  const fields = plain(value) as Record<string, unknown>;
  for (const holder of [fields, fields['properties'], fields['will']] as (
    | Record<string, unknown>
    | undefined
  )[]) {
    if (typeof holder !== 'object') continue;
    const pairs = holder['userProperties'] as UserProperties | undefined;
    if (pairs?.length === 0) delete holder['userProperties'];
    else if (pairs !== undefined) holder['userProperties'] = sortedPairs(pairs);
    for (const key of ['properties', 'publishProperties']) {
      const bytes = holder[key];
      if (typeof bytes !== 'string') continue;
      const { userProperties = [], ...rest } = decodePublishProperties(Buffer.from(bytes, 'hex'));
      holder[key] = plain({ ...rest, userProperties: sortedPairs(userProperties) });
    }
  }
  return fields;
}

function sortedPairs(pairs: UserProperties): UserProperties {
  return pairs.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

function without(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, one]) => one !== undefined)
      .map(([key, one]) => [
        key,
        typeof one === 'object' && Object.getPrototypeOf(one) === Object.prototype
          ? without(one as object)
          : one,
      ]),
  );
}

/** Our property names and shapes as mqtt-packet has them. */
function oracleProperties(properties: object): object {
  const { userProperties, subscriptionIdentifiers, payloadFormatIndicator, maximumQos, ...rest } =
    properties as {
      userProperties?: UserProperties;
      subscriptionIdentifiers?: readonly number[];
      payloadFormatIndicator?: number;
      maximumQos?: number;
    };
  const named: Record<string, string | string[]> = {};
  for (const [name, value] of userProperties ?? []) {
    const earlier = named[name];
    named[name] = earlier === undefined ? value : [earlier, value].flat();
  }
  return {
    ...rest,
    maximumQoS: maximumQos,
    payloadFormatIndicator:
      payloadFormatIndicator === undefined ? undefined : payloadFormatIndicator === 1,
    subscriptionIdentifier: subscriptionIdentifiers,
    userProperties: userProperties && userProperties.length > 0 ? named : undefined,
  };
}

/** Without the properties that say what their absence says. */
function spoken(properties: object): object {
  const defaults: Record<string, unknown> = { ...CONNECT_PROPERTY_DEFAULTS };
  return Object.fromEntries(
    Object.entries(properties).filter(([key, one]) => one !== defaults[key]),
  );
}
