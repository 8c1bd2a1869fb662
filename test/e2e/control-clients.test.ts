/**
 * The vendor's own npm clients against a control door, by changing the endpoint only: each of
 * their ways to sign, to place parameters and to read a refusal.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { createAuthority } from '../harness/certificates.ts';
import { ACTIONS } from '../harness/control-actions.ts';
import { openTestDoor, type TestDoor } from '../harness/control-door.ts';
import { needs } from '../harness/tool.ts';

const load = createRequire(import.meta.url);

/** Everything that clients escape in different ways. */
const AWKWARD = 'a+/=&*!\'()~\n"世 界';

/** As far as these tests use the older client. */
interface PopCore {
  readonly RPCClient: new (
    settings: object,
  ) => {
    request(action: string, parameters: object, options?: object): Promise<Answer>;
  };
}

/** As far as these tests use the newer ones. */
interface OpenApi {
  readonly Config: new (settings: object) => object;
  readonly Params: new (parts: object) => object;
  readonly OpenApiRequest: new (parts: object) => object;
}

interface OpenApiClient {
  callApi(parameters: object, request: object, runtime: object): Promise<{ readonly body: Answer }>;
}

type Answer = Readonly<Record<string, unknown>>;

interface Failure extends Error {
  readonly code: string;
}

function popCore(door: TestDoor, secret = door.key.secret): InstanceType<PopCore['RPCClient']> {
  const { RPCClient } = load('@alicloud/pop-core') as PopCore;
  return new RPCClient({
    accessKeyId: door.key.id,
    accessKeySecret: secret,
    endpoint: door.url,
    apiVersion: '2020-04-20',
  });
}

describe('@alicloud/pop-core', () => {
  for (const method of ['GET', 'POST']) {
    test(`${method} arrives as it was sent`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });
      const given = { InstanceId: 'default', Text: AWKWARD, List: ['x', 'y'] };

      const answer = await popCore(door).request('Echo', { ...given }, { method });

      // Its own reading of JSON makes objects without a prototype.
      assert.deepEqual({ ...(answer['Given'] as object) }, given);
    });
  }

  for (const action of ['Numbered', 'Texted']) {
    test(`${action} is taken for a success`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      assert.equal((await popCore(door).request(action, {}))['Message'], 'Success');
    });
  }

  const failures: readonly (readonly [code: string, action: string, secret?: string])[] = [
    ['ParameterCheckFailed', 'Echo'],
    ['InvalidApi.NotFound', 'Nothing'],
    ['SignatureDoesNotMatch', 'Rare', 'wrong'],
  ];
  for (const [code, action, secret] of failures) {
    test(`${code} is thrown`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      const request = popCore(door, secret).request(action, { InstanceId: 'default' });

      await assert.rejects(request, (error: Failure) => error.code === code);
    });
  }
});

/** The client and its runtime options; the two packages export them in different places. */
function openApi(
  name: string,
  settings: object,
): { client: OpenApiClient; parts: OpenApi; runtime: object } {
  if (name === '@alicloud/openapi-client') {
    const module = load(name) as OpenApi & { default: new (config: object) => OpenApiClient };
    const { RuntimeOptions } = load('@alicloud/tea-util') as Runtime;
    const client = new module.default(new module.Config(settings));
    return { client, parts: module, runtime: new RuntimeOptions({}) };
  }
  const module = load(name) as {
    default: new (config: object) => OpenApiClient;
    $OpenApiUtil: OpenApi;
  };
  const { RuntimeOptions } = load('@darabonba/typescript') as Runtime;
  const parts = module.$OpenApiUtil;
  const client = new module.default(new parts.Config(settings));
  return { client, parts, runtime: new RuntimeOptions({}) };
}

interface Runtime {
  readonly RuntimeOptions: new (settings: object) => object;
}

async function callOpenApi(
  name: string,
  settings: object,
  call: { method: string; place: 'query' | 'body'; action: string; given: object },
): Promise<Answer> {
  const { client, parts, runtime } = openApi(name, settings);
  const parameters = new parts.Params({
    action: call.action,
    version: '2020-04-20',
    protocol: 'HTTPS', // as the typed clients say; a setting wins over it
    pathname: '/',
    method: call.method,
    authType: 'AK',
    style: 'RPC',
    reqBodyType: 'formData',
    bodyType: 'json',
  });
  const request = new parts.OpenApiRequest({ [call.place]: call.given });
  return (await client.callApi(parameters, request, runtime)).body;
}

const PLACES = [
  { method: 'POST', place: 'query' },
  { method: 'POST', place: 'body' },
  { method: 'GET', place: 'query' },
] as const;

for (const name of ['@alicloud/openapi-client', '@alicloud/openapi-core']) {
  describe(name, () => {
    for (const signatureAlgorithm of ['ACS3-HMAC-SHA256', 'ACS3-HMAC-SM3', 'v2']) {
      for (const { method, place } of PLACES) {
        test(`${signatureAlgorithm}, ${method} with a ${place}`, async (t) => {
          const door = await openTestDoor(t, { actions: ACTIONS });
          const settings = { ...settingsOf(door), protocol: 'http', signatureAlgorithm };
          const given = { InstanceId: 'default', Text: AWKWARD, 'List.1': 'x', Count: 3 };

          const answer = await callOpenApi(name, settings, {
            method,
            place,
            action: 'Echo',
            given,
          });

          const { 'List.1': _, ...rest } = given;
          assert.deepEqual(answer['Given'], { ...rest, List: ['x'] });
        });
      }
    }

    test('a temporary key', async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });
      const key = door.services.accounts.createTemporaryKey('main', 900);
      const settings = { ...settingsOf(door), ...key, protocol: 'http' };

      const call = { ...PLACES[0], action: 'Rare', given: {} };
      assert.ok((await callOpenApi(name, settings, call))['RequestId'] !== undefined);
    });

    test('a refusal is thrown with its code', async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });
      const settings = { ...settingsOf(door), protocol: 'http' };

      const call = { ...PLACES[0], action: 'Echo', given: { InstanceId: 'default' } };
      await assert.rejects(
        callOpenApi(name, settings, call),
        (error: Failure) => error.code === 'ParameterCheckFailed',
      );
    });

    test('https by default, with a private authority', needs('openssl'), async (t) => {
      const authority = createAuthority(t);
      const { certificateFile, keyFile } = authority.issue('door');
      const urls = ['https://127.0.0.1:0'];
      const door = await openTestDoor(t, { actions: ACTIONS, urls, certificateFile, keyFile });
      const settings = { ...settingsOf(door), ca: authority.certificate };

      const call = { ...PLACES[0], action: 'Rare', given: {} };
      assert.ok((await callOpenApi(name, settings, call))['RequestId'] !== undefined);
    });
  });
}

function settingsOf({ key, host }: TestDoor): object {
  return { accessKeyId: key.id, accessKeySecret: key.secret, endpoint: host };
}
