/**
 * Broken packets one by one, each with the fault it earns; sections 3.1, 3.4 to 3.7, 3.8, 3.10,
 * 3.14 and 3.15 of the standards in their order. Bodies are written as hexadecimal text.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Fault, type FaultCode } from '#base';
import {
  ConnectFault,
  decodeAck,
  decodeAuth,
  decodeConnect,
  decodeDisconnect,
  decodeSubscribe,
  decodeUnsubscribe,
  PacketType,
  type ProtocolVersion,
} from '../index.ts';

const OK = 'accepted';
type Outcome = FaultCode | typeof OK;
/** Name, body, outcome in 3.1, 3.1.1 and 5.0; `-`: the case does not exist there. */
type Row = readonly [
  name: string,
  body: string,
  v3: Outcome | '-',
  v4: Outcome | '-',
  v5: Outcome | '-',
];

const M = 'malformedPacket';
const P = 'protocolError';
const ID = text('c');

/** `H`: name, level. `N`: no properties (5.0 only). Flags and keep alive stand between. */
const CONNECT_ROWS: readonly Row[] = [
  ['nothing wrong', `H 02 003c N ${ID}`, OK, OK, OK],
  ['keep alive cut short', 'H 02 00', M, M, M],
  ['[MQTT-3.1.2-3] bit 0 of the flags', `H 03 003c N ${ID}`, OK, M, M],
  ['[MQTT-3.1.2-11] will QoS without a will', `H 0a 003c N ${ID}`, OK, M, M],
  ['[MQTT-3.1.2-13] will retain without a will', `H 22 003c N ${ID}`, OK, M, M],
  ['[MQTT-3.1.2-12] will QoS 3', `H 1e 003c N ${ID} N ${text('t')} 0000`, M, M, M],
  ['[MQTT-3.1.2-9] will fields missing', `H 06 003c N ${ID}`, M, M, M],
  ['[MQTT-3.1.2-9] will payload missing', `H 06 003c N ${ID} N ${text('t')}`, M, M, M],
  ['[MQTT-3.1.2-22] a password without a user name', `H 42 003c N ${ID} ${text('p')}`, OK, M, OK],
  ['[MQTT-3.1.2-17] user name missing', `H 82 003c N ${ID}`, OK, M, M],
  ['[MQTT-3.1.2-19] password missing', `H c2 003c N ${ID} ${text('u')}`, OK, M, M],
  ['user name cut short', `H 82 003c N ${ID} 000575`, M, M, M],
  ['[MQTT-3.1.2-16] a user name without its flag', `H 02 003c N ${ID} ${text('u')}`, M, M, M],
  ['[MQTT-3.1.2-18] a password without its flag', `H 82 003c N ${ID} ${text('u')} 0000`, M, M, M],
  ['[MQTT-3.1.3-3] client identifier missing', 'H 02 003c N', M, M, M],
  ['[MQTT-3.1.3-4] client identifier not UTF-8', 'H 02 003c N 0001ff', M, M, M],
  ['client identifier with U+0000', 'H 02 003c N 000100', M, M, M],
  ['client identifier with a surrogate', 'H 02 003c N 0003eda080', M, M, M],
  ['client identifier with an overlong form', 'H 02 003c N 0002c0af', M, M, M],
  ['[MQTT-1.5.4-3] client identifier with a BOM', 'H 02 003c N 0003efbbbf', OK, OK, OK],
  ['client identifier with a control character', 'H 02 003c N 000101', OK, OK, OK],
  ['client identifier empty, clean', 'H 02 003c N 0000', 'clientIdNotValid', OK, OK],
  [
    '[MQTT-3.1.3-8] empty, not clean',
    'H 00 003c N 0000',
    'clientIdNotValid',
    'clientIdNotValid',
    OK,
  ],
  ['[MQTT-3.1.3-12] user name not UTF-8', `H 82 003c N ${ID} 0001ff`, M, M, M],
  ['[MQTT-3.1.3-11] will topic not UTF-8', `H 06 003c N ${ID} N 0001ff 0000`, M, M, M],
  ...['', '+', 'a/#'].map(
    (topic): Row => [
      `[MQTT-4.7.0-1] [MQTT-4.7.3-1] will topic "${topic}"`,
      `H 06 003c N ${ID} N ${text(topic)} 0000`,
      'topicNameInvalid',
      'topicNameInvalid',
      'topicNameInvalid',
    ],
  ),
  ['receive maximum 0', `H 02 003c 03 210000 ${ID}`, '-', '-', P],
  ['maximum packet size 0', `H 02 003c 05 2700000000 ${ID}`, '-', '-', P],
  ['request problem information 2', `H 02 003c 02 1702 ${ID}`, '-', '-', P],
  ['request response information 2', `H 02 003c 02 1902 ${ID}`, '-', '-', P],
  ['authentication data without method', `H 02 003c 04 160001aa ${ID}`, '-', '-', P],
  ['session expiry twice', `H 02 003c 0a 1100000001 1100000001 ${ID}`, '-', '-', P],
  ['request problem information twice', `H 02 003c 04 1700 1700 ${ID}`, '-', '-', P],
  ['user property twice', `H 02 003c 0e 260001610001 62 260001610001 62 ${ID}`, '-', '-', OK],
  ['property that does not exist', `H 02 003c 02 0400 ${ID}`, '-', '-', M],
  ['property of CONNACK', `H 02 003c 02 2401 ${ID}`, '-', '-', M],
  ['property of the will', `H 02 003c 05 1800000001 ${ID}`, '-', '-', M],
  ['property length beyond the packet', `H 02 003c 50 ${ID}`, '-', '-', M],
  ['property length of five bytes', `H 02 003c 8080808000 ${ID}`, '-', '-', M],
  ['property value beyond the properties', `H 02 003c 03 110000 0000 ${ID}`, '-', '-', M],
  ['property length missing', 'H 02 003c', '-', '-', M],
  ['will with topic alias', `H 06 003c N ${ID} 03 230001 ${text('t')} 0000`, '-', '-', M],
  ['will with format twice', `H 06 003c N ${ID} 04 0100 0100 ${text('t')} 0000`, '-', '-', P],
  ['will with format 2', `H 06 003c N ${ID} 02 0102 ${text('t')} 0000`, '-', '-', P],
  [
    'will with a wildcard to respond to',
    `H 06 003c N ${ID} 04 08000123 ${text('t')} 0000`,
    '-',
    '-',
    P,
  ],
  [
    'will payload that is not the UTF-8 it says',
    `H 06 003c N ${ID} 02 0101 ${text('t')} 0001ff`,
    '-',
    '-',
    'payloadFormatInvalid',
  ],
  [
    'will payload with U+0000 in its UTF-8',
    `H 06 003c N ${ID} 02 0101 ${text('t')} 000100`,
    '-',
    '-',
    OK,
  ],
];

