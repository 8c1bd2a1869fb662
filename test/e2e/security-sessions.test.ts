/**
 * What outlives a connection, or is meant for somebody else: sessions that come back with fewer
 * rights or to another user, messages for one client alone, instances made again under one name.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { openLmdbEngine } from '#adapters/lmdb';
import { silentLog, systemClock } from '#base';
import { ADMIN, openSecurityScene, type SecurityScene, sign } from '../harness/security-scene.ts';
import type { V5Client } from '../harness/v5-client.ts';
import type { ConnectOptions } from '../harness/v5-packets.ts';

const HOME = 'mqtt-home';
const KEPT = { sessionExpiry: 3_600 };

let scene: SecurityScene;
const cleanUps: (() => Promise<void>)[] = [];

before(async () => {
  const scope = { after: (cleanUp: () => Promise<void>) => void cleanUps.push(cleanUp) };
  scene = await openSecurityScene(scope, ['--default-instance', HOME]);
  await scene.instance(HOME);
});

after(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

let serial = 0;
let own = '';
beforeEach(() => {
  own = `s${++serial}`;
});

/** The administrator's device: it may do everything. */
function trusted(name: string, instanceId = HOME): ConnectOptions {
  const clientId = `GID_test@@@${own}-${name}`;
  const username = `Signature|${ADMIN.id}|${instanceId}`;
  return { clientId, username, password: sign(ADMIN.secret, clientId) };
}

async function user(
  name: string,
  ...rules: readonly (readonly string[])[]
): Promise<ConnectOptions> {
  await scene.ok('AddCustomAuthIdentity', {
    InstanceId: HOME,
    Username: name,
    IdentityType: 'USER',
    Secret: `secret-of-${name}`,
    SignMode: 'ORIGIN',
  });
  for (const [Effect = '', PermitAction = '', Topic = ''] of rules) {
    const whom = { InstanceId: HOME, Identity: name, IdentityType: 'USER' };
    await scene.ok('AddCustomAuthPermission', { ...whom, Topic, PermitAction, Effect });
  }
  return { clientId: `${name}-c`, username: name, password: `secret-of-${name}` };
}

async function unpermit(Identity: string, Topic: string): Promise<void> {
  const whom = { InstanceId: HOME, Identity, IdentityType: 'USER' };
  await scene.ok('DeleteCustomAuthPermission', { ...whom, Topic });
}

/** Nothing comes but the answers to pings. */
async function silent(client: V5Client): Promise<void> {
  for (let round = 0; round < 5; round++) await client.idle();
}

describe('a session', () => {
  for (const qos of [1, 2] as const) {
    test(`that comes back with fewer rights gets no message it may not have, QoS ${qos}`, async () => {
      const options = {
        ...(await user(own, ['ALLOW', 'SUB', `news/${own}/#`])),
        cleanStart: false,
      };
      const client = await scene.connect({ ...options, properties: KEPT });
      await client.subscribe([
        [`news/${own}/secret`, qos],
        [`news/${own}/fine`, qos],
      ]);
      const sender = await scene.connect(trusted('sender'));
      await sender.publish(`news/${own}/secret`, 'in flight', { qos });
      await client.message(); // and does not acknowledge it
      client.drop();
      await sender.publish(`news/${own}/secret`, 'waiting', { qos });

      await unpermit(own, `news/${own}/#`);
      const again = await scene.connect({ ...options, properties: KEPT });

      assert.equal(again.connack!.sessionPresent, true);
      await silent(again);
    });
  }

  test('taken up by another user is no way to the messages of the first', async () => {
    const first = { ...(await user(own, ['ALLOW', 'SUB', `news/${own}/#`])), cleanStart: false };
    const second = await user(`${own}b`, ['ALLOW', 'SUB', `news/${own}/fine`]);
    const client = await scene.connect({ ...first, properties: KEPT });
    await client.subscribe(`news/${own}/#`, 1);
    const sender = await scene.connect(trusted('sender'));
    await sender.publish(`news/${own}/secret`, 'in flight', { qos: 1 });
    await client.message();
    client.drop();
    await sender.publish(`news/${own}/secret`, 'waiting', { qos: 1 });

    const thief = await scene.connect({
      ...second,
      clientId: first.clientId!,
      cleanStart: false,
      properties: KEPT,
    });

    await silent(thief);
  });

  test('of a right withdrawn while connected ends, with its retained replay', async () => {
    const options = await user(own, ['ALLOW', 'SUB', `news/${own}/#`]);
    const sender = await scene.connect(trusted('sender'));
    for (let i = 0; i < 200; i++) {
      await sender.publish(`news/${own}/${i}`, 'kept', { qos: 1, retain: true });
    }
    const properties = { receiveMaximum: 10 };
    const client = await scene.connect({ ...options, properties });
    await client.subscribe(`news/${own}/#`, 1); // ten come, the rest waits for acknowledgements

    await unpermit(own, `news/${own}/#`);

    assert.equal((await client.find('disconnect')).reason, 0x87);
    const received = client.queue.filter((packet) => packet.type === 'publish').length;
    assert.ok(received <= 10, `${received} came`);
    for (let i = 0; i < 200; i++) {
      await sender.publish(`news/${own}/${i}`, '', { qos: 1, retain: true });
    }
  });
});

