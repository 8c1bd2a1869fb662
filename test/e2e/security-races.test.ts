/**
 * What changes while a client is on its way in, or is in, and what was seen before a restart: a
 * verdict must not count for a world that is no more.
 */
import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  ADMIN,
  type Key,
  openSecurityScene,
  type SecurityScene,
  sign,
} from '../harness/security-scene.ts';
import { until } from '../harness/until.ts';
import { openClient, type V5Client } from '../harness/v5-client.ts';
import type { ConnectOptions } from '../harness/v5-packets.ts';

const HOME = 'mqtt-home';

let scene: SecurityScene;
let url = '';
/** Questions to the service that decides, each to be answered by the test. */
const asked: ServerResponse[] = [];
const cleanUps: (() => Promise<void>)[] = [];

before(async () => {
  const scope = { after: (cleanUp: () => Promise<void>) => void cleanUps.push(cleanUp) };
  scene = await openSecurityScene(scope, ['--default-instance', HOME]);
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => asked.push(response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanUps.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`;
  await scene.instance(HOME);
});

after(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

let serial = 0;
let own = '';
beforeEach(() => {
  own = `r${++serial}`;
});

/** The administrator's device: it may do everything. */
function trusted(name: string): ConnectOptions {
  const clientId = `GID_test@@@${own}-${name}`;
  const username = `Signature|${ADMIN.id}|${HOME}`;
  return { clientId, username, password: sign(ADMIN.secret, clientId) };
}

function allow(): void {
  const response = asked.shift()!;
  response.setHeader('content-type', 'application/json');
  response.end('{"result":"allow"}');
}

async function begin(options: ConnectOptions): Promise<V5Client> {
  const scope = {
    after: (action: () => void | Promise<void>) => void cleanUps.push(async () => action()),
  };
  const client = await openClient(scope, scene.port);
  client.sendConnect(options);
  return client;
}

/** A client whose verdict is on its way. */
async function pending(clientId: string): Promise<V5Client> {
  await scene.ok('SetHttpAuth', {
    InstanceId: HOME,
    Url: url,
    TimeoutMs: '20000',
    CacheSeconds: '0',
  });
  const client = await begin({ clientId, username: 'served', password: own });
  await until(
    () => asked.length > 0,
    () => 'the service was not asked',
  );
  return client;
}

async function isRefused(client: V5Client): Promise<boolean> {
  const { reason } = await client.next('connack');
  if (reason >= 0x80) return true;
  // Let in, and put out again at once, is as good.
  const first = await client.next();
  return first.type === 'disconnect';
}

describe('while the verdict is on its way', () => {
  test('the instance goes: the client is refused', async () => {
    const client = await pending(`GID_test@@@${own}`);
    await scene.ok('DeleteInstance', { InstanceId: HOME });
    allow();
    assert.ok(await isRefused(client));
    await scene.instance(HOME);
  });

  test('the instance is made again: the verdict of the former does not count', async () => {
    const client = await pending(`GID_test@@@${own}`);
    await scene.ok('DeleteInstance', { InstanceId: HOME });
    await scene.instance(HOME);
    allow();
    assert.ok(await isRefused(client));
    assert.equal(await scene.tryConnect(trusted('after')), 0, 'the new one works');
  });

  test('the same, and the new one is in use', async () => {
    const client = await pending(`GID_test@@@${own}`);
    await scene.ok('DeleteInstance', { InstanceId: HOME });
    await scene.instance(HOME);
    const honest = await scene.connect(trusted('honest'));
    allow();
    assert.ok(await isRefused(client));
    await honest.idle();
  });

  test('the client is blacklisted: it is refused', async () => {
    const clientId = `GID_test@@@${own}`;
    const client = await pending(clientId);
    await scene.ok('AddCustomAuthConnectBlack', { InstanceId: HOME, ClientId: clientId });
    allow();
    assert.ok(await isRefused(client));
  });

  test('its address is denied: it is refused, or the next time', async () => {
    const client = await pending(`GID_test@@@${own}`);
    await scene.ok('SetAddressLists', { InstanceId: HOME, 'Deny.1': '127.0.0.1' });
    allow();
    await client.next('connack');
    const again = await begin({ clientId: `GID_test@@@${own}`, username: 'served', password: own });
    assert.ok((await again.next('connack')).reason >= 0x80);
    assert.equal(asked.length, 0);
    await scene.ok('SetAddressLists', { InstanceId: HOME });
  });

  test('it goes away: whoever has its session stays', async () => {
    const clientId = `GID_test@@@${own}`;
    const username = `Signature|${ADMIN.id}|${HOME}`;
    const owner = await scene.connect({
      clientId,
      username,
      password: sign(ADMIN.secret, clientId),
    });
    const thief = await pending(clientId);
    await owner.idle(); // asking is not being
    thief.drop();
    for (let round = 0; round < 5; round++) await owner.idle(); // the broker has seen it go
    allow();
    await owner.idle();

    const second = await pending(clientId);
    const response = asked.shift()!;
    response.setHeader('content-type', 'application/json');
    response.end('{"result":"deny"}');
    assert.ok((await second.next('connack')).reason >= 0x80);
    await owner.idle();
  });
});

describe('rights that end', () => {
  test('a key made inactive, an account deleted, a policy taken away end connections', async () => {
    const all = { Effect: 'Allow', Action: '*', Resource: '*' };
    const ENDS: Readonly<Record<string, (key: Key & { readonly of: string }) => Promise<unknown>>> =
      {
        inactive: ({ id }) => scene.ok('UpdateAccessKey', { AccessKeyId: id, Status: 'Inactive' }),
        removed: ({ id }) => scene.ok('DeleteAccessKey', { AccessKeyId: id }),
        deleted: ({ of: AccountId }) => scene.ok('DeleteAccount', { AccountId }),
        detached: ({ of: AccountId }) => scene.ok('DetachPolicy', { AccountId, PolicyName: 'own' }),
      };
    for (const [name, end] of Object.entries(ENDS)) {
      const key = await scene.account(`ends-${name}`, all);
      const clientId = `GID_test@@@${name}`;
      const username = `Signature|${key.id}|${HOME}`;
      const options = { clientId, username, password: sign(key.secret, clientId) };
      const client = await scene.connect(options);

      await end(key);

      assert.ok((await client.find('disconnect')).reason >= 0x80, name);
      assert.ok((await scene.tryConnect(options)) >= 0x80, name);
    }
  });

  test('a blacklisted client is out, whichever way it came', async () => {
    const clientId = 'GID_test@@@black';
    const username = `Signature|${ADMIN.id}|${HOME}`;
    const options = { clientId, username, password: sign(ADMIN.secret, clientId) };
    const client = await scene.connect(options);
    await scene.ok('AddCustomAuthConnectBlack', { InstanceId: HOME, ClientId: clientId });
    assert.ok((await client.find('disconnect')).reason >= 0x80);
    assert.ok((await scene.tryConnect(options)) >= 0x80);
  });
});

describe('connections beyond the bound', () => {
  test('do not slip in together', async () => {
    const id = `mqtt-${own}`;
    await scene.instance(id, { ConnectionCountMax: '5' });
    const clients = await Promise.all(
      Array.from({ length: 40 }, (_, i) => {
        const clientId = `GID_test@@@${own}-${i}`;
        const username = `Signature|${ADMIN.id}|${id}`;
        const password = sign(ADMIN.secret, clientId);
        return begin({ clientId, username, password, properties: { sessionExpiry: 3_600 } });
      }),
    );
    const reasons = await Promise.all(
      clients.map(async (client) => (await client.next('connack')).reason),
    );
    assert.equal(reasons.filter((reason) => reason === 0).length, 5, reasons.join(' '));
  });
});

describe('after a restart', () => {
  const fields = { InstanceId: HOME, MqttTopic: 'news/x', Payload: 'once' };
  const stamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

  for (const [name, aheadMs] of [
    ['of just before', 0],
    ['whose clock is ahead', 600_000],
  ] as const) {
    test(`a request ${name} is not taken twice`, async () => {
      const spoil = {
        before: {
          'x-acs-signature-nonce': `before-${aheadMs}`,
          'x-acs-date': stamp(Date.now() + aheadMs),
        },
      };
      assert.equal((await scene.send(ADMIN, 'SendMessage', fields, spoil)).status, 200);
      await scene.broker.restart();

      const again = await scene.send(ADMIN, 'SendMessage', fields, spoil);

      assert.ok(again.status >= 400, 'it was taken again');
      assert.equal((await scene.send(ADMIN, 'ListInstances')).status, 200);
    });
  }
});
