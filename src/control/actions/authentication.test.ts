/** The actions on HTTP authentication, JWTs and SCRAM users: what goes in, and what comes out. */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { openWayScene, outcomeOf } from '../../../test/harness/way-scene.ts';
import { createHttpWay, createJwtWay, openScramUsers } from '#identity';
import { ApiFault } from '../api-fault.ts';
import { readArguments } from '../arguments.ts';
import { translateFault } from '../fault-translation.ts';
import type { Services } from '../services.ts';
import { authenticationActions } from './authentication.ts';

async function open(t: TestContext) {
  const scene = await openWayScene();
  const scramUsers = await openScramUsers(scene);
  t.after(() => scramUsers.close());
  // All that these actions use.
  const services = { ...scene, scramUsers } as Partial<Services> as Services;
  const call = async (
    name: string,
    parameters: Readonly<Record<string, string>> = {},
  ): Promise<Record<string, unknown>> => {
    const action = authenticationActions.find((one) => one.name === name)!;
    const given = new Map(Object.entries({ InstanceId: 'plant', ...parameters }));
    try {
      return await action.handle(services, {
        arguments: readArguments(action, given),
        principal: { accountId: 'a', accessKeyId: 'k', may: () => true, mayAll: () => true },
        requestId: '',
        demand: () => undefined,
      });
    } catch (error) {
      throw translateFault(action, error) ?? error;
    }
  };
  return { ...scene, scramUsers, call };
}

async function refuses(work: Promise<unknown>, code = 'ParameterCheckFailed'): Promise<void> {
  await assert.rejects(work, (error) => error instanceof ApiFault && error.wireCode === code);
}

