/**
 * MQTT 5.0, sections 3.3.1.3, 4.1 and 4.3.3: the retained messages a subscription is owed come all,
 * and those at QoS 2 once, whatever happens while they are on their way.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { againstPeer, sharedBroker, startBroker } from '../harness/index.ts';
import { connectClient, unique, type V5Client } from '../harness/v5-client.ts';
import { RETAIN_IF_NEW, RETAIN_NEVER, subscribePacket } from '../harness/v5-packets.ts';

const broker = sharedBroker();
const WINDOW = 4;

/** Topics below one of their own, each with a retained message. */
async function retain(t: TestContext, port: number, count: number, qos: number): Promise<string> {
  const parent = unique('r');
  const publisher = await connectClient(t, port);
  for (let i = 0; i < count; i++) {
    await publisher.publish(`${parent}/${i}`, 'old', { retain: true, qos });
  }
  return parent;
}

/** The topics that `retain` made, each so often. */
function topics(parent: string, count: number, times = 1): string[] {
  const all = Array.from({ length: count }, (_, i) => `${parent}/${i}`);
  return Array.from({ length: times }, () => all)
    .flat()
    .sort();
}

/** A client that keeps its side of the session: it knows which messages it has. */
class Keeper {
  readonly clientId = unique('c');
  readonly arrived: string[] = [];
  readonly #open = new Set<number>();
  #client: V5Client | undefined;

  async online(t: TestContext, port: number, present: boolean): Promise<V5Client> {
    const client = await connectClient(t, port, {
      clientId: this.clientId,
      cleanStart: false,
      properties: { sessionExpiry: 3_600, receiveMaximum: WINDOW },
    });
    assert.equal(client.connack?.sessionPresent, present);
    this.#client = client;
    return client;
  }

  /** Takes so many new messages, and answers them or not; what comes once more it answers. */
  async take(count: number, answers = true): Promise<void> {
    const enough = this.arrived.length + count;
    while (this.arrived.length < enough) await this.#step(answers);
  }

  /** Takes all that is owed up to now: a subscription made last is served last. */
  async takeAll(t: TestContext, port: number): Promise<void> {
    const fence = unique('fence/');
    await (await connectClient(t, port)).publish(fence, 'fence', { qos: 1, retain: true });
    await this.#client!.subscribe(fence, 1);
    while (this.arrived.at(-1) !== fence) await this.#step(true);
    this.arrived.pop();
  }

  async #step(answers: boolean): Promise<void> {
    const client = this.#client!;
    const packet = await client.next();
    const { packetId: id } = packet;
    if (packet.type === 'pubrel') {
      this.#open.delete(id);
      client.ack('pubcomp', id);
      return;
    }
    assert.equal(packet.type, 'publish');
    const known = packet.qos > 0 && this.#open.has(id);
    if (!known) this.arrived.push(packet.topic);
    if (packet.qos === 0) return;
    this.#open.add(id);
    if (!answers && !known) return;
    client.ack(packet.qos === 1 ? 'puback' : 'pubrec', id);
    if (packet.qos === 1) this.#open.delete(id);
  }

  async lineBreaks(): Promise<void> {
    this.#client!.drop();
    await this.#client!.hungUp();
  }
}

for (const qos of [1, 2]) {
  test(`[MQTT-3.3.1-9] [MQTT-4.1.0-1] what is owed at QoS ${qos} when the line breaks comes to the resumed session`, async (t) => {
    const parent = await retain(t, broker.port, 30, qos);
    const keeper = new Keeper();
    const first = await keeper.online(t, broker.port, false);
    await first.subscribe(`${parent}/#`, qos);
    for (let turn = 0; turn < 3; turn++) {
      await keeper.take(2);
      await keeper.take(WINDOW, false);
      await keeper.lineBreaks();
      await keeper.online(t, broker.port, true);
    }

    await keeper.takeAll(t, broker.port);

    assert.deepEqual([...new Set(keeper.arrived)].sort(), topics(parent, 30));
    if (qos === 2) assert.equal(keeper.arrived.length, 30, '[MQTT-4.3.3-2]');
  });

  test(`[MQTT-3.3.1-9] [MQTT-4.1.0-1] a takeover goes on with what is owed at QoS ${qos}`, async (t) => {
    const parent = await retain(t, broker.port, 20, qos);
    const keeper = new Keeper();
    const first = await keeper.online(t, broker.port, false);
    await first.subscribe(`${parent}/+`, qos);
    await keeper.take(WINDOW, false);

    await keeper.online(t, broker.port, true);
    await keeper.takeAll(t, broker.port);

    assert.deepEqual(keeper.arrived.sort(), topics(parent, 20));
  });
}

