/** What comes back to a group from members that left, and waits in memory for another, has an end. */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { until } from '../harness/until.ts';
import { connectClient } from '../harness/v5-client.ts';

for (const [limits, kept] of [
  [{ returnedBytesMax: 4_000 }, 4],
  [{ returnedCountMax: 3 }, 3],
] as const) {
  test(`messages that nobody keeps are dropped at ${Object.keys(limits).join()}`, async (t) => {
    const broker = await openLocalBroker(t, { limits });
    const port = await openLocalDoor(t, broker);
    const publisher = await connectClient(t, port);
    const busy = await connectClient(t, port, { properties: { receiveMaximum: 1 } });
    await busy.subscribe('$share/g/t', 1);
    await publisher.publish('t', 'fills the window', { qos: 1 });
    const first = await busy.message();
    const leaves = await connectClient(t, port);
    await leaves.subscribe('$share/g/t', 1);
    for (let i = 0; i < 10; i++) await publisher.publish('t', Buffer.alloc(1_000, 'x'), { qos: 1 });
    for (let i = 0; i < 10; i++) await leaves.message();

    await leaves.disconnect();
    await until(
      () => broker.metrics.droppedNoMember === 10 - kept,
      () => `${String(broker.metrics.droppedNoMember)} were dropped`,
    );

    await busy.settle(first);
    for (let i = 0; i < kept; i++) assert.equal((await busy.receive()).payload.length, 1_000);
    await busy.idle();
  });
}
