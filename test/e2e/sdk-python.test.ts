/**
 * The vendor's typed Python SDK against a broker: every operation it has with both of its
 * signatures, over HTTP and HTTPS, and what it throws.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test, type TestContext } from 'node:test';
import { type ControlBroker, startControlBroker } from '../harness/control-broker.ts';
import { liveEveryOperation } from '../harness/control-story.ts';
import { connectSigned } from '../harness/device-client.ts';
import { findSdkPython, needs } from '../harness/tool.ts';
import type { Answer, VendorAccess, VendorClient } from '../harness/vendor-clients.ts';

const TOOLS = needs('python-sdk', 'openssl');
const PYTHON = findSdkPython();
const SCRIPT = join(import.meta.dirname, 'sdk-python.py');
const ALGORITHMS = ['ACS3-HMAC-SHA256', 'ACS3-HMAC-SM3', 'v2'] as const;

let broker: ControlBroker;
const cleanUps: (() => void | Promise<void>)[] = [];

before(async () => {
  if (TOOLS.skip !== undefined) return;
  broker = await startControlBroker({ after: (cleanUp) => void cleanUps.unshift(cleanUp) });
});
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

/** What the SDK threw. */
class PythonFailure extends Error {
  override readonly name = 'PythonFailure';
  readonly kind: string;
  readonly code: string | null;
  readonly statusCode: number | null;
  readonly requestId: string | null;

  constructor(told: PythonFailure) {
    super(`${told.kind}: ${told.message}`);
    this.kind = told.kind;
    this.code = told.code;
    this.statusCode = told.statusCode;
    this.requestId = told.requestId;
  }
}

interface Reply {
  readonly answer?: Answer;
  readonly failure?: PythonFailure;
}

/** A Python that calls for us, until the test is over. */
function openPython(
  t: TestContext,
  access: VendorAccess,
  algorithm: (typeof ALGORITHMS)[number],
): VendorClient {
  const { protocol, host } = new URL(access.url);
  const secure = protocol === 'https:';
  const config = {
    access_key_id: access.keyId,
    access_key_secret: access.secret,
    endpoint: host,
    // Left out where they are the SDK's own defaults.
    ...(!secure && { protocol: 'HTTP' }),
    ...(algorithm !== 'ACS3-HMAC-SHA256' && { signature_algorithm: algorithm }),
    ...(access.securityToken !== undefined && { security_token: access.securityToken }),
    ...(access.authority !== undefined && { ca: broker.authorityFile }),
  };
  const child = spawn(PYTHON!, [SCRIPT, JSON.stringify(config)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => void child.kill('SIGKILL'));
  child.stdin.on('error', () => undefined);
  const replies = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    call: async (action, parameters) => {
      child.stdin.write(`${JSON.stringify([action, parameters])}\n`);
      const { value, done } = await replies.next();
      if (done === true) throw new Error('Python has ended');
      const { answer, failure } = JSON.parse(value) as Reply;
      if (failure !== undefined) throw new PythonFailure(failure);
      return answer!;
    },
  };
}

describe('every operation', () => {
  for (const algorithm of ALGORITHMS) {
    for (const scheme of ['http', 'https'] as const) {
      test(`${algorithm}, ${scheme}`, TOOLS, async (t) => {
        const open = (access: VendorAccess): VendorClient => openPython(t, access, algorithm);
        await liveEveryOperation(t, broker, open, broker.url(scheme));
      });
    }
  }
});

for (const algorithm of ALGORITHMS) {
  test(`${algorithm}: 64 KiB of payload, all of it escaped`, TOOLS, async (t) => {
    const access = await broker.createAccount();
    const InstanceId = await broker.createInstance();
    const clientId = 'GID_test@@@large';
    const device = await connectSigned(t, broker.url('mqtt'), access, InstanceId, clientId);
    await device.subscribe('news/large');
    const Payload = '&'.repeat(65_536);

    const client = openPython(t, access, algorithm);
    await client.call('SendMessage', { InstanceId, MqttTopic: 'news/large', Payload });

    assert.ok((await device.take('news/large')).payload.toString() === Payload);
  });

  test(`${algorithm}: a temporary key`, TOOLS, async (t) => {
    const { Credentials } = (await broker.admin.call('AssumeRole', {})) as {
      readonly Credentials: Readonly<Record<string, string>>;
    };
    const access = {
      url: broker.url('http'),
      keyId: Credentials['AccessKeyId']!,
      secret: Credentials['AccessKeySecret']!,
      securityToken: Credentials['SecurityToken']!,
    };

    const answer = await openPython(t, access, algorithm).call('ListInstances', {});

    assert.equal(answer['Code'], '200');
  });

  const mistakes: readonly (readonly [
    status: number,
    code: string,
    action: string,
    access: Partial<VendorAccess>,
    parameters: Answer,
  ])[] = [
    [400, 'SignatureDoesNotMatch', 'ListGroupId', { secret: 'wrong' }, {}],
    [404, 'InvalidAccessKeyId.NotFound', 'ListGroupId', { keyId: 'nobody' }, {}],
    [400, 'ParameterCheckFailed', 'QueryToken', {}, {}],
    [400, 'InstanceNotFound', 'ListGroupId', {}, { InstanceId: 'mqtt-nowhere' }],
    [400, 'InstancePermissionCheckFailed', 'QueryToken', {}, { InstanceId: 'mqtt-nowhere' }],
  ];
  for (const [status, code, action, changes, parameters] of mistakes) {
    test(`${algorithm}: ${code} is thrown`, TOOLS, async (t) => {
      const access = { ...(await broker.createAccount()), ...changes };
      const InstanceId = await broker.createInstance();

      const call = openPython(t, access, algorithm).call(action, { InstanceId, ...parameters });

      await assert.rejects(call, (failure: PythonFailure) => {
        assert.deepEqual(
          [failure.code, failure.statusCode, failure.kind],
          [code, status, 'ClientException'],
          failure.message,
        );
        assert.match(String(failure.requestId), /^[0-9A-F-]{36}$/);
        return true;
      });
    });
  }
}

test('too many calls a second', TOOLS, async (t) => {
  const access = await broker.createAccount();
  const InstanceId = await broker.createInstance();
  const ExpireTime = Date.now() + 120_000;
  const clients = Array.from({ length: 5 }, () => openPython(t, access, 'ACS3-HMAC-SHA256'));
  const wanted = { InstanceId, Actions: 'R', Resources: 'news/#', ExpireTime };
  const answers = await Promise.all(clients.map((client) => client.call('ApplyToken', wanted)));
  const { Token } = answers[0]!;

  const codes: (string | null)[] = [];
  const revoke = async (client: VendorClient): Promise<void> => {
    for (let i = 0; i < 12; i++) {
      try {
        await client.call('RevokeToken', { InstanceId, Token });
      } catch (error) {
        codes.push((error as PythonFailure).code);
      }
    }
  };
  await Promise.all(clients.map(revoke));

  assert.ok(codes.length > 0);
  assert.deepEqual(new Set(codes), new Set(['Throttling.User']));
});

test('a door whose certificate nobody it knows has signed', TOOLS, async (t) => {
  const access = { ...broker.adminAccess, url: broker.url('https') };

  const call = openPython(t, access, 'ACS3-HMAC-SHA256').call('ListInstances', {});

  await assert.rejects(call, /certificate/i);
});
