/** Read memory is given back in time, and only when there is enough of it. */
import assert from 'node:assert/strict';
import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type Collector, ReadGarbage } from './garbage.ts';

const MIB = 1024 * 1024;
const BLOCK = 64 * 1024;

describe('read garbage', () => {
  test('has young objects collected each 32 MiB', () => {
    let collections = 0;
    const garbage = new ReadGarbage(collectorOf({ collectYoung: () => collections++ }));

    for (let read = 0; read < 511; read++) garbage.add(BLOCK);
    assert.equal(collections, 0);
    garbage.add(BLOCK);
    assert.equal(collections, 1);
    for (let read = 0; read < 512; read++) garbage.add(BLOCK);
    assert.equal(collections, 2);
  });

  test('has the heap marked when old blocks are too many, until they are fewer', () => {
    const { garbage, wishes, holdOutside } = watchedGarbage();
    const wishAt = (mib: number): boolean | undefined => {
      holdOutside(mib);
      garbage.add(32 * MIB);
      return wishes.at(-1);
    };

    assert.equal(wishAt(40), false);
    assert.equal(wishAt(30), false);
    assert.equal(wishAt(158), false);
    assert.equal(wishAt(159), true);
    assert.equal(wishAt(200), true, 'the marking takes a while');
    assert.equal(wishAt(180), true, 'a little less is no marking');
    assert.equal(wishAt(60), false, 'marked');
    assert.equal(wishAt(188), false, 'the least is another now');
    assert.equal(wishAt(189), true);
  });

  test('is looked at without reads as well: blocks come from the disk too', () => {
    const { garbage, wishes, holdOutside } = watchedGarbage();
    garbage.look();

    holdOutside(169);
    garbage.look();

    assert.deepEqual(wishes, [false, true]);
  });

  test('the engine offers it, and blocks that are dead are gone', async () => {
    const garbage = new ReadGarbage();
    const before = process.memoryUsage().arrayBuffers;

    for (let read = 0; read < 1_024; read++) {
      Buffer.allocUnsafeSlow(BLOCK);
      garbage.add(BLOCK);
    }
    await turn();

    assert.ok(process.memoryUsage().arrayBuffers - before < 40 * MIB);
    assert.equal('gc' in globalThis, false);
  });

  test('blocks that grew old are marked seldom, and do not pile up', async () => {
    const garbage = new ReadGarbage();
    const before = process.memoryUsage().arrayBuffers;
    const held: Buffer[] = Array.from({ length: 1_024 });
    let peak = 0;

    const markings = await countMarkings(async () => {
      for (let read = 0; read < 65_536; read++) {
        held[read % held.length] = Buffer.allocUnsafeSlow(BLOCK);
        garbage.add(BLOCK);
        if (read % 512 > 0) continue;
        peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
        await turn();
      }
    });

    // 64 MiB are held, and each of 128 collections leaves about 32 MiB that only marking frees:
    // V8 by itself marks forty times.
    assert.ok(markings > 0 && markings <= 30, `${markings} times`);
    assert.ok(peak < 512 * MIB, `${peak} bytes`);
  });
});

/** With so many MiB outside the heap, and what it wishes of the collector, in order. */
function watchedGarbage(): {
  readonly garbage: ReadGarbage;
  readonly wishes: readonly boolean[];
  holdOutside(mib: number): void;
} {
  const wishes: boolean[] = [];
  let outside = 40 * MIB;
  const collector = collectorOf({
    outsideBytes: () => outside,
    markForOutside: (wanted) => void wishes.push(wanted),
  });
  const holdOutside = (mib: number): void => {
    outside = mib * MIB;
  };
  return { garbage: new ReadGarbage(collector), wishes, holdOutside };
}

function collectorOf(parts: Partial<Collector>): Collector {
  return { collectYoung: () => {}, outsideBytes: () => 0, markForOutside: () => {}, ...parts };
}

async function countMarkings(run: () => Promise<void>): Promise<number> {
  let count = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as PerformanceEntry & { detail: { kind: number } }).detail;
      if (kind === constants.NODE_PERFORMANCE_GC_MAJOR) count++;
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  await run();
  await turn();
  observer.disconnect();
  return count;
}
