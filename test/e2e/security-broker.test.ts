/**
 * Clients that reach for what is not theirs: topics they have no right to, by every way there is,
 * messages for others, sessions and wills that outlive a right, instances made again.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { until } from '../harness/until.ts';
import { ADMIN, openSecurityScene, type SecurityScene, sign } from '../harness/security-scene.ts';
import { nothingReaches, type V5Client } from '../harness/v5-client.ts';
import { type ConnectOptions, publishPacket, subscribePacket } from '../harness/v5-packets.ts';

const NOT_AUTHORIZED = 0x87;
const OPEN = 'default';
const MADE = 'mqtt-a';

let scene: SecurityScene;
const cleanUps: (() => Promise<void>)[] = [];

before(async () => {
  scene = await openSecurityScene({ after: (cleanUp) => void cleanUps.push(cleanUp) });
  await scene.instance(MADE);
});

after(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

let serial = 0;
let own = '';
beforeEach(() => {
  own = `t${++serial}`;
});

/** The administrator's device: it may do everything. */
function trusted(instanceId: string, clientId: string): ConnectOptions {
  const username = `Signature|${ADMIN.id}|${instanceId}`;
  return { clientId, username, password: sign(ADMIN.secret, clientId) };
}

async function witness(instanceId = OPEN, name = 'w'): Promise<V5Client> {
  const clientId = instanceId === OPEN ? `${own}-${name}` : `GID_test@@@${own}-${name}`;
  return await scene.connect(trusted(instanceId, clientId));
}

type Permit = readonly ['ALLOW' | 'DENY', 'PUB' | 'SUB' | 'PUB_SUB', string];

/** A user of custom authentication, who is known by a bare user name in the default instance. */
async function user(name: string, ...rules: readonly Permit[]): Promise<ConnectOptions> {
  await scene.ok('AddCustomAuthIdentity', {
    InstanceId: OPEN,
    Username: name,
    IdentityType: 'USER',
    Secret: `secret-of-${name}`,
    SignMode: 'ORIGIN',
  });
  for (const rule of rules) await permit(name, rule);
  return { clientId: `${name}-c`, username: name, password: `secret-of-${name}` };
}

async function permit(name: string, rule: Permit): Promise<void> {
  const [Effect, PermitAction, Topic] = rule;
  const whom = { InstanceId: OPEN, Identity: name, IdentityType: 'USER' };
  await scene.ok('AddCustomAuthPermission', { ...whom, Topic, PermitAction, Effect });
}

async function unpermit(name: string, Topic: string): Promise<void> {
  const whom = { InstanceId: OPEN, Identity: name, IdentityType: 'USER' };
  await scene.ok('DeleteCustomAuthPermission', { ...whom, Topic });
}

describe('subscribing', () => {
  test('no filter reaches into what is denied', async () => {
    const options = await user(
      own,
      ['ALLOW', 'PUB_SUB', `${own}/#`],
      ['DENY', 'SUB', `${own}/secret/+/key`],
    );
    const client = await scene.connect(options);
    const fence = await witness();
    const all = [
      '#',
      '+/#',
      '+',
      '+/+/+/+',
      `${own}/#`,
      `${own}/+/#`,
      `${own}/+/+/key`,
      `${own}/+/+/+`,
      `${own}/secret/#`,
      `${own}/secret/+/+`,
      `${own}/secret/x/key`,
      `${own}/secret//key`,
      `${own}/secret/+/#`,
      `${own}/secret/x/#`,
      `${own}/secret/x/key/#`,
      `$SYS/#`,
      '$SYS/broker/#',
    ];
    for (const filter of [...all, ...all.map((one) => `$share/g/${one}`)]) {
      const { reasons } = await client.subscribe(filter, 1);
      assert.ok(reasons[0]! >= 0x80, `${filter} is ${reasons[0]}`);
    }
    for (const filter of [`${own}/secret`, `${own}/secret/+`, `${own}/public/#`, `${own}/+/x`]) {
      assert.deepEqual((await client.subscribe(filter, 1)).reasons, [1], filter);
    }
    for (const topic of [`${own}/secret/x/key`, `${own}/secret//key`, `${own}/secret/é/key`]) {
      await fence.publish(topic, 'secret', { qos: 1 });
      await fence.publish(topic, 'secret', { qos: 0, retain: true });
    }
    await fence.publish(`${own}/public/fence`, 'fence', { qos: 1 });
    assert.equal((await client.receive()).payload, 'fence');
  });

  test('badly written shares are refused, and are no way around', async () => {
    const client = await scene.connect(await user(own, ['ALLOW', 'PUB_SUB', `${own}/#`]));
    for (const filter of [
      '$share/g/#',
      '$share/g/+',
      '$share/g/$share/g/#',
      `$share/g//${own}/a`,
    ]) {
      const { reasons } = await client.subscribe(filter, 1);
      assert.ok(reasons[0]! >= 0x80, `${filter} is ${reasons[0]}`);
    }
  });

  test('names of what every object has are topics like any other', async () => {
    const client = await scene.connect(await user(own, ['ALLOW', 'PUB_SUB', `${own}/a`]));
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      assert.deepEqual((await client.subscribe(name, 0)).reasons, [NOT_AUTHORIZED]);
      assert.deepEqual((await client.subscribe(`${own}/${name}`, 0)).reasons, [NOT_AUTHORIZED]);
      assert.equal(await client.publish(`${own}/${name}`, 'x', { qos: 1 }), NOT_AUTHORIZED);
    }
  });
});