describe('messages for one client', () => {
  for (const filter of ['#', '+/p2p/#', '+/+/#', '+/+/+']) {
    test(`are not for who subscribes ${filter}`, async () => {
      const thief = await scene.connect(trusted('thief'));
      const { reasons } = await thief.subscribe(filter, 1);
      assert.ok(reasons[0]! >= 0x80);
    });
  }

  for (const end of ['#', 'p2p/#', 'p2p/+', '+/+', '+/#', 'p2p/VICTIM']) {
    for (const share of ['', '$share/g/']) {
      test(`are not for who subscribes ${share}news/${end}`, async () => {
        const victim = await scene.connect(trusted('victim'));
        const sender = await scene.connect(trusted('sender'));
        const options = await user(own, ['ALLOW', 'PUB_SUB', 'news/#']);
        const thief = await scene.connect(options);
        await thief.subscribe(`${share}news/${end.replace('VICTIM', victim.clientId)}`, 1);

        await sender.publish(`news/p2p/${victim.clientId}`, 'for you alone', { qos: 1 });

        assert.equal((await victim.receive()).payload, 'for you alone');
        await silent(thief);
      });
    }
  }

  for (const odd of ['#', '+', 'x/#', '+/+', '+/#', 'x/+']) {
    test(`do not come to a client that calls itself ${odd}`, async () => {
      const victim = await scene.connect(trusted('victim'));
      const sender = await scene.connect(trusted('sender'));
      const options = await user(own, ['ALLOW', 'SUB', 'news/nothing']);
      const thief = await scene.connect({ ...options, clientId: odd });

      await sender.publish(`news/p2p/${victim.clientId}`, 'for you alone', { qos: 1 });
      await sender.publish('news/p2p/x/secret', 'no P2P, and forbidden', { qos: 1 });
      await sender.publish(`news/p2p/${victim.clientId}`, 'fence', { qos: 1 });

      assert.equal((await victim.receive()).payload, 'for you alone');
      assert.equal((await victim.receive()).payload, 'fence');
      await silent(thief);
    });
  }

  test('do not come before CONNACK', async () => {
    const sender = await scene.connect(trusted('sender'));
    const receiver = trusted('receiver');
    const topic = `news/p2p/${String(receiver.clientId)}`;
    const stop = setInterval(() => {
      for (let i = 0; i < 20; i++) sender.sendPublish(topic, 'early', { qos: 0 });
    }, 0);
    try {
      for (let round = 0; round < 100; round++) {
        // The client checks that nothing comes before CONNACK.
        const client = await scene.connect({ ...receiver, cleanStart: true, properties: KEPT });
        client.drop();
      }
    } finally {
      clearInterval(stop);
    }
  });
});

