/**
 * The vendor's npm clients against a broker: every operation by every client in each of its ways
 * to sign, over HTTP and HTTPS, by changing the endpoint and nothing else.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  assertSecretsKept,
  type ControlBroker,
  startControlBroker,
} from '../harness/control-broker.ts';
import { liveEveryOperation } from '../harness/control-story.ts';
import { connectSigned } from '../harness/device-client.ts';
import { needs } from '../harness/tool.ts';
import {
  OPEN_API_PACKAGES,
  openOpenApi,
  openPopCore,
  SIGNATURE_ALGORITHMS,
  type VendorAccess,
  type VendorClient,
  type VendorFailure,
} from '../harness/vendor-clients.ts';

const TOOLS = needs('openssl');

let broker: ControlBroker;
const cleanUps: (() => void | Promise<void>)[] = [];

before(async () => {
  if (TOOLS.skip !== undefined) return;
  broker = await startControlBroker({ after: (cleanUp) => void cleanUps.unshift(cleanUp) });
});
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

/** Every client in each of its ways. */
const CLIENTS: readonly (readonly [name: string, open: (access: VendorAccess) => VendorClient])[] =
  [
    ...(['GET', 'POST'] as const).map(
      (method) =>
        [`pop-core ${method}`, (access: VendorAccess) => openPopCore(access, method)] as const,
    ),
    ...OPEN_API_PACKAGES.flatMap((name) =>
      SIGNATURE_ALGORITHMS.map(
        (algorithm) =>
          [
            `${name.slice('@alicloud/'.length)} ${algorithm}`,
            (access: VendorAccess) => openOpenApi(name, access, algorithm),
          ] as const,
      ),
    ),
  ];

describe('every operation', () => {
  for (const [name, open] of CLIENTS) {
    for (const scheme of ['http', 'https'] as const) {
      test(`${name}, ${scheme}`, TOOLS, async (t) => {
        await liveEveryOperation(t, broker, open, broker.url(scheme));
      });
    }
  }
});

test('64 KiB of payload, all of it escaped, in the URL or a form', TOOLS, async (t) => {
  const access = await broker.createAccount();
  const InstanceId = await broker.createInstance();
  const device = await connectSigned(t, broker.url('mqtt'), access, InstanceId, 'GID_test@@@large');
  await device.subscribe('news/large');
  const Payload = '&'.repeat(65_536);

  for (const [name, open] of CLIENTS) {
    const sent = { InstanceId, MqttTopic: 'news/large', Payload };
    await open(access).call('SendMessage', sent);
    const packet = await device.take('news/large');
    assert.ok(packet.payload.toString() === Payload, `as it was sent by ${name}`);
  }
});

test('tags of groups as newer command lines send them', TOOLS, async () => {
  const access = await broker.createAccount();
  for (const [name, open] of CLIENTS) {
    const client = open(access);
    const InstanceId = await broker.createInstance();
    const Tag = [{ Key: 'colour', Value: 'red & blue' }];
    await client.call('CreateGroupId', { InstanceId, GroupId: 'GID_tagged', Tag });

    const answer = await client.call('ListGroupId', { InstanceId, Tag });

    const groups = answer['Data'] as readonly { readonly GroupId: string }[];
    assert.deepEqual(
      groups.map((group) => group.GroupId),
      ['GID_tagged'],
      name,
    );
  }
});

test('what the version before has as well is served to its clients', TOOLS, async () => {
  const access = { ...(await broker.createAccount()), version: '2019-12-11' };
  const InstanceId = await broker.createInstance();
  for (const [name, open] of CLIENTS) {
    const client = open(access);
    const groups = (await client.call('ListGroupId', { InstanceId }))['Data'];
    assert.equal((groups as readonly object[]).length, 1, name);
    const later = client.call('ListInstances', {});
    await assert.rejects(later, refusal(name, 404, 'InvalidApi.NotFound'));
  }
});

test('a temporary key, with and without its token', TOOLS, async () => {
  const { Credentials } = (await broker.admin.call('AssumeRole', {})) as {
    readonly Credentials: Readonly<Record<string, string>>;
  };
  const { AccessKeyId: keyId = '', AccessKeySecret: secret = '', SecurityToken = '' } = Credentials;
  const access = { url: broker.url('http'), keyId, secret };

  for (const [name, open] of CLIENTS) {
    const good = open({ ...access, securityToken: SecurityToken });
    assert.equal((await good.call('ListInstances', {}))['Code'], '200', name);
    await assert.rejects(open(access).call('ListInstances', {}), refusal(name, 404, KEY_UNKNOWN));
  }
});

const KEY_UNKNOWN = 'InvalidAccessKeyId.NotFound';