test('[MQTT-3.3.1-9] [MQTT-4.3.3-2] filters that overlap each bring a message once, broken off at any of them', async (t) => {
  const parent = await retain(t, broker.port, 8, 2);
  const keeper = new Keeper();
  const client = await keeper.online(t, broker.port, false);
  const filters = [`${parent}/#`, `${parent}/+`, `${parent}/+/#`, `${parent}/3`, `${parent}/5`];
  await client.subscribe(filters.map((filter) => [filter, 2] as const));
  for (let turn = 0; turn < 6; turn++) {
    await keeper.take(turn % 2);
    await keeper.take(WINDOW - 1, false);
    await keeper.lineBreaks();
    await keeper.online(t, broker.port, true);
  }

  await keeper.takeAll(t, broker.port);

  const mine = keeper.arrived.filter((topic) => topic.startsWith(`${parent}/`)).sort();
  const exact = [`${parent}/3`, `${parent}/5`];
  assert.deepEqual(mine, [...topics(parent, 8, 3), ...exact].sort());
});

test('[MQTT-3.3.1-9] [MQTT-4.1.0-1] what several SUBSCRIBEs are owed comes to the resumed session', async (t) => {
  const parents: string[] = [];
  for (let i = 0; i < 3; i++) parents.push(await retain(t, broker.port, 7, 2));
  const keeper = new Keeper();
  const client = await keeper.online(t, broker.port, false);
  for (const parent of parents) await client.subscribe(`${parent}/#`, 2);
  await keeper.take(WINDOW, false);
  await keeper.lineBreaks();
  const again = await keeper.online(t, broker.port, true);
  await again.subscribe(parents[1]!, 0);
  await keeper.take(2);
  await again.unsubscribe(`${parents[2]}/#`);
  await keeper.lineBreaks();
  await keeper.online(t, broker.port, true);

  await keeper.takeAll(t, broker.port);

  const kept = keeper.arrived.filter((topic) => !topic.startsWith(`${parents[2]}/`));
  assert.deepEqual(
    kept.sort(),
    parents
      .slice(0, 2)
      .flatMap((one) => topics(one, 7))
      .sort(),
  );
});

test('[MQTT-3.3.1-10] a client that subscribes again as if for the first time is still owed the rest', async (t) => {
  const parent = await retain(t, broker.port, 12, 1);
  const keeper = new Keeper();
  const client = await keeper.online(t, broker.port, false);
  await client.subscribe(`${parent}/#`, 1 | RETAIN_IF_NEW);
  await keeper.take(WINDOW, false);
  await keeper.lineBreaks();

  const again = await keeper.online(t, broker.port, true);
  await again.subscribe(`${parent}/#`, 1 | RETAIN_IF_NEW);
  await keeper.takeAll(t, broker.port);

  assert.deepEqual(keeper.arrived.sort(), topics(parent, 12));
});

test('[MQTT-3.3.1-9] what was retained anew while the client was away comes as well, at any QoS', async (t) => {
  const parent = await retain(t, broker.port, 12, 1);
  const keeper = new Keeper();
  const client = await keeper.online(t, broker.port, false);
  await client.subscribe(`${parent}/#`, 2);
  await keeper.take(WINDOW, false);
  await keeper.lineBreaks();
  const publisher = await connectClient(t, broker.port);
  for (let i = 0; i < 12; i++) {
    if (keeper.arrived.includes(`${parent}/${i}`)) continue;
    await publisher.publish(`${parent}/${i}`, 'new', { qos: i % 3, retain: true });
  }
  await publisher.idle();

  await keeper.online(t, broker.port, true);
  await keeper.take(12 - WINDOW);
  await keeper.takeAll(t, broker.port);

  assert.deepEqual(keeper.arrived.sort(), topics(parent, 12));
});

