/**
 * Random bytes against every decoder, shrunk to the shortest that misbehaves. The long version,
 * with mutations of valid packets, is `test/fuzz/wire.test.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '#base';
import {
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
  readVarint,
  readVarintSize,
  VARINT_MAX,
  varintSize,
  writeVarint,
} from '../index.ts';

test('no bytes make a decoder throw anything but a Fault, or read beyond its end', () => {
  const small = fc.oneof(fc.nat(6), fc.nat(0x2a), fc.nat(0xff));
  const protocol = fc.constantFrom('', '00044d51545405', '00044d51545404', '00064d514973647003');
  fc.assert(
    fc.property(protocol, fc.array(small, { maxLength: 40 }), (head, values) => {
      const bytes = Buffer.concat([Buffer.from(head, 'hex'), Buffer.from(values)]);
      const longer = Buffer.concat([bytes, Buffer.alloc(40, 0x01)]);
      const end = bytes.length;
      const decoders: readonly ((bytes: Buffer) => unknown)[] = [
        (from) => decodeConnect(from, 0, end),
        (from) => decodeAuth(from, 0, end),
        (from) => decodePublishProperties(from.subarray(0, end)),
        ...([4, 5] as const).flatMap((version) => [
          (from: Buffer) => decodeSubscribe(version, from, 0, end),
          (from: Buffer) => decodeUnsubscribe(version, from, 0, end),
          (from: Buffer) => decodeAck(version, 5, from, 0, end),
          (from: Buffer) => decodeDisconnect(version, from, 0, end),
          (from: Buffer) => decodeConnack(version, from, 0, end),
          (from: Buffer) => decodeSuback(version, from, 0, end),
          (from: Buffer) => decodeUnsuback(version, from, 0, end),
          (from: Buffer) => decodePublish(version, 0x34, from, 0, end),
        ]),
      ];
      for (const decode of decoders) {
        assert.deepEqual(
          attempt(() => decode(longer)),
          attempt(() => decode(bytes)),
        );
      }
    }),
    { numRuns: 250 },
  );
});

test('[MQTT-1.5.5-1] variable byte integers come back, in the fewest bytes', () => {
  const borders = [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARINT_MAX];
  fc.assert(
    fc.property(fc.oneof(fc.constantFrom(...borders), fc.nat(VARINT_MAX)), (value) => {
      const bytes = Buffer.alloc(6, 0xff);

      const end = writeVarint(bytes, 1, value);

      assert.equal(end - 1, varintSize(value));
      assert.equal(readVarintSize(bytes, 1), varintSize(value));
      assert.equal(readVarint(bytes, 1, end), value);
      assert.equal(readVarint(bytes, 1, end - 1), -1);
      assert.ok(end === 2 || value >= 2 ** (7 * (end - 2)), 'no byte could be saved');
    }),
  );
  assert.equal(readVarint(Buffer.from('ffffffff7f', 'hex'), 0, 5), -1);
  assert.equal(readVarint(Buffer.from('80808000', 'hex'), 0, 4), 0);
});

function attempt(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`);
    return error.message;
  }
}