describe('CONNECT:', () => {
  const heads = { 3: `${text('MQIsdp')} 03`, 4: `${text('MQTT')} 04`, 5: `${text('MQTT')} 05` };
  for (const [name, body, ...outcomes] of CONNECT_ROWS) {
    eachVersion(name, outcomes, (version) => {
      const head = body.replace('H', heads[version]);
      const bytes = hex(head.replaceAll('N', version === 5 ? '00' : ''));
      try {
        decodeConnect(bytes, 0, bytes.length);
      } catch (error) {
        assert.ok(error instanceof ConnectFault);
        assert.equal(error.protocolVersion, version);
        throw error;
      }
    });
  }

  const strange: readonly (readonly [string, string, FaultCode, ProtocolVersion | undefined])[] = [
    ['nothing at all', '', M, undefined],
    ['name cut short', '00044d51', M, undefined],
    [
      '[MQTT-3.1.2-1] unknown name',
      `${text('mqtt')} 04 02 003c ${ID}`,
      'unsupportedVersion',
      undefined,
    ],
    ['level missing', text('MQTT'), M, undefined],
    ['[MQTT-3.1.2-2] level 3 of MQTT', `${text('MQTT')} 03 02 003c ${ID}`, 'unsupportedVersion', 4],
    ['[MQTT-3.1.2-2] level 6 of MQTT', `${text('MQTT')} 06 02 003c ${ID}`, 'unsupportedVersion', 5],
    ['level 4 of MQIsdp', `${text('MQIsdp')} 04 02 003c ${ID}`, 'unsupportedVersion', 3],
    ['a bridge of 5.0', `${text('MQTT')} 85 02 003c 00 ${ID}`, 'unsupportedVersion', 5],
  ];
  for (const [name, body, code, version] of strange) {
    test(name, () => {
      const bytes = hex(body);
      assert.throws(
        () => decodeConnect(bytes, 0, bytes.length),
        (error) =>
          error instanceof ConnectFault && error.code === code && error.protocolVersion === version,
      );
    });
  }

  test('bit 7 of the level makes a bridge', () => {
    for (const [name, level, version] of [
      ['MQIsdp', '83', 3],
      ['MQTT', '84', 4],
    ] as const) {
      const bytes = hex(`${text(name)} ${level} 02 003c ${ID}`);
      const packet = decodeConnect(bytes, 0, bytes.length);

      assert.equal(packet.bridge, true);
      assert.equal(packet.protocolVersion, version);
    }
  });

  test('the will delay is taken out of what is published', () => {
    const properties = '0101 1800000009 03000161';
    const bytes = hex(`${text('MQTT')} 05 06 003c 00 ${ID} 0b ${properties} ${text('t')} 0000`);

    const { will } = decodeConnect(bytes, 0, bytes.length);

    assert.equal(will?.willDelayInterval, 9);
    assert.deepEqual(will?.publishProperties, hex('0101 03000161'));
  });
});

