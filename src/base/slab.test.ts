/** The slab: what was taken is nobody else's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Slab } from './slab.ts';

test('takes lie side by side until the block is full', () => {
  const slab = new Slab(100);
  const first = slab.buffer;

  assert.equal(slab.take(40), 0);
  assert.equal(slab.take(60), 40);
  assert.equal(slab.buffer, first); // full to the last byte, and still the same block
  assert.equal(slab.take(1), 0);
  assert.notEqual(slab.buffer, first);
});

test('a take larger than a block gets one of its own size, and the next a new block', () => {
  const slab = new Slab(100);

  assert.equal(slab.take(5_000), 0);
  const large = slab.buffer;
  assert.equal(large.length, 5_000);

  assert.equal(slab.take(10), 0);
  assert.notEqual(slab.buffer, large);
  assert.equal(slab.buffer.length, 100);
});

test('blocks are not cut from a pool that others write to', () => {
  const slab = new Slab(100);

  assert.equal(slab.buffer.buffer.byteLength, 100);
  slab.take(101);
  assert.equal(slab.buffer.buffer.byteLength, 101);
});

test('property: whatever was taken keeps its bytes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(40), fc.integer({ min: 90, max: 300 })), { maxLength: 60 }),
      (sizes) => {
        const slab = new Slab(128);
        const taken = sizes.map((size, index) => {
          const start = slab.take(size);
          const view = slab.buffer.subarray(start, start + size);
          assert.equal(view.length, size);
          view.fill(index + 1);
          return view;
        });
        for (const [index, view] of taken.entries()) {
          assert.ok(view.every((byte) => byte === index + 1));
        }
      },
    ),
  );
});