describe('publishing', () => {
  const FORBIDDEN = ['secret', 'secret/', '/secret', 'a/secret', 'a//b', 'a/b/secret', 'a'];

  for (const qos of [0, 1, 2]) {
    test(`forbidden topics are refused at QoS ${qos}, by name and by alias`, async () => {
      const client = await scene.connect(await user(own, ['ALLOW', 'PUB', `${own}/+/ok`]));
      const fence = await witness();
      await fence.subscribe(`${own}/#`, 1);
      for (const [place, name] of FORBIDDEN.entries()) {
        const topic = `${own}/${name}`;
        const topicAlias = place + 1;
        const first = { qos, retain: true, properties: { topicAlias } };
        const again = { qos, properties: { topicAlias } };
        const reasons = [
          await client.publish(topic, 'forbidden', { qos }),
          await client.publish(topic, 'forbidden', first),
          await client.publish('', 'forbidden', again),
        ];
        if (qos > 0) assert.deepEqual(reasons, [NOT_AUTHORIZED, NOT_AUTHORIZED, NOT_AUTHORIZED]);
      }
      // An alias may come to stand for another topic.
      await client.publish(`${own}/x/ok`, '1', { qos, properties: { topicAlias: 20 } });
      await client.publish(`${own}/secret`, 'no', { qos, properties: { topicAlias: 20 } });
      await client.publish('', 'no', { qos, properties: { topicAlias: 20 } });
      await client.publish(`${own}/y/ok`, '2', { qos });

      assert.equal((await fence.receive()).payload, '1');
      assert.equal((await fence.receive()).payload, '2');
      await fence.subscribe(`${own}/+`, 1); // nothing was retained
      await nothingReaches(fence, await witness(OPEN, 'other'));
    });
  }

  test('a right withdrawn counts for the topic that was used just before', async () => {
    const options = await user(own, ['ALLOW', 'PUB_SUB', `${own}/x`]);
    const client = await scene.connect(options);
    assert.ok((await client.publish(`${own}/x`, '1', { qos: 1 })) < 0x80);

    await unpermit(own, `${own}/x`);

    await until(
      async () => (await client.publish(`${own}/x`, '2', { qos: 1 })) === NOT_AUTHORIZED,
      () => 'it may still publish',
    );
  });

  test('$SYS is the server’s own, for everybody, in every way', async () => {
    const client = await witness();
    for (const topic of [
      '$SYS/broker/uptime',
      '$SYS/x',
      '$SYS/uploadToken',
      '$SYS/enableOrderMsg',
    ]) {
      assert.equal(await client.publish(topic, 'x', { qos: 1 }), NOT_AUTHORIZED, topic);
    }
    const answer = await scene.send(ADMIN, 'SendMessage', {
      InstanceId: OPEN,
      MqttTopic: '$SYS/broker/uptime',
      Payload: 'x',
    });
    assert.ok(answer.status >= 400);
  });
});