const SUBSCRIBE_ROWS: readonly Row[] = [
  ['nothing wrong', `0001 N ${text('a')} 00`, OK, OK, OK],
  ['packet identifier 0', `0000 N ${text('a')} 00`, M, M, P],
  ['packet identifier cut short', '00', M, M, M],
  ['[MQTT-3.8.3-2] no filter', '0001 N', P, P, P],
  ['[MQTT-3.8.3-1] filter not UTF-8', '0001 N 0001ff 00', M, M, M],
  ['filter with U+0000', '0001 N 000100 00', M, M, M],
  ['filter beyond the packet', '0001 N 000561 00', M, M, M],
  ['options missing', `0001 N ${text('a')}`, M, M, M],
  ['QoS 3', `0001 N ${text('a')} 03`, M, M, P],
  ['[MQTT-3.8.3-5] reserved bits', `0001 N ${text('a')} 40`, OK, M, M],
  ['bits of 5.0', `0001 N ${text('a')} 2c`, OK, M, OK],
  ['retain handling 3', `0001 N ${text('a')} 30`, OK, M, P],
  ['[MQTT-3.8.3-4] no local on a share', `0001 N ${text('$share/g/a')} 04`, OK, M, P],
  ['subscription identifier 0', `0001 02 0b00 ${text('a')} 00`, '-', '-', P],
  ['subscription identifier twice', `0001 04 0b01 0b02 ${text('a')} 00`, '-', '-', P],
  ['subscription identifier of five bytes', `0001 06 0b8080808001 ${text('a')} 00`, '-', '-', M],
  ['property of PUBLISH', `0001 03 230001 ${text('a')} 00`, '-', '-', M],
  ['reason string', `0001 04 1f000161 ${text('a')} 00`, '-', '-', M],
];

describe('SUBSCRIBE:', () => {
  for (const [name, body, ...outcomes] of SUBSCRIBE_ROWS) {
    eachVersion(name, outcomes, (version) => {
      const bytes = hex(body.replace('N', version === 5 ? '00' : ''));
      decodeSubscribe(version, bytes, 0, bytes.length);
    });
  }

  test('a badly written filter is marked and the others stand', () => {
    const written = ['a#', 'a/#/b', '+a', '$share/g+/x'];
    const badShares = ['$share//x', '$share/g', '$share/g/', '$share/+/x'];
    for (const version of [3, 4, 5] as const) {
      // Before 5.0 an empty filter closes the connection [MQTT-4.7.3-1].
      const bad = version === 5 ? ['', ...written, ...badShares] : written;
      // What is no shared subscription is then a filter like others.
      const good = version === 5 ? ['a/+/#', '$share/g/a'] : ['a/+/#', '$share/g/a', ...badShares];
      const filters = [...bad, ...good];
      const body = filters.map((filter) => `${text(filter)} 01`).join('');
      const bytes = hex(`0001 ${version === 5 ? '00' : ''} ${body}`);

      const packet = decodeSubscribe(version, bytes, 0, bytes.length);

      const marked = packet.subscriptions.filter((request) => request.invalid);
      assert.deepEqual(
        marked.map((request) => request.filter),
        bad,
      );
      assert.equal(packet.subscriptions.length, filters.length);
    }
  });
});

describe('UNSUBSCRIBE:', () => {
  const rows: readonly Row[] = [
    ['nothing wrong', `0001 N ${text('a')}`, OK, OK, OK],
    ['packet identifier 0', `0000 N ${text('a')}`, M, M, P],
    ['[MQTT-3.10.3-2] no filter', '0001 N', P, P, P],
    ['[MQTT-3.10.3-1] filter not UTF-8', '0001 N 0001ff', M, M, M],
    ['filter beyond the packet', '0001 N 000561', M, M, M],
    ['a byte left over', `0001 N ${text('a')} 00`, M, M, M],
    ['subscription identifier', `0001 02 0b01 ${text('a')}`, '-', '-', M],
  ];
  for (const [name, body, ...outcomes] of rows) {
    eachVersion(name, outcomes, (version) => {
      const bytes = hex(body.replace('N', version === 5 ? '00' : ''));
      decodeUnsubscribe(version, bytes, 0, bytes.length);
    });
  }
});

