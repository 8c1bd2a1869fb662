/** The fabric of a single node: the part of the contract that means something alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLoneFabric } from '#adapters/memory';
import { Fault } from '#base';

test('[FA5] alone, every request fails', async () => {
  const fabric = createLoneFabric('a');

  await assert.rejects(fabric.request('b', Buffer.from('x')), (error) =>
    Fault.is(error, 'serverUnavailable'),
  );
});

test('[FA6] alone, nodes lists this one', () => {
  assert.deepEqual(createLoneFabric('a').nodes(), ['a']);
});