describe('odd bytes', () => {
  const ODD: Readonly<Record<string, Buffer>> = {
    'U+0000': Buffer.from('a\0b'),
    'an overlong slash': Buffer.of(0x61, 0xc0, 0xaf, 0x62),
    'half a surrogate': Buffer.of(0x61, 0xed, 0xa0, 0x80),
    'beyond Unicode': Buffer.of(0xf5, 0x80, 0x80, 0x80),
    'a byte alone': Buffer.of(0x61, 0x80),
    'a cut character': Buffer.of(0x61, 0xe4, 0xb8),
  };
  for (const [name, bytes] of Object.entries(ODD)) {
    test(`${name} in a name ends the connection`, async () => {
      for (const packet of [
        publishPacket(bytes, 'x', { qos: 1, packetId: 1 }),
        subscribePacket(1, [[bytes, 1]]),
        subscribePacket(1, [[Buffer.concat([Buffer.from('$share/g/'), bytes]), 1]]),
      ]) {
        const client = await scene.connect(trusted(OPEN, `${own}-odd`));
        client.send(packet);
        assert.ok((await client.find('disconnect')).reason >= 0x80);
      }
      const username = `Signature|${ADMIN.id}|${OPEN}`;
      const password = sign(ADMIN.secret, bytes);
      const reason = await scene.tryConnect({ clientId: bytes, username, password });
      assert.ok(reason >= 0x80);
    });
  }

  test('a name of 65535 bytes, and one of 10000 levels, harm nobody', async () => {
    const client = await scene.connect(await user(own, ['ALLOW', 'PUB_SUB', `${own}/#`]));
    for (const name of [
      'x'.repeat(65_000),
      'x/'.repeat(10_000),
      '/'.repeat(60_000),
      '+/'.repeat(10_000),
    ]) {
      const { reasons } = await client.subscribe(`${own}/${name.slice(0, 65_000)}`, 0);
      assert.equal(reasons.length, 1);
      if (!name.startsWith('+'))
        await client.publish(`${own}/${name}`.slice(0, 65_000), 'x', { qos: 1 });
    }
    while (client.queue.length > 0) await client.next();
    await client.idle();
  });
});

describe('wills', () => {
  test('a will to a forbidden topic is refused', async () => {
    const options = await user(own, ['ALLOW', 'PUB', `${own}/ok`]);
    for (const topic of [`${own}/secret`, '$SYS/x', 'ok']) {
      const reason = await scene.tryConnect({ ...options, will: { topic, payload: 'x' } });
      assert.equal(reason, NOT_AUTHORIZED, topic);
    }
  });

  test('a will to $SYS is refused, whatever the right', async () => {
    const clientId = `${own}-w`;
    const will = { topic: '$SYS/broker/forged', payload: 'forged' };
    const reason = await scene.tryConnect({ ...trusted(OPEN, clientId), will });
    assert.ok(reason >= 0x80, `CONNACK says ${reason}`);
  });

  test('a will keeps to the rules of the instance', async () => {
    const clientId = `GID_test@@@${own}`;
    const payload = 'x'.repeat(70_000); // more than a message of the instance may have
    for (const will of [{ topic: 'olds/x' }, { topic: 'news/x', payload }]) {
      const reason = await scene.tryConnect({ ...trusted(MADE, clientId), will });
      assert.ok(reason >= 0x80, `${will.topic}: CONNACK says ${reason}`);
    }
  });

  test('a will is not said once its topic is forbidden', async () => {
    const options = await user(own, ['ALLOW', 'PUB', `${own}/#`]);
    const fence = await witness();
    await fence.subscribe(`${own}/#`, 1);
    const client = await scene.connect({
      ...options,
      will: { topic: `${own}/will`, payload: 'no' },
    });

    await permit(own, ['DENY', 'PUB', `${own}/will`]);
    await until(
      async () => (await client.publish(`${own}/will`, 'x', { qos: 1 })) === NOT_AUTHORIZED,
      () => 'it may still publish',
    );
    while (fence.queue.length > 0) await fence.receive();
    client.drop();

    await until(
      async () => {
        const fields = { InstanceId: OPEN, ClientId: `${own}-c` };
        return (await scene.ok('QuerySessionByClientId', fields))['OnlineStatus'] === false;
      },
      () => 'it is still connected',
    );
    await nothingReaches(fence, await witness(OPEN, 'other'));
  });
});