/** True for what that client throws where the broker answers so. */
function refusal(client: string, status: number, code: string): (error: unknown) => true {
  return (error) => {
    const failure = error as VendorFailure;
    assert.equal(failure.code, code, `${client}: ${failure.message}`);
    // pop-core knows nothing of it.
    if (!client.startsWith('pop-core')) assert.equal(failure.statusCode, status);
    else assert.equal(failure.name, `${code}Error`);
    const requestId = failure.requestId ?? failure.data?.['RequestId'];
    assert.match(String(requestId), /^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$/);
    if (client.startsWith('openapi-core')) {
      const kind = code.startsWith('Throttling') ? 'ThrottlingError' : 'ClientError';
      assert.equal(failure.name, kind);
    }
    return true;
  };
}

interface Mistake {
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly action: string;
  /** Beside the InstanceId of an instance that is there. */
  readonly parameters?: object;
  readonly access?: Partial<VendorAccess>;
}

const NO_INSTANCE = { InstanceId: 'mqtt-nowhere', MqttInstanceId: 'mqtt-nowhere' };

const MISTAKES: readonly Mistake[] = [
  {
    title: 'a wrong secret',
    status: 400,
    code: 'SignatureDoesNotMatch',
    action: 'ListGroupId',
    access: { secret: 'wrong' },
  },
  {
    title: 'an unknown key',
    status: 404,
    code: KEY_UNKNOWN,
    action: 'ListGroupId',
    access: { keyId: 'nobody' },
  },
  {
    title: 'a missing parameter of tokens',
    status: 400,
    code: 'ParameterCheckFailed',
    action: 'QueryToken',
  },
  {
    title: 'a missing parameter of custom authentication',
    status: 400,
    code: 'InvalidParameter.Username',
    action: 'AddCustomAuthIdentity',
    parameters: { IdentityType: 'USER', Secret: 's', SignMode: 'ORIGIN' },
  },
  {
    title: 'a parameter that is not valid',
    status: 400,
    code: 'ParameterFieldCheckFailed',
    action: 'CreateGroupId',
    parameters: { GroupId: 'no group' },
  },
  {
    title: 'an instance that is unknown, to a group operation',
    status: 400,
    code: 'InstanceNotFound',
    action: 'ListGroupId',
    parameters: NO_INSTANCE,
  },
  {
    title: 'an instance that is unknown, to a certificate operation',
    status: 400,
    code: 'MqttInstanceNotFound',
    action: 'GetRegisterCode',
    parameters: NO_INSTANCE,
  },
  {
    title: 'an instance that is unknown, to any other',
    status: 400,
    code: 'InstancePermissionCheckFailed',
    action: 'SendMessage',
    parameters: { ...NO_INSTANCE, MqttTopic: 'news/1', Payload: 'x' },
  },
  {
    title: 'a group that is there already',
    status: 400,
    code: 'GroupIdAlreadyExsited',
    action: 'CreateGroupId',
    parameters: { GroupId: 'GID_test' },
  },
  {
    title: 'an action that is unknown',
    status: 404,
    code: 'InvalidApi.NotFound',
    action: 'MakeCoffee',
  },
];

describe('what the clients throw', () => {
  for (const { title, status, code, action, parameters, access } of MISTAKES) {
    test(title, TOOLS, async () => {
      const own = { ...(await broker.createAccount()), ...access };
      const InstanceId = await broker.createInstance();
      for (const [name, open] of CLIENTS) {
        const call = open(own).call(action, { InstanceId, ...parameters });
        await assert.rejects(call, refusal(name, status, code));
      }
    });
  }

  test('too many calls a second', TOOLS, async () => {
    const InstanceId = await broker.createInstance();
    for (const [name, open] of CLIENTS) {
      const client = open(await broker.createAccount());
      const ExpireTime = Date.now() + 120_000;
      const wanted = { InstanceId, Actions: 'R', Resources: 'news/#', ExpireTime };
      const { Token } = await client.call('ApplyToken', wanted);
      const calls = Array.from({ length: 40 }, () =>
        client.call('RevokeToken', { InstanceId, Token }),
      );

      const failures = (await Promise.allSettled(calls)).flatMap((result) =>
        result.status === 'rejected' ? [result.reason as VendorFailure] : [],
      );

      assert.ok(failures.length > 0 && failures.length < calls.length, `${failures.length}`);
      for (const failure of failures) refusal(name, 400, 'Throttling.User')(failure);
      if (name.startsWith('openapi-core')) assert.equal(failures[0]!.retryAfter, 1_000);
    }
  });

  test('a door whose certificate nobody they know has signed', TOOLS, async () => {
    for (const [name, open] of CLIENTS) {
      const client = open({ ...broker.adminAccess, url: broker.url('https') });
      await assert.rejects(client.call('ListInstances', {}), (error: Error) => {
        assert.match(`${error.message} ${String(error.cause)}`, /certificate/i, name);
        return true;
      });
    }
  });
});

test('no secret of all this is in the log', TOOLS, () => {
  assertSecretsKept(broker);
});
