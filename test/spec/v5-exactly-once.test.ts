/**
 * MQTT 5.0, section 4.3.3: exactly once, while everything that can break off does.
 *
 * A publisher and a subscriber that both keep the rules of QoS 2; connections are dropped at
 * stages picked by a seed, and the broker is killed in between. The subscriber must end up with
 * each number once, in order. The seed stands in the name of the test.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { againstPeer, type BrokerProcess, startBroker } from '../harness/index.ts';
import { connectClient, unique, type V5Client } from '../harness/v5-client.ts';
import { ackPacket } from '../harness/v5-packets.ts';

/** Numbers from 0 to 1 that depend on the seed only. */
function chances(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

interface Party {
  readonly options: {
    clientId: string;
    cleanStart: boolean;
    properties: { sessionExpiry: number };
  };
  client: V5Client | undefined;
}

function party(): Party {
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 600 } };
  return { options, client: undefined };
}

/** The client of a party, connected again if need be. */
async function online(t: TestContext, broker: BrokerProcess, who: Party): Promise<V5Client> {
  if (who.client === undefined || who.client.isClosed) {
    who.client = await connectClient(t, broker.port, who.options);
  }
  return who.client;
}

async function breakOff(who: Party): Promise<void> {
  who.client?.drop();
  await who.client?.hungUp();
}

/** Publishes one number with QoS 2, however often the line breaks. */
async function publishOnce(
  t: TestContext,
  broker: BrokerProcess,
  who: Party,
  topic: string,
  number: number,
  chance: () => number,
): Promise<void> {
  const packetId = 1 + (number % 5);
  for (let dup = false; ; dup = true) {
    const client = await online(t, broker, who);
    client.sendPublish(topic, String(number), { qos: 2, packetId, dup });
    if (chance() < 0.08) {
      await client.idle().catch(() => undefined); // the broker has it, its PUBREC is lost
      await breakOff(who);
      continue;
    }
    const pubrec = await client.next('pubrec');
    assert.deepEqual([pubrec.packetId, pubrec.reason < 0x80], [packetId, true]);
    break;
  }
  for (;;) {
    const client = await online(t, broker, who);
    client.release(packetId);
    if (chance() < 0.08) {
      await client.idle().catch(() => undefined);
      await breakOff(who);
      continue;
    }
    const pubcomp = await client.next('pubcomp');
    assert.equal(pubcomp.packetId, packetId);
    return;
  }
}

/** Receives as a QoS 2 receiver does, until it has `total` messages. */
async function receiveAll(
  t: TestContext,
  broker: BrokerProcess,
  who: Party,
  total: number,
  chance: () => number,
): Promise<string[]> {
  const open = new Set<number>();
  const received: string[] = [];
  while (received.length < total || open.size > 0) {
    const client = await online(t, broker, who);
    const packet = await client.next();
    if (packet.type === 'publish') {
      assert.equal(packet.qos, 2);
      if (!open.has(packet.packetId)) received.push(packet.payload);
      open.add(packet.packetId);
      if (chance() < 0.05) {
        await breakOff(who);
        continue;
      }
      client.ack('pubrec', packet.packetId);
    } else if (packet.type === 'pubrel') {
      if (chance() < 0.05) {
        await breakOff(who);
        continue;
      }
      client.send(ackPacket('pubcomp', packet.packetId));
      client.forget(packet.packetId);
      open.delete(packet.packetId);
    } else {
      assert.fail(`unexpected ${packet.type}`);
    }
  }
  return received;
}

for (const seed of [1, 2, 3]) {
  test(`[MQTT-4.3.3-10] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT-4.6.0-5] exactly once through broken lines, seed ${seed}`, async (t) => {
    const broker = await startBroker(t, { peerConfiguration: ['max_queued_messages 0'] });
    const [publisher, subscriber] = [party(), party()];
    const topic = unique('once/');
    const total = 250;
    await (await online(t, broker, subscriber)).subscribe(topic, 2);

    const receiving = receiveAll(t, broker, subscriber, total, chances(seed + 100));
    const chance = chances(seed);
    for (let number = 0; number < total; number++) {
      await publishOnce(t, broker, publisher, topic, number, chance);
    }

    assert.deepEqual(
      await receiving,
      Array.from({ length: total }, (_, index) => String(index)),
    );
    await (await online(t, broker, subscriber)).idle();
  });
}

test('[MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.4.0-1] exactly once through kills of the broker', {
  skip: againstPeer,
}, async (t) => {
  const broker = await startBroker(t);
  const [publisher, subscriber] = [party(), party()];
  const topic = unique('once/');
  await (await online(t, broker, subscriber)).subscribe(topic, 2);
  const received: string[] = [];
  const perRound = 40;

  for (let round = 0; round < 3; round++) {
    const chance = chances(round + 7);
    if (round % 2 === 0) await breakOff(subscriber);
    for (let number = 0; number < perRound; number++) {
      await publishOnce(t, broker, publisher, topic, round * perRound + number, chance);
    }
    await broker.kill();
    await broker.restart();
    received.push(...(await receiveAll(t, broker, subscriber, perRound, chance)));
  }

  assert.deepEqual(
    received,
    Array.from({ length: perRound * 3 }, (_, index) => String(index)),
  );
  await (await online(t, broker, subscriber)).idle();
});
