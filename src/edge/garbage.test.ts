/** Read memory is given back in time, and only when there is enough of it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ReadGarbage } from './garbage.ts';

describe('read garbage', () => {
  test('asks for a minor collection each 32 MiB', () => {
    const asked: string[] = [];
    const garbage = new ReadGarbage(({ type }) => void asked.push(type));

    for (let read = 0; read < 511; read++) garbage.add(65_536);
    assert.deepEqual(asked, []);
    garbage.add(65_536);
    assert.deepEqual(asked, ['minor']);
    for (let read = 0; read < 512; read++) garbage.add(65_536);
    assert.deepEqual(asked, ['minor', 'minor']);
  });

  test('the engine offers it, and blocks that are dead are gone', async () => {
    const garbage = new ReadGarbage();
    const { memoryUsage } = process;
    const before = memoryUsage().arrayBuffers;

    for (let read = 0; read < 1_024; read++) {
      Buffer.allocUnsafeSlow(65_536);
      garbage.add(65_536);
    }
    await new Promise((resolve) => setImmediate(resolve));

    assert.ok(memoryUsage().arrayBuffers - before < 40 * 1024 * 1024);
    assert.equal('gc' in globalThis, false);
  });
});