describe('two instances', () => {
  test('with equal names of everything never meet', async () => {
    const ids = [`mqtt-${own}-1`, `mqtt-${own}-2`] as const;
    for (const id of ids) await scene.instance(id);
    const [one, other] = await Promise.all(
      ids.map((id) =>
        scene.connect({ ...trusted('same', id), cleanStart: false, properties: KEPT }),
      ),
    );
    assert.ok(one !== undefined && other !== undefined);
    for (const client of [one, other])
      await client.subscribe([
        ['news/#', 1],
        ['$share/g/news/#', 1],
      ]);
    const sender = await scene.connect(trusted('sender', ids[0]));
    await sender.publish('news/a', 'mine', { qos: 1, retain: true });
    await sender.publish(`news/p2p/${one.clientId}`, 'mine', { qos: 1 });

    for (let i = 0; i < 3; i++) assert.equal((await one.receive()).payload, 'mine');
    await silent(other);
    assert.equal(one.isClosed, false);
    await other.subscribe('news/a', 1);
    await silent(other); // not the retained one either
    for (const id of ids) await scene.ok('DeleteInstance', { InstanceId: id });
  });

  test('one made again has nothing of the former of its name', async () => {
    const id = `mqtt-${own}`;
    await scene.instance(id);
    const ClientId = `GID_test@@@${own}-device`;
    const { DeviceCredential } = await scene.ok('RegisterDeviceCredential', {
      InstanceId: id,
      ClientId,
    });
    const { DeviceAccessKeyId, DeviceAccessKeySecret } = DeviceCredential as Record<string, string>;
    const device = {
      clientId: ClientId,
      username: `DeviceCredential|${DeviceAccessKeyId}|${id}`,
      password: sign(DeviceAccessKeySecret!, ClientId),
    };
    const application = { InstanceId: id, Actions: 'R,W', Resources: 'news/#' };
    const ExpireTime = String(Date.now() + 600_000);
    const { Token } = await scene.ok('ApplyToken', { ...application, ExpireTime });
    const bearer = {
      clientId: `GID_test@@@${own}-bearer`,
      username: `Token|${ADMIN.id}|${id}`,
      password: `RW|${String(Token)}`,
    };
    await scene.ok('AddCustomAuthConnectBlack', {
      InstanceId: id,
      ClientId: `GID_test@@@${own}-black`,
    });
    const sender = await scene.connect(trusted('sender', id));
    await sender.publish('news/kept', 'of the former', { qos: 1, retain: true });
    const kept = { cleanStart: false, properties: KEPT };
    const will = { topic: 'news/will', payload: 'of the former', properties: { willDelay: 2 } };
    const online = await scene.connect({ ...device, ...kept, will });
    await online.subscribe('news/#', 1);
    const offline = await scene.connect({ ...trusted('offline', id), ...kept });
    await offline.subscribe('news/#', 1);
    await offline.disconnect();
    await sender.publish('news/queued', 'of the former', { qos: 1 });
    await scene.connect(bearer);

    await scene.ok('DeleteInstance', { InstanceId: id });
    await online.hungUp();
    assert.equal((await scene.tryConnect(trusted('sender', id))) >= 0x80, true);
    await scene.instance(id);

    assert.ok((await scene.tryConnect(device)) >= 0x80, 'the credential is gone');
    assert.ok((await scene.tryConnect(bearer)) >= 0x80, 'the token is gone');
    assert.equal(
      (await scene.ok('QueryToken', { InstanceId: id, Token: String(Token) }))['TokenStatus'],
      false,
    );
    const black = await scene.tryConnect(trusted('black', id));
    assert.equal(black, 0, 'the blacklist is gone');
    const names = [trusted('offline', id), { ...trusted('device', id), clientId: ClientId }];
    for (const options of names) {
      const password = sign(ADMIN.secret, String(options.clientId));
      const back = await scene.connect({ ...options, ...kept, password });
      assert.equal(back.connack!.sessionPresent, false, String(options.clientId));
      await silent(back);
      await back.subscribe('news/#', 1);
      await silent(back); // nothing retained
      await new Promise((resolve) => setTimeout(resolve, 2_500)); // the delayed will's time
      await silent(back);
    }
    await scene.ok('DeleteInstance', { InstanceId: id });
  });

  test('sessions are gone after a restart as well', async () => {
    const id = `mqtt-${own}`;
    await scene.instance(id);
    const kept = { cleanStart: false, properties: KEPT };
    const will = { topic: 'news/will', payload: 'former', properties: { willDelay: 1 } };
    const online = await scene.connect({ ...trusted('online', id), ...kept, will });
    await online.subscribe('news/#', 1);
    await scene.ok('DeleteInstance', { InstanceId: id });
    await scene.broker.restart();
    await scene.instance(id);

    const back = await scene.connect({ ...trusted('online', id), ...kept });
    assert.equal(back.connack!.sessionPresent, false);
    await silent(back);
    await nothingReachesIn(back, id);
  });

  test('what was kept is gone where the broker died before it had cleared it away', async () => {
    const id = `mqtt-${own}`;
    await scene.instance(id);
    const sender = await scene.connect(trusted('sender', id));
    const kept = { cleanStart: false, properties: KEPT };
    const offline = await scene.connect({ ...trusted('offline', id), ...kept });
    await offline.subscribe('news/#', 1);
    await offline.disconnect();
    await sender.publish('news/kept', 'of the former', { qos: 1, retain: true });
    await scene.broker.kill();
    await markAsLeaving(scene.broker.dataDirectory, id);
    await scene.broker.restart();
    while ((await scene.send(ADMIN, 'CreateInstance', { InstanceId: id })).status !== 200);
    await scene.ok('CreateGroupId', { InstanceId: id, GroupId: 'GID_test' });
    await scene.ok('CreateTopic', { InstanceId: id, Topic: 'news' });

    const client = await scene.connect({ ...trusted('offline', id), ...kept });
    assert.equal(client.connack!.sessionPresent, false);
    await client.subscribe('news/#', 1);
    await nothingReachesIn(client, id);
    const { LogMessages } = await scene.ok('GetInstanceMetrics', { InstanceId: id });
    assert.equal(LogMessages, 1, 'the fence');
  });
});

/** What a crash leaves right after an instance was removed: the mark, and all that was in it. */
async function markAsLeaving(directory: string, id: string): Promise<void> {
  const engine = await openLmdbEngine({ directory, clock: systemClock, log: silentLog });
  const table = engine.store.table('instances');
  const row = await table.get(id);
  const marked = { ...JSON.parse(Buffer.from(row!.value).toString()), leaving: true };
  await table.put(id, Buffer.from(JSON.stringify(marked)));
  await engine.close();
}

/** A fence that fits a compatible instance. */
async function nothingReachesIn(client: V5Client, id: string): Promise<void> {
  const sender = await scene.connect(trusted('fence', id));
  await client.subscribe('news/fence', 1);
  await sender.publish('news/fence', 'fence', { qos: 1 });
  assert.equal((await client.receive()).payload, 'fence');
}