test('an HTTP service is set, shown without its secrets, used, and taken away', async (t) => {
  const { call, ...scene } = await open(t);
  const keys: unknown[] = [];
  const server = createServer((request, response) => {
    keys.push(request.headers['x-key']);
    response.setHeader('content-type', 'application/json').end('{"result":"allow"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const way = createHttpWay(scene);
  t.after(() => {
    way.close();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  await call('SetHttpAuth', { Url: url, TimeoutMs: '500', Headers: '{"X-Key":"hush-hush"}' });

  const outcome = outcomeOf(await way.authenticate(scene.request({ secret: 'x' })));
  assert.equal(outcome, 'in');
  assert.deepEqual(keys, ['hush-hush']);
  assert.ok(!JSON.stringify(scene.instance.authentication).includes('hush'));
  const shown = await call('GetAuthentication');
  assert.ok(!JSON.stringify(shown).includes('hush'));
  assert.ok(!JSON.stringify(shown).includes('sealed'));
  assert.partialDeepStrictEqual(shown, {
    Http: { Url: url, TimeoutMs: 500, FailOpen: false, HeaderNames: ['x-key'] },
  });
  await call('DeleteHttpAuth');
  assert.equal(outcomeOf(await way.authenticate(scene.request())), 'next');
  assert.deepEqual(await call('GetAuthentication'), {});
});

test('settings of an HTTP service that cannot be used are refused and change nothing', async (t) => {
  const { call, instance } = await open(t);
  const Url = 'http://127.0.0.1/';

  await refuses(call('SetHttpAuth'));
  await refuses(call('SetHttpAuth', { Url: 'gopher://x/' }));
  await refuses(call('SetHttpAuth', { Url: 'http://ann:pw@127.0.0.1/' }));
  await refuses(call('SetHttpAuth', { Url, TimeoutMs: '99' }));
  await refuses(call('SetHttpAuth', { Url, Headers: '["a"]' }));
  await refuses(call('SetHttpAuth', { Url, Headers: '{"host":"b"}' }));
  await refuses(call('SetHttpAuth', { Url, Headers: '{"a":"b\\nc"}' }));
  await refuses(call('SetHttpAuth', { Url, Headers: '{"a":{"sealed":"b"}}' }));
  await refuses(call('SetHttpAuth', { Url, InstanceId: 'none' }), 'InstancePermissionCheckFailed');

  assert.deepEqual(instance.authentication, {});
});

test('JWTs with a secret: it goes in and never comes out', async (t) => {
  const { call, ...scene } = await open(t);
  const way = createJwtWay(scene);
  const Secret = 'a secret of more than thirty-two bytes';
  const encode = (value: unknown): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode({ alg: 'HS256' })}.${encode({ exp: 2_000_000_000, iss: 'us' })}`;
  const token = `${text}.${createHmac('sha256', Secret).update(text).digest('base64url')}`;

  await call('SetJwtAuth', { Secret, 'Issuer.1': 'us', 'Issuer.2': 'them', ClientIdClaim: '' });

  assert.equal(outcomeOf(await way.authenticate(scene.request({ secret: token }))), 'in');
  const everything = JSON.stringify([
    scene.instance.authentication,
    await call('GetAuthentication'),
  ]);
  assert.ok(!everything.includes('thirty-two'));
  assert.partialDeepStrictEqual(await call('GetAuthentication'), {
    Jwt: { SecretSet: true, Algorithms: ['HS256'], Issuer: ['us', 'them'], From: 'password' },
  });
  await call('DeleteJwtAuth');
  assert.equal(outcomeOf(await way.authenticate(scene.request({ secret: token }))), 'next');
});

test('JWTs with public keys; private ones and mixtures are refused', async (t) => {
  const { call } = await open(t);
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = (key: typeof publicKey): string =>
    JSON.stringify({ keys: [key.export({ format: 'jwk' })] });
  const Secret = 'a secret of more than thirty-two bytes';

  await refuses(call('SetJwtAuth'));
  await refuses(call('SetJwtAuth', { Jwks: jwks(privateKey) }));
  await refuses(call('SetJwtAuth', { Jwks: jwks(publicKey), Secret }));
  await refuses(call('SetJwtAuth', { Jwks: jwks(publicKey), 'Algorithms.1': 'HS256' }));
  await refuses(call('SetJwtAuth', { Jwks: jwks(publicKey), From: 'clientid' }));
  await refuses(call('SetJwtAuth', { Secret: 'short' }));
  await refuses(call('SetJwtAuth', { Secret: 'not base64!', SecretIsBase64: 'true' }));
  await call('SetJwtAuth', { Jwks: jwks(publicKey), 'Algorithms.1': 'ES256' });

  assert.partialDeepStrictEqual(await call('GetAuthentication'), {
    Jwt: { Jwks: jwks(publicKey), SecretSet: false, Algorithms: ['ES256'] },
  });
});

test('SCRAM users are made, listed, changed and removed', async (t) => {
  const { call, scramUsers } = await open(t);
  const Rules = JSON.stringify([{ effect: 'allow', action: 'publish', topic: 'a/#' }]);

  await call('SetScramUser', { UserName: 'ann', Password: 'pencil', Rules });
  await call('SetScramUser', { UserName: 'bob', Password: 'chalk', Iterations: '5000' });
  const first = await call('ListScramUsers', { Size: '1' });
  const second = await call('ListScramUsers', { NextToken: String(first['NextToken']) });

  assert.partialDeepStrictEqual(first, { Users: [{ UserName: 'ann', AllowAll: false, Rules }] });
  assert.partialDeepStrictEqual(second, {
    Users: [{ UserName: 'bob', AllowAll: true, Rules: '', Iterations: 5000 }],
    NextToken: '',
  });
  const before = await scramUsers.find('plant', 'ann');
  await call('SetScramUser', { UserName: 'ann', AllowAll: 'true' });
  const after = await scramUsers.find('plant', 'ann');
  assert.equal(after?.rules, undefined);
  assert.deepEqual(after?.keys, before?.keys);
  await call('DeleteScramUser', { UserName: 'ann' });
  assert.equal(await scramUsers.find('plant', 'ann'), undefined);
  await refuses(call('DeleteScramUser', { UserName: 'ann' }));
  await refuses(call('SetScramUser', { UserName: 'cid' }));
  await refuses(call('SetScramUser', { UserName: 'bob', Rules, AllowAll: 'true' }));
  await refuses(call('SetScramUser', { UserName: 'bob', Rules: '[{"topic":"a"}]' }));
});
