/** Packets come out whole, however the bytes were cut on the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameSplitter } from './frame-splitter.ts';

function frame(first: number, body: Uint8Array): Buffer {
  const length: number[] = [];
  let rest = body.length;
  do {
    length.push(rest > 127 ? (rest & 0x7f) | 0x80 : rest);
    rest >>= 7;
  } while (rest > 0);
  return Buffer.from([first, ...length, ...body]);
}

test('any cut of any packets gives the same packets', () => {
  const anyPacket = fc.tuple(
    fc.integer({ min: 0x10, max: 0xff }),
    fc.uint8Array({ maxLength: 20_000 }),
  );

  fc.assert(
    fc.property(
      fc.array(anyPacket, { maxLength: 5 }),
      fc.array(fc.nat(40_000), { maxLength: 20 }),
      (packets, cuts) => {
        const bytes = Buffer.concat(packets.map(([first, body]) => frame(first, body)));
        const places = [0, ...cuts.filter((cut) => cut < bytes.length), bytes.length].sort(
          (a, b) => a - b,
        );
        const splitter = new FrameSplitter();
        const taken: [number, Uint8Array][] = [];

        for (const [index, end] of places.slice(1).entries()) {
          splitter.feed(bytes.subarray(places[index], end), (first, whole, start) => {
            taken.push([first, Uint8Array.from(whole.subarray(start))]);
          });
        }

        assert.deepEqual(taken, packets);
      },
    ),
  );
});

test('a length of five bytes is refused', () => {
  const splitter = new FrameSplitter();

  const feed = (): void => splitter.feed(Buffer.from('3080808080', 'hex'), () => undefined);

  assert.throws(feed, /a length without end/);
});
