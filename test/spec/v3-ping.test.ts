/**
 * MQTT 3.1.1, chapter 3.12: PINGREQ and PINGRESP.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet, sharedBroker, unique } from '../harness/index.ts';

const broker = sharedBroker();

for (const version of [3, 4] as const) {
  test(`[MQTT-3.12.4-1] v${version}: each PINGREQ gets one PINGRESP`, async (t) => {
    const client = await broker.connect(t, { version });

    client.sendBytes('c0 00 c0 00 c0 00');

    const answers = await client.take(3, 'pingresp');
    for (const answer of answers) assert.equal(answer.raw.toString('hex'), 'd000');
    await client.nothing();
  });
}

test('[MQTT-4.8.0-1] PINGREQ with a body closes the connection, bystanders stay', async (t) => {
  const bystander = await broker.connect(t);
  const client = await broker.connect(t, { clientId: unique() });

  client.sendBytes(packet(0xc0, Buffer.from([0])));

  assert.deepEqual(await client.closed(), []);
  await bystander.nothing();
});
