/** What leaves first when a packet would be too large, and the shortest forms. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  encodeAck,
  encodeAuth,
  encodeConnack,
  encodeDisconnect,
  encodeSuback,
  encodeUnsuback,
  PacketType,
} from '../index.ts';

const EXPLAINED = { reasonString: 'because', userProperties: [['n', 'v']] as const };

describe('reason string, then user properties give way to the peer', () => {
  const packets: readonly (readonly [string, (sizeMax: number, explained: object) => Buffer])[] = [
    [
      '[MQTT-3.2.2-19] [MQTT-3.2.2-20] CONNACK',
      (sizeMax, explained) => {
        const properties = { ...explained, receiveMaximum: 9 };
        return encodeConnack(5, { sessionPresent: false, reasonCode: 0x87, properties }, sizeMax);
      },
    ],
    [
      '[MQTT-3.9.2-1] [MQTT-3.9.2-2] SUBACK',
      (sizeMax, explained) =>
        encodeSuback(5, { packetId: 1, reasonCodes: [0x87], ...explained }, sizeMax),
    ],
    [
      '[MQTT-3.11.2-1] [MQTT-3.11.2-2] UNSUBACK',
      (sizeMax, explained) =>
        encodeUnsuback(5, { packetId: 1, reasonCodes: [0x87], ...explained }, sizeMax),
    ],
    [
      '[MQTT-3.4.2-2] [MQTT-3.4.2-3] PUBACK',
      (sizeMax, explained) =>
        encodeAck(5, PacketType.puback, { packetId: 1, reasonCode: 0x87, ...explained }, sizeMax),
    ],
    [
      '[MQTT-3.14.2-3] [MQTT-3.14.2-4] DISCONNECT',
      (sizeMax, explained) =>
        encodeDisconnect({ reasonCode: 0x9c, serverReference: 's', ...explained }, sizeMax),
    ],
    [
      '[MQTT-3.15.2-2] [MQTT-3.15.2-3] AUTH',
      (sizeMax, explained) =>
        encodeAuth({ reasonCode: 0x18, authenticationMethod: 'm', ...explained }, sizeMax),
    ],
  ];
  for (const [name, encode] of packets) {
    test(name, () => {
      const whole = encode(Infinity, EXPLAINED);
      const unexplained = encode(Infinity, { userProperties: EXPLAINED.userProperties });
      const bare = encode(Infinity, {});

      assert.deepEqual(encode(whole.length, EXPLAINED), whole);
      assert.deepEqual(encode(whole.length - 1, EXPLAINED), unexplained);
      assert.deepEqual(encode(unexplained.length, EXPLAINED), unexplained);
      assert.deepEqual(encode(unexplained.length - 1, EXPLAINED), bare);
      assert.deepEqual(encode(1, EXPLAINED), bare);
      assert.ok(bare.length < unexplained.length && unexplained.length < whole.length);
    });
  }
});

describe('the shortest form is taken for', () => {
  const cases: readonly (readonly [string, Buffer, string])[] = [
    ['PUBACK 0', ack(5, PacketType.puback, 0), '40020102'],
    ['PUBREC 0x10', ack(5, PacketType.pubrec, 0x10), '5003010210'],
    ['PUBREL 0, its flags set', ack(5, PacketType.pubrel, 0), '62020102'],
    ['PUBCOMP 0x92', ack(5, PacketType.pubcomp, 0x92), '7003010292'],
    ['PUBACK before 5.0, which has no codes', ack(4, PacketType.puback, 0x87), '40020102'],
    ['DISCONNECT 0', encodeDisconnect({ reasonCode: 0 }, Infinity), 'e000'],
    ['DISCONNECT 0x8E', encodeDisconnect({ reasonCode: 0x8e }, Infinity), 'e0018e'],
  ];
  for (const [name, bytes, hex] of cases) {
    test(name, () => assert.equal(bytes.toString('hex'), hex));
  }
});

test('[MQTT-3.2.2-6] a refusal never says that a session is present', () => {
  const refusal = { sessionPresent: true, reasonCode: 5 };

  assert.equal(encodeConnack(4, refusal, Infinity).toString('hex'), '20020005');
  assert.equal(encodeConnack(5, refusal, Infinity).toString('hex'), '2003000500');
});

test('3.1 has no session present', () => {
  const packet = { sessionPresent: true, reasonCode: 0 };

  assert.equal(encodeConnack(3, packet, Infinity).toString('hex'), '20020000');
  assert.equal(encodeConnack(4, packet, Infinity).toString('hex'), '20020100');
});

function ack(version: 4 | 5, type: 4 | 5 | 6 | 7, reasonCode: number): Buffer {
  return encodeAck(version, type, { packetId: 0x0102, reasonCode }, Infinity);
}