for (const [kind, sessionExpiry] of [
  ['transient', 0],
  ['durable', 3_600],
] as const) {
  test(`[MQTT-4.3.3-2] a QoS 2 message published right after SUBSCRIBE comes once to a ${kind} session`, async (t) => {
    const parent = await retain(t, broker.port, 150, 2);
    const client = await connectClient(t, broker.port, {
      properties: { sessionExpiry, receiveMaximum: WINDOW },
    });
    const publisher = await connectClient(t, broker.port);
    const late = topics(parent, 150).slice(-40);

    client.send(subscribePacket(client.freshId(), [[`${parent}/#`, 2]]));
    await client.next('suback');
    for (const topic of late) await publisher.publish(topic, 'new', { qos: 2, retain: true });

    const seen: string[] = [];
    while (seen.filter((one) => one.endsWith('=new')).length < late.length || seen.length < 150) {
      const message = await client.receive();
      seen.push(`${message.topic}=${message.payload}`);
    }
    const fence = unique('fence/');
    await publisher.publish(fence, 'fence', { qos: 1, retain: true });
    await client.subscribe(fence, 1);
    for (;;) {
      const message = await client.receive();
      if (message.topic === fence) break;
      seen.push(`${message.topic}=${message.payload}`);
    }
    const fresh = seen.filter((one) => one.endsWith('=new')).sort();
    assert.deepEqual(fresh, late.map((topic) => `${topic}=new`).sort());
  });
}

for (const [handling, options] of [
  [1, RETAIN_IF_NEW],
  [2, RETAIN_NEVER],
] as const) {
  test(`[MQTT-3.8.4-4] what is owed comes though a SUBSCRIBE with Retain Handling ${handling} asks for none`, async (t) => {
    const parent = await retain(t, broker.port, 30, 1);
    const keeper = new Keeper();
    const client = await keeper.online(t, broker.port, false);
    await client.subscribe(`${parent}/+`, 1);
    await keeper.take(3);

    await client.subscribe(`${parent}/+`, 1 | options);
    await keeper.takeAll(t, broker.port);

    assert.deepEqual(keeper.arrived.sort(), topics(parent, 30));
  });

  test(`[MQTT-3.8.4-5] the same filter again with Retain Handling ${handling} in one SUBSCRIBE takes nothing back`, async (t) => {
    const parent = await retain(t, broker.port, 2, 1);
    const keeper = new Keeper();
    const client = await keeper.online(t, broker.port, false);

    await client.subscribe([
      [`${parent}/+`, 1],
      [`${parent}/+`, 1 | options],
    ]);
    await keeper.takeAll(t, broker.port);

    assert.deepEqual(keeper.arrived.sort(), topics(parent, 2));
  });
}

for (const how of ['stop', 'kill'] as const) {
  test(`[MQTT-3.3.1-9] [MQTT-4.1.0-1] [MQTT-4.3.3-2] after a ${how} the rest of what is owed comes, once`, {
    skip: againstPeer,
  }, async (t) => {
    const own = await startBroker(t);
    const parent = await retain(t, own.port, 30, 2);
    const keeper = new Keeper();
    const client = await keeper.online(t, own.port, false);
    await client.subscribe([
      [`${parent}/#`, 2],
      [`${parent}/+`, 2],
    ]);
    for (let turn = 0; turn < 3; turn++) {
      await keeper.take(3);
      await keeper.take(WINDOW - 1, false);
      if (how === 'stop') await own.stop();
      else await own.kill();
      await own.restart();
      await keeper.online(t, own.port, true);
    }

    await keeper.takeAll(t, own.port);

    assert.deepEqual(keeper.arrived.sort(), topics(parent, 30, 2));
  });
}

test('[MQTT-3.3.1-9] a subscription made anew is owed all, where a walk for another one was left', async (t) => {
  const parent = await retain(t, broker.port, 20, 1);
  const keeper = new Keeper();
  const first = await keeper.online(t, broker.port, false);
  await first.subscribe(`${parent}/+`, 1);
  await keeper.take(6);
  await first.unsubscribe(`${parent}/+`);
  first.drop();

  const second = await keeper.online(t, broker.port, true);
  const before = keeper.arrived.length;
  await second.subscribe(`${parent}/#`, 1);
  await keeper.takeAll(t, broker.port);

  const anew = new Set(keeper.arrived.slice(before));
  assert.deepEqual([...anew].sort(), topics(parent, 20));
});
