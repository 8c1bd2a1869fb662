/**
 * MQTT 5.0, chapters 1, 2 and 4.13: packets that break the format.
 *
 * A table: what is sent after CONNACK, and the code of the DISCONNECT that must follow. Each
 * row is a test of its own, with a bystander and a will (see `violation`).
 */
import { sharedBroker } from '../harness/index.ts';
import {
  authPacket,
  bareProps,
  bytes,
  disconnectPacket,
  frame,
  type Properties,
  props,
  publishPacket,
  subscribePacket,
  text,
  u16,
  unsubscribePacket,
} from '../harness/v5-packets.ts';
import { violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();

const MALFORMED = [0x81];
const PROTOCOL_ERROR = [0x82];
const EITHER = [0x81, 0x82];

// biome-ignore format: a table reads in columns
const BAD_TEXT: readonly (readonly [string, string, Buffer])[] = [
  ['MQTT-1.5.4-1', 'a lone continuation byte', bytes('a', 0x80)],
  ['MQTT-1.5.4-1', 'a character cut short', bytes('a', 0xe2, 0x82)],
  ['MQTT-1.5.4-1', 'an overlong form', bytes('a', 0xc0, 0xaf)],
  ['MQTT-1.5.4-1', 'an overlong null', bytes('a', 0xc0, 0x80)],
  ['MQTT-1.5.4-1', 'a high surrogate', bytes('a', 0xed, 0xa0, 0x80)],
  ['MQTT-1.5.4-1', 'a low surrogate', bytes('a', 0xed, 0xbf, 0xbf)],
  ['MQTT-1.5.4-1', 'a code point beyond U+10FFFF', bytes('a', 0xf4, 0x90, 0x80, 0x80)],
  ['MQTT-1.5.4-2', 'U+0000', bytes('a', 0, 'b')],
];

const BROKEN = bytes('a', 0xff);
const NULLED = bytes('a', 0);

for (const [id, what, value] of BAD_TEXT) {
  violation(
    broker,
    `[MQTT-3.3.2-1] [${id}] topic name with ${what}`,
    publishPacket(value, 'x'),
    MALFORMED,
  );
  violation(
    broker,
    `[MQTT-3.8.3-1] [${id}] filter with ${what}`,
    subscribePacket(1, [
      ['ok', 0],
      [value, 0],
    ]),
    MALFORMED,
  );
  violation(
    broker,
    `[MQTT-3.10.3-1] [${id}] filter to drop with ${what}`,
    unsubscribePacket(1, ['ok', value]),
    MALFORMED,
  );
  violation(
    broker,
    `[MQTT-3.3.2-19] [${id}] Content Type with ${what}`,
    publishPacket('t', 'x', { properties: bytes(0x03, text(value)) }),
    MALFORMED,
  );
  violation(
    broker,
    `[MQTT-3.3.2-13] [${id}] Response Topic with ${what}`,
    publishPacket('t', 'x', { properties: bytes(0x08, text(value)) }),
    MALFORMED,
  );
  violation(
    broker,
    `[MQTT-1.5.7-1] [${id}] name of a User Property with ${what}`,
    publishPacket('t', 'x', { properties: bytes(0x26, text(value), text('v')) }),
    MALFORMED,
  );
  violation(
    broker,
    `[MQTT-1.5.7-1] [${id}] value of a User Property with ${what}`,
    publishPacket('t', 'x', { properties: bytes(0x26, text('n'), text(value)) }),
    MALFORMED,
  );
}

violation(broker, '[MQTT-4.7.3-2] topic name with U+0000', publishPacket(NULLED, 'x'), MALFORMED);
violation(
  broker,
  '[MQTT-4.7.3-2] filter with U+0000',
  subscribePacket(1, [[NULLED, 0]]),
  MALFORMED,
);
violation(
  broker,
  '[MQTT-4.7.3-2] filter to drop with U+0000',
  unsubscribePacket(1, [NULLED]),
  MALFORMED,
);

for (const [name, first] of [
  ['PUBACK', 0x40],
  ['PUBREC', 0x50],
  ['PUBREL', 0x62],
  ['PUBCOMP', 0x70],
] as const) {
  const withReason = (value: Buffer): Buffer =>
    frame(first, u16(9), 0, props(bytes(0x1f, text(value))));
  violation(
    broker,
    `[MQTT-1.5.4-1] Reason String of ${name} is not UTF-8`,
    withReason(BROKEN),
    MALFORMED,
  );
  violation(
    broker,
    `[MQTT-1.5.4-2] Reason String of ${name} has U+0000`,
    withReason(NULLED),
    MALFORMED,
  );
}
violation(
  broker,
  '[MQTT-1.5.4-1] Reason String of DISCONNECT is not UTF-8',
  disconnectPacket(0, bytes(0x1f, text(BROKEN))),
  MALFORMED,
);
violation(
  broker,
  '[MQTT-1.5.7-1] User Property of SUBSCRIBE is not UTF-8',
  subscribePacket(1, [['a', 0]], bytes(0x26, text('n'), text(BROKEN))),
  MALFORMED,
);
violation(
  broker,
  '[MQTT-1.5.7-1] User Property of UNSUBSCRIBE is not UTF-8',
  unsubscribePacket(1, ['a'], bytes(0x26, text(BROKEN), text('v'))),
  MALFORMED,
);

// Fixed header.
violation(
  broker,
  '[MQTT-4.13.1-1] Remaining Length of five bytes',
  bytes(0x30, 0xff, 0xff, 0xff, 0xff, 0x01),
  MALFORMED,
);
violation(
  broker,
  '[MQTT-4.13.1-1] Remaining Length whose fourth byte goes on',
  bytes(0xc0, 0x80, 0x80, 0x80, 0x80, 0x00),
  MALFORMED,
);
violation(broker, '[MQTT-4.13.1-1] packet type 0', frame(0x00), EITHER);
for (const [name, packet] of [
  ['CONNACK', frame(0x20, 0, 0, 0)],
  ['SUBACK', frame(0x90, u16(1), 0, 0)],
  ['UNSUBACK', frame(0xb0, u16(1), 0, 0)],
  ['PINGRESP', frame(0xd0)],
] as const) {
  violation(broker, `[MQTT-4.13.1-1] ${name} is not a client's to send`, packet, PROTOCOL_ERROR);
}
// biome-ignore format: a table reads in columns
const WRONG_FLAGS: readonly (readonly [string, Buffer])[] = [
  ['[MQTT-2.1.3-1] PUBACK, flags 0010', frame(0x42, u16(1))],
  ['[MQTT-2.1.3-1] PUBREC, flags 0010', frame(0x52, u16(1))],
  ['[MQTT-2.1.3-1] [MQTT-3.6.1-1] PUBREL, flags 0000', frame(0x60, u16(1))],
  ['[MQTT-2.1.3-1] [MQTT-3.6.1-1] PUBREL, flags 0011', frame(0x63, u16(1))],
  ['[MQTT-2.1.3-1] [MQTT-3.6.1-1] PUBREL, flags 1010', frame(0x6a, u16(1))],
  ['[MQTT-2.1.3-1] PUBCOMP, flags 0001', frame(0x71, u16(1))],
  ['[MQTT-2.1.3-1] [MQTT-3.8.1-1] SUBSCRIBE, flags 0000', frame(0x80, u16(1), 0, text('a'), 0)],
  ['[MQTT-2.1.3-1] [MQTT-3.8.1-1] SUBSCRIBE, flags 1010', frame(0x8a, u16(1), 0, text('a'), 0)],
  ['[MQTT-2.1.3-1] [MQTT-3.10.1-1] UNSUBSCRIBE, flags 0000', frame(0xa0, u16(1), 0, text('a'))],
  ['[MQTT-2.1.3-1] [MQTT-3.10.1-1] UNSUBSCRIBE, flags 0011', frame(0xa3, u16(1), 0, text('a'))],
  ['[MQTT-2.1.3-1] PINGREQ, flags 0001', frame(0xc1)],
  ['[MQTT-2.1.3-1] [MQTT-3.14.1-1] DISCONNECT, flags 0001', frame(0xe1)],
  ['[MQTT-2.1.3-1] [MQTT-3.14.1-1] DISCONNECT, flags 1000', frame(0xe8, 0)],
  ['[MQTT-2.1.3-1] [MQTT-3.15.1-1] AUTH, flags 0001', frame(0xf1, 0x18, props({ authMethod: 'm' }))],
];
for (const [name, packet] of WRONG_FLAGS) violation(broker, name, packet, MALFORMED);

// Fields that reach beyond their packet, and bytes nobody asked for.
// biome-ignore format: a table reads in columns
const WRONG_LENGTH: readonly (readonly [string, Buffer])[] = [
  ['PUBLISH without a topic', frame(0x30)],
  ['PUBLISH whose topic is longer than the packet', frame(0x30, u16(9), 'short')],
  ['PUBLISH of QoS 1 that ends before its id', frame(0x32, text('t'), 0)],
  ['PUBLISH that ends before its Property Length', frame(0x30, text('t'))],
  ['PUBLISH whose properties are longer than the packet', frame(0x30, text('t'), 9, 0x01, 1)],
  ['PUBLISH with a Property Length of five bytes', frame(0x30, text('t'), 0x80, 0x80, 0x80, 0x80, 0x01)],
  ['PUBLISH with a four-byte property cut short', publishPacket('t', '', { properties: bytes(0x02, 0, 0) })],
  ['PUBLISH with a two-byte property cut short', publishPacket('t', '', { properties: bytes(0x23, 0) })],
  ['PUBLISH with a one-byte property cut short', publishPacket('t', '', { properties: bytes(0x01) })],
  ['PUBLISH with a string property cut short', publishPacket('t', '', { properties: bytes(0x03, u16(3), 'ab') })],
  ['PUBLISH with a binary property cut short', publishPacket('t', '', { properties: bytes(0x09, u16(3), 1, 2) })],
  ['PUBLISH with a string pair cut short', publishPacket('t', '', { properties: bytes(0x26, text('name')) })],
  ['PUBACK without id', frame(0x40)],
  ['PUBACK with half an id', frame(0x40, 0)],
  ['PUBACK with bytes behind its properties', frame(0x40, u16(1), 0, 0, 0)],
  ['PUBREC without id', frame(0x50)],
  ['PUBREC with bytes behind its properties', frame(0x50, u16(1), 0, 0, 7)],
  ['PUBREL without id', frame(0x62)],
  ['PUBREL with bytes behind its properties', frame(0x62, u16(1), 0, 0, 0, 0)],
  ['PUBCOMP without id', frame(0x70)],
  ['PUBCOMP with bytes behind its properties', frame(0x70, u16(1), 0, 0, 0)],
  ['SUBSCRIBE without anything', frame(0x82)],
  ['SUBSCRIBE that ends before its Property Length', frame(0x82, u16(1))],
  ['SUBSCRIBE whose filter is longer than the packet', frame(0x82, u16(1), 0, u16(7), 'abc')],
  ['SUBSCRIBE whose last filter has no options', frame(0x82, u16(1), 0, text('a'), 0, text('b'))],
  ['SUBSCRIBE with half a length at its end', frame(0x82, u16(1), 0, text('a'), 0, 0)],
  ['UNSUBSCRIBE without anything', frame(0xa2)],
  ['UNSUBSCRIBE whose filter is longer than the packet', frame(0xa2, u16(1), 0, u16(7), 'abc')],
  ['UNSUBSCRIBE with half a length at its end', frame(0xa2, u16(1), 0, text('a'), 0)],
  ['PINGREQ with a body', frame(0xc0, 0)],
  ['DISCONNECT whose properties are longer than the packet', frame(0xe0, 0, 5, 0x11)],
  ['DISCONNECT with bytes behind its properties', frame(0xe0, 0, 0, 0)],
];
for (const [name, packet] of WRONG_LENGTH)
  violation(broker, `[MQTT-4.13.1-1] ${name}`, packet, MALFORMED);

// Properties that do not exist or do not belong there.
const CARRIERS: readonly (readonly [
  string,
  (properties: Buffer) => Buffer,
  readonly (keyof Properties)[],
])[] = [
  [
    'PUBLISH',
    (p) => publishPacket('t', 'x', { properties: p }),
    ['sessionExpiry', 'reasonString', 'receiveMaximum', 'willDelay', 'assignedClientId'],
  ],
  [
    'PUBACK',
    (p) => frame(0x40, u16(1), 0, props(p)),
    ['messageExpiry', 'contentType', 'topicAlias'],
  ],
  ['PUBREC', (p) => frame(0x50, u16(1), 0, props(p)), ['messageExpiry', 'sessionExpiry']],
  ['PUBREL', (p) => frame(0x62, u16(1), 0, props(p)), ['messageExpiry', 'authMethod']],
  ['PUBCOMP', (p) => frame(0x70, u16(1), 0, props(p)), ['messageExpiry', 'maximumQos']],
  [
    'SUBSCRIBE',
    (p) => subscribePacket(1, [['a', 0]], p),
    ['topicAlias', 'reasonString', 'messageExpiry'],
  ],
  ['UNSUBSCRIBE', (p) => unsubscribePacket(1, ['a'], p), ['subscriptionIds', 'reasonString']],
  ['DISCONNECT', (p) => disconnectPacket(0, p), ['receiveMaximum', 'willDelay', 'authMethod']],
];
const SAMPLE: Properties = {
  sessionExpiry: 1,
  reasonString: 'r',
  receiveMaximum: 5,
  willDelay: 1,
  assignedClientId: 'a',
  messageExpiry: 1,
  contentType: 'c',
  topicAlias: 1,
  authMethod: 'm',
  maximumQos: 1,
  subscriptionIds: [1],
};
for (const [name, build, strangers] of CARRIERS) {
  for (const id of [0x00, 0x04, 0x7f]) {
    violation(
      broker,
      `[MQTT-4.13.1-1] ${name} with the unknown property ${id}`,
      build(bytes(id, 0)),
      MALFORMED,
    );
  }
  for (const stranger of strangers) {
    const bare = bareProps({ [stranger]: SAMPLE[stranger] });
    violation(
      broker,
      `[MQTT-4.13.1-1] ${name} with ${stranger}, which belongs elsewhere`,
      build(bare),
      MALFORMED,
    );
  }
}

// Properties twice.
const TWICE: readonly (readonly [string, (properties: Buffer) => Buffer, Properties])[] = [
  ['PUBLISH', (p) => publishPacket('t', 'x', { properties: p }), { payloadFormat: 0 }],
  ['PUBLISH', (p) => publishPacket('t', 'x', { properties: p }), { messageExpiry: 60 }],
  ['PUBLISH', (p) => publishPacket('t', 'x', { properties: p }), { contentType: 'c' }],
  ['PUBLISH', (p) => publishPacket('t', 'x', { properties: p }), { responseTopic: 'r' }],
  ['PUBLISH', (p) => publishPacket('t', 'x', { properties: p }), { correlationData: bytes(1) }],
  ['PUBLISH', (p) => publishPacket('t', 'x', { properties: p }), { topicAlias: 1 }],
  ['PUBACK', (p) => frame(0x40, u16(1), 0, props(p)), { reasonString: 'r' }],
  ['PUBREC', (p) => frame(0x50, u16(1), 0, props(p)), { reasonString: 'r' }],
  ['PUBREL', (p) => frame(0x62, u16(1), 0, props(p)), { reasonString: 'r' }],
  ['PUBCOMP', (p) => frame(0x70, u16(1), 0, props(p)), { reasonString: 'r' }],
  ['SUBSCRIBE', (p) => subscribePacket(1, [['a', 0]], p), { subscriptionIds: [1] }],
  ['DISCONNECT', (p) => disconnectPacket(0, p), { sessionExpiry: 0 }],
  ['DISCONNECT', (p) => disconnectPacket(0, p), { reasonString: 'r' }],
];
for (const [name, build, property] of TWICE) {
  const [what] = Object.keys(property);
  const doubled = bytes(bareProps(property), bareProps(property));
  violation(broker, `[MQTT-4.13.1-1] ${name} with ${what} twice`, build(doubled), PROTOCOL_ERROR);
}

violation(
  broker,
  '[MQTT-4.13.1-1] Payload Format Indicator 2',
  publishPacket('t', 'x', { properties: { payloadFormat: 2 } }),
  EITHER,
);

// Packet id 0.
violation(
  broker,
  '[MQTT-2.2.1-3] PUBLISH of QoS 1 with id 0',
  publishPacket('t', 'x', { qos: 1, packetId: 0 }),
  EITHER,
);
violation(
  broker,
  '[MQTT-2.2.1-3] PUBLISH of QoS 2 with id 0',
  publishPacket('t', 'x', { qos: 2, packetId: 0 }),
  EITHER,
);
violation(broker, '[MQTT-2.2.1-3] SUBSCRIBE with id 0', subscribePacket(0, [['a', 0]]), EITHER);
violation(broker, '[MQTT-2.2.1-3] UNSUBSCRIBE with id 0', unsubscribePacket(0, ['a']), EITHER);
for (const first of [0x40, 0x50, 0x62, 0x70]) {
  violation(
    broker,
    `[MQTT-2.2.1-3] acknowledgement of type ${first >> 4} with id 0`,
    frame(first, u16(0)),
    EITHER,
  );
}

violation(
  broker,
  '[MQTT-4.12.0-7] AUTH without a method, to a broker that was told none',
  authPacket(0x18, {}),
  PROTOCOL_ERROR,
);

// AUTH towards a broker that was not asked for enhanced authentication.
violation(
  broker,
  '[MQTT-4.12.0-7] AUTH after a CONNECT without method',
  authPacket(0x18, { authMethod: 'm' }),
  PROTOCOL_ERROR,
);
violation(
  broker,
  '[MQTT-4.12.0-7] [MQTT-4.12.1-1] AUTH to authenticate anew, without a method in CONNECT',
  authPacket(0x19, { authMethod: 'm' }),
  PROTOCOL_ERROR,
);
violation(broker, '[MQTT-4.12.0-7] AUTH of length 0', frame(0xf0), PROTOCOL_ERROR);
violation(
  broker,
  '[MQTT-3.15.2-1] [MQTT-4.12.0-7] AUTH with an unknown code',
  authPacket(0x55, { authMethod: 'm' }),
  EITHER,
);