for (const name of ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const) {
  const settles = name === 'puback' || name === 'pubrec';
  describe(`${name.toUpperCase()}:`, () => {
    const rows: readonly Row[] = [
      ['nothing wrong', '0001', OK, OK, OK],
      ['packet identifier 0', '0000', M, M, P],
      ['packet identifier cut short', '00', M, M, M],
      ['nothing', '', M, M, M],
      ['a reason code', '0001 00', M, M, OK],
      ['an empty property section', '0001 00 00', M, M, OK],
      ['code 0x87', '0001 87', M, M, settles ? OK : P],
      ['code 0x92', '0001 92', M, M, settles ? P : OK],
      ["code 0x10, which is the broker's", '0001 10', M, M, P],
      ['code that does not exist', '0001 03', M, M, P],
      ['properties with a surplus', '0001 00 00 00', M, M, M],
      ['properties beyond the packet', '0001 00 05 1f', M, M, M],
      ['reason string twice', '0001 00 06 1f0000 1f0000', M, M, P],
      ['a property of CONNECT', '0001 00 03 210001', M, M, M],
    ];
    for (const [what, body, ...outcomes] of rows) {
      eachVersion(what, outcomes, (version) => {
        const bytes = hex(body);
        decodeAck(version, PacketType[name], bytes, 0, bytes.length);
      });
    }
  });
}

describe('DISCONNECT:', () => {
  const rows: readonly Row[] = [
    ['nothing wrong', '', OK, OK, OK],
    ['a body', '00', M, M, OK],
    ['code 0x04', '04', M, M, OK],
    ["[MQTT-3.14.2-1] a broker's code", '8b', M, M, P],
    ['code that does not exist', '05', M, M, P],
    ['session expiry', '00 05 1100000001', M, M, OK],
    ['session expiry twice', '00 0a 1100000001 1100000001', M, M, P],
    ['session expiry cut short', '00 03 110000', M, M, M],
    ["server reference, which is the broker's", '00 04 1c000161', M, M, M],
    ['bytes left over', '00 00 00', M, M, M],
  ];
  for (const [name, body, ...outcomes] of rows) {
    eachVersion(name, outcomes, (version) => {
      const bytes = hex(body);
      decodeDisconnect(version, bytes, 0, bytes.length);
    });
  }

  test("[MQTT-3.14.2-2] a broker's has no session expiry", () => {
    const bytes = hex('00 05 1100000001');

    assert.throws(() => decodeDisconnect(5, bytes, 0, bytes.length, 'server'), isFault(M));
  });
});

describe('AUTH:', () => {
  const rows: readonly Row[] = [
    ['nothing wrong', '18 04 1500016d', '-', '-', OK],
    ['no body', '', '-', '-', P],
    ['no properties', '18', '-', '-', P],
    ['no method', '18 04 160001aa', '-', '-', P],
    ["[MQTT-3.15.2-1] success, which is the broker's", '00 04 1500016d', '-', '-', P],
    ['code that does not exist', '1a 04 1500016d', '-', '-', P],
    ['method twice', '18 08 1500016d 1500016d', '-', '-', P],
    ['bytes left over', '18 04 1500016d 00', '-', '-', M],
  ];
  for (const [name, body, ...outcomes] of rows) {
    eachVersion(name, outcomes, () => {
      const bytes = hex(body);
      decodeAuth(bytes, 0, bytes.length);
    });
  }
});

/** One test for each version in which the case exists. */
function eachVersion(
  name: string,
  outcomes: readonly (Outcome | '-')[],
  decode: (version: ProtocolVersion) => void,
): void {
  for (const version of [3, 4, 5] as const) {
    const outcome = outcomes[version - 3]!;
    if (outcome === '-') continue;
    test(`${name} (version ${version}: ${outcome})`, () => {
      if (outcome === OK) decode(version);
      else assert.throws(() => decode(version), isFault(outcome));
    });
  }
}

function isFault(code: FaultCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`);
    assert.equal(error.code, code, error.message);
    return true;
  };
}

function hex(body: string): Buffer {
  const digits = body.replaceAll(' ', '');
  const bytes = Buffer.from(digits, 'hex');
  assert.equal(bytes.length * 2, digits.length, `not hexadecimal: ${body}`);
  return bytes;
}

/** A string behind its length, as hexadecimal text. */
function text(value: string): string {
  const bytes = Buffer.from(value);
  return bytes.length.toString(16).padStart(4, '0') + bytes.toString('hex');
}
