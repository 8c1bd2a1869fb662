/** The platform's own strict decoder is the judge; it differs only in allowing U+0000. */
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import { isTopicName, isValidUtf8 } from './utf8.ts';

test('bytes are valid exactly when a strict decoder takes them and no U+0000 is there', () => {
  // Lead bytes and their borders come up far more often than chance would have them.
  const telling = fc.constantFrom(
    ...Buffer.from('0001417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5f8ff', 'hex'),
  );
  const anyBytes = fc.array(fc.oneof(telling, fc.nat(0xff)), { maxLength: 12 });
  fc.assert(
    fc.property(anyBytes, (values) => {
      const bytes = Uint8Array.from(values);

      assert.equal(isValidUtf8(bytes, 0, bytes.length), isValidByPlatform(bytes));
    }),
    { numRuns: 1_000 },
  );
});

test('every lead byte with every second byte is judged as the platform judges it', () => {
  for (let lead = 0; lead < 0x100; lead++) {
    for (let second = 0; second < 0x100; second++) {
      for (const tail of [[], [0x80], [0x80, 0xbf]]) {
        const bytes = Uint8Array.of(lead, second, ...tail);
        if (isValidUtf8(bytes, 0, bytes.length) !== isValidByPlatform(bytes)) {
          assert.fail(`${Buffer.from(bytes).toString('hex')} is misjudged`);
        }
      }
    }
  }
});

test('text is valid, noncharacters included, and only its own bytes count', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const bytes = Buffer.from(`\xff${text.replaceAll('\0', '\uffff')}\0`);
      const start = Buffer.byteLength('\xff');

      assert.ok(isValidUtf8(bytes, start, bytes.length - 1));
      assert.ok(!isValidUtf8(bytes, start, bytes.length));
    }),
  );
});

test('a sequence that the end cuts off is not completed by the bytes behind it', () => {
  const bytes = Buffer.from('\u{10ffff}');

  for (const end of [1, 2, 3]) assert.ok(!isValidUtf8(bytes, 0, end));
  assert.ok(isValidUtf8(bytes, 0, 4));
});

test('a topic name is not empty and has no wildcard', () => {
  for (const name of ['a', '/', 'a/b', '$SYS/x', ' ', 'größe', '\ufeffx']) {
    assert.ok(isTopicName(Buffer.from(name), 0, Buffer.byteLength(name)), name);
  }
  for (const name of ['', '+', '#', 'a/+/b', 'a/#', 'a+', 'ö#', 'a\0']) {
    assert.ok(!isTopicName(Buffer.from(name), 0, Buffer.byteLength(name)), name);
  }
  assert.ok(!isTopicName(Uint8Array.of(0x61, 0xff), 0, 2));
});

function isValidByPlatform(bytes: Uint8Array): boolean {
  return isUtf8(bytes) && !bytes.includes(0);
}
