/**
 * Every action of the control API, tried by everybody who has no right to it; and requests that
 * were caught, bent or are no requests at all.
 */
import assert from 'node:assert/strict';
import { request as requestHttp } from 'node:http';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { ACTIONS } from '../../src/control/actions.ts';
import { within } from '../harness/deadline.ts';
import {
  ADMIN,
  type Fields,
  type Key,
  openSecurityScene,
  type SecurityScene,
  type Spoil,
} from '../harness/security-scene.ts';

const NO_RIGHT: ReadonlySet<string> = new Set([
  'Forbidden.RAM',
  'InstancePermissionCheckFailed',
  'MqttOwnerCheckError',
]);

let scene: SecurityScene;
const cleanUps: (() => Promise<void>)[] = [];

before(async () => {
  scene = await openSecurityScene({ after: (cleanUp) => void cleanUps.push(cleanUp) });
  await scene.instance('mqtt-mine');
  await scene.instance('mqtt-other');
});

after(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

/** Everything that any action asks for, so that nothing but the right is missing. */
function fieldsOf(instanceId: string): Fields {
  return {
    InstanceId: instanceId,
    MqttInstanceId: instanceId,
    GroupId: 'GID_evil',
    Topic: 'evil',
    MqttTopic: 'news/evil',
    Payload: 'evil',
    ClientId: 'GID_test@@@a',
    'ClientIdList.1': 'GID_test@@@a',
    Actions: 'R,W',
    Resources: 'news/#',
    ExpireTime: String(Date.now() + 120_000),
    Token: 'evil',
    Username: 'evil',
    Identity: 'evil',
    IdentityType: 'USER',
    Secret: 'evil',
    SignMode: 'ORIGIN',
    PermitAction: 'PUB_SUB',
    Effect: 'ALLOW',
    UserName: 'evil',
    Password: 'evil',
    AccountName: 'evil',
    PolicyName: 'AliyunMQFullAccess',
    'ResourceId.1': instanceId,
    ResourceType: 'instance',
    'Tag.1.Key': 'evil',
    DowngradeInstanceId: instanceId,
    RecoveryInstanceId: instanceId,
    Url: 'http://127.0.0.1:1/',
    PageNo: '1',
    PageSize: '10',
  };
}

/** What a stranger must not have changed. */
async function world(): Promise<string> {
  const { RequestId: _, ...instances } = await scene.ok('ListInstances');
  const { RequestId: _1, ...mine } = await scene.ok('GetInstance', { InstanceId: 'mqtt-mine' });
  const { RequestId: _2, ...groups } = await scene.ok('ListGroupId', { InstanceId: 'mqtt-mine' });
  const { RequestId: _3, ...topics } = await scene.ok('ListTopics', { InstanceId: 'mqtt-mine' });
  const { RequestId: _4, ...accounts } = await scene.ok('ListAccounts');
  return JSON.stringify([instances, mine, groups, topics, accounts]);
}

interface Door {
  readonly name: string;
  key(): Promise<Key | undefined>;
  readonly spoil?: Spoil;
  readonly codes: ReadonlySet<string>;
}

function code(...codes: readonly string[]): ReadonlySet<string> {
  return new Set(codes);
}

const DOORS: readonly Door[] = [
  {
    name: 'no signature',
    key: async () => undefined,
    codes: code('IncompleteSignature'),
  },
  {
    name: 'a wrong secret',
    key: async () => ({ ...ADMIN, secret: `${ADMIN.secret}x` }),
    codes: code('SignatureDoesNotMatch'),
  },
  {
    name: 'the secret of another case',
    key: async () => ({ ...ADMIN, secret: ADMIN.secret.toUpperCase() }),
    codes: code('SignatureDoesNotMatch'),
  },
  {
    name: 'a key nobody has',
    key: async () => ({ id: 'testAdminKey2', secret: ADMIN.secret }),
    codes: code('InvalidAccessKeyId.NotFound'),
  },
  {
    name: 'the key in another case',
    key: async () => ({ id: ADMIN.id.toUpperCase(), secret: ADMIN.secret }),
    codes: code('InvalidAccessKeyId.NotFound'),
  },
  {
    name: 'an inactive key',
    key: async () => {
      const key = await scene.account('inactive', { Effect: 'Allow', Action: '*', Resource: '*' });
      await scene.ok('UpdateAccessKey', { AccessKeyId: key.id, Status: 'Inactive' });
      return key;
    },
    codes: code('InvalidAccessKeyId.Inactive'),
  },
  {
    name: 'a key of a deleted account',
    key: async () => {
      const key = await scene.account('deleted', { Effect: 'Allow', Action: '*', Resource: '*' });
      await scene.ok('DeleteAccount', { AccountId: key.of });
      return key;
    },
    codes: code('InvalidAccessKeyId.NotFound'),
  },
  {
    name: 'a sub-account without rights',
    key: () => scene.account('nothing'),
    codes: NO_RIGHT,
  },
  {
    name: 'a sub-account with all rights on another instance',
    key: () =>
      scene.account('other', {
        Effect: 'Allow',
        Action: '*',
        Resource: ['mqtt-other', 'mqtt-other/*'],
      }),
    codes: NO_RIGHT,
  },
  {
    name: 'a sub-account with all rights and a denial',
    key: () =>
      scene.account(
        'denied',
        { Effect: 'Allow', Action: '*', Resource: '*' },
        { Effect: 'Deny', Action: 'mq:*', Resource: '*' },
      ),
    codes: NO_RIGHT,
  },
  {
    name: 'a temporary key that may do nothing',
    key: () => temporary({ Effect: 'Deny', Action: '*', Resource: '*' }),
    codes: NO_RIGHT,
  },
  {
    name: 'a temporary key with a tampered token',
    key: async () => {
      const key = await temporary();
      const place = 40;
      const other = key.token![place] === 'A' ? 'B' : 'A';
      const token = key.token!.slice(0, place) + other + key.token!.slice(place + 1);
      return { ...key, token };
    },
    codes: code('CheckAccountInfoFailed'),
  },
  {
    name: 'a temporary key with the token of another',
    key: async () => ({ ...(await temporary()), token: (await temporary()).token! }),
    codes: code('CheckAccountInfoFailed'),
  },
  {
    name: 'a temporary key without its token',
    key: async () => {
      const { id, secret } = await temporary();
      return { id, secret };
    },
    codes: code('InvalidAccessKeyId.NotFound'),
  },
  {
    name: 'a temporary key of a deleted account',
    key: async () => {
      const key = await scene.account('gone', { Effect: 'Allow', Action: '*', Resource: '*' });
      const made = await temporary(undefined, key.of);
      await scene.ok('DeleteAccount', { AccountId: key.of });
      return made;
    },
    codes: code('CheckAccountInfoFailed'),
  },
];

async function temporary(statement?: object, AccountId?: string): Promise<Key> {
  const { Credentials } = await scene.ok('AssumeRole', {
    ...(AccountId !== undefined && { AccountId }),
    ...(statement !== undefined && {
      Policy: JSON.stringify({ Version: '1', Statement: [statement] }),
    }),
  });
  const made = Credentials as Fields;
  return {
    id: made['AccessKeyId']!,
    secret: made['AccessKeySecret']!,
    token: made['SecurityToken']!,
  };
}

describe('every action', () => {
  for (const door of DOORS) {
    test(`is refused to ${door.name}`, async () => {
      const key = await door.key();
      const untouched = await world();

      for (const { name } of ACTIONS) {
        const answer = await scene.send(key, name, fieldsOf('mqtt-mine'), door.spoil);
        // Listing shows what is one's own, and a temporary key is made for oneself.
        const harmless = name === 'ListInstances' || name === 'AssumeRole';
        if (harmless && answer.status === 200) continue;
        assert.ok(door.codes.has(answer.code), `${name}: ${JSON.stringify(answer.body)}`);
        assert.ok(answer.status >= 400);
      }

      assert.equal(await world(), untouched);
    });
  }

  test('an instance that is not there looks like one that is another’s', async () => {
    const key = await scene.account('curious', {
      Effect: 'Allow',
      Action: '*',
      Resource: ['mqtt-other', 'mqtt-other/*'],
    });
    for (const { name, instanceParameter } of ACTIONS) {
      if (instanceParameter === undefined) continue;
      const there = await scene.send(key, name, fieldsOf('mqtt-mine'));
      const absent = await scene.send(key, name, fieldsOf('mqtt-none'));

      const { RequestId: _, ...one } = there.body;
      const { RequestId: _1, ...other } = absent.body;
      assert.deepEqual(one, other, name);
    }
  });
});

describe('a caught request', () => {
  const fields = { InstanceId: 'mqtt-mine', MqttTopic: 'news/x', Payload: 'once' };

  test('is not taken twice', async () => {
    const spoil = { before: { 'x-acs-signature-nonce': 'replayed' } };
    assert.equal((await scene.send(ADMIN, 'SendMessage', fields, spoil)).status, 200);

    const again = await scene.send(ADMIN, 'SendMessage', fields, spoil);

    assert.equal(again.code, 'SignatureNonceUsed');
  });

  test('many at once are taken once', async () => {
    const spoil = { before: { 'x-acs-signature-nonce': 'raced' } };
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => scene.send(ADMIN, 'SendMessage', fields, spoil)),
    );

    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  });

  for (const [name, value] of Object.entries({
    'x-acs-action': 'DeleteInstance',
    'x-acs-version': '2019-12-11',
    'x-acs-signature-nonce': 'another',
    'x-acs-date': '2026-01-01T00:00:00Z',
    'x-acs-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    'x-acs-security-token': 'unsigned',
  })) {
    test(`with another ${name} is refused`, async () => {
      const answer = await scene.send(ADMIN, 'SendMessage', fields, { after: { [name]: value } });

      assert.ok(answer.status >= 400, JSON.stringify(answer.body));
      assert.notEqual(answer.code, 'InternalError');
    });
  }

  for (const minutes of [-16, 16]) {
    test(`${minutes} minutes from now is refused`, async () => {
      const at = new Date(Date.now() + minutes * 60_000).toISOString();
      const spoil = { before: { 'x-acs-date': `${at.slice(0, 19)}Z` } };

      const answer = await scene.send(ADMIN, 'SendMessage', fields, spoil);

      assert.equal(answer.code, 'InvalidTimeStamp.Expired');
    });
  }
});

describe('odd arguments', () => {
  test('names of what every object has are names like any other', async () => {
    const odd = {
      __proto__x: '1',
      constructor: 'evil',
      toString: 'evil',
      'Tag.1.Key': '__proto__',
      'Tag.1.Value': 'polluted',
      'ResourceId.1': 'mqtt-mine',
      ResourceType: 'instance',
    };
    const fields = Object.assign(odd, JSON.parse('{"__proto__": "evil"}'));
    assert.equal((await scene.send(ADMIN, 'TagResources', fields)).code, 'ParameterCheckFailed');
    const tagged = { ...fields, 'Tag.1.Key': 'constructor', 'Tag.1.Value': 'x' };
    await scene.ok('TagResources', tagged);
    const listed = await scene.ok('ListTagResources', {
      ResourceType: 'instance',
      'ResourceId.1': 'mqtt-mine',
    });
    const rows = listed['TagResources'] as readonly Fields[];
    assert.deepEqual(
      rows.map((row) => [row['TagKey'], row['TagValue']]),
      [['constructor', 'x']],
    );
    await scene.ok('UntagResources', {
      ResourceType: 'instance',
      'ResourceId.1': 'mqtt-mine',
      All: 'true',
    });
  });

  const NUMBERS = ['NaN', '1e309', '-2', '9007199254740993', '0x10', '1.5', ' 1', '１', 'Infinity'];
  for (const value of NUMBERS) {
    test(`${value} is no limit`, async () => {
      const answer = await scene.send(ADMIN, 'UpdateInstance', {
        InstanceId: 'mqtt-mine',
        PayloadBytesMax: value,
      });

      assert.equal(answer.status, 400, JSON.stringify(answer.body));
    });
  }

  for (const limits of [
    '{"PayloadBytesMax":1e309}',
    '{"PayloadBytesMax":-7}',
    '{"PayloadBytesMax":"5"}',
    '{"PayloadBytesMax":1.5}',
    '{"__proto__":{"payloadBytesMax":1}}',
    '{"constructor":1}',
    '[]',
    'null',
    '"x"',
    `${'['.repeat(50_000)}${']'.repeat(50_000)}`,
    `{"PayloadBytesMax":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`,
  ]) {
    test(`limits ${limits.slice(0, 40)} are refused`, async () => {
      const fields = { InstanceId: 'mqtt-mine', Limits: limits };

      const answer = await scene.send(ADMIN, 'UpdateInstance', fields);

      assert.ok(answer.status >= 400 && answer.status < 500, JSON.stringify(answer.body));
    });
  }

  for (const topic of [
    'news/#',
    'news/+',
    '#',
    'news/a\0b',
    `news/${'x'.repeat(70_000)}`,
    '$SYS/x',
    '$share/g/news/a',
    'olds/x',
    '/news/x',
    '',
    '\ud800',
  ]) {
    test(`${JSON.stringify(topic).slice(0, 30)} is no topic to send to`, async () => {
      const fields = { InstanceId: 'mqtt-mine', MqttTopic: topic, Payload: 'x' };

      const answer = await scene.send(ADMIN, 'SendMessage', fields);

      assert.ok(answer.status >= 400 && answer.status < 500, JSON.stringify(answer.body));
    });
  }

  test('deep JSON, odd rules and odd tags never are our failure', async () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const object = `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`;
    for (const { name, parameters } of ACTIONS) {
      for (const parameter of parameters) {
        if (parameter.type !== 'json') continue;
        for (const value of [
          deep,
          object,
          'null',
          '1',
          '{"__proto__":1}',
          '[null]',
          '[[]]',
          '[{}]',
        ]) {
          const id = name === 'CreateInstance' ? {} : { InstanceId: 'mqtt-mine' };
          const fields = { ...fieldsOf('mqtt-mine'), ...id, [parameter.name]: value };
          const answer = await scene.send(ADMIN, name, fields);
          const what = `${name} ${parameter.name}=${value.slice(0, 20)}: ${JSON.stringify(answer.body).slice(0, 200)}`;
          assert.notEqual(answer.code, 'InternalError', what);
        }
      }
    }
  });
});

/** Sends bytes; answers all that comes until the door closes. */
async function talk(bytes: string | Uint8Array, ends = true): Promise<string> {
  const { hostname, port } = new URL(scene.broker.urls.at(-1)!);
  const socket = connect(Number(port), hostname);
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.write(bytes);
  if (ends) socket.end();
  await within(20_000, closed, () => `the door stays open after ${text.slice(0, 100)}`);
  return text;
}

describe('what is no request', () => {
  const HEAD = 'POST / HTTP/1.1\r\nhost: x\r\n';
  const FORM = 'content-type: application/x-www-form-urlencoded\r\n';
  const SENT: Readonly<Record<string, string>> = {
    'not HTTP': 'hello\r\n\r\n',
    'two lengths': `${HEAD}content-length: 1\r\ncontent-length: 2\r\n\r\na`,
    'length and chunks': `${HEAD}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    'chunks of no size': `${HEAD}transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n`,
    'a chunk of 2^64': `${HEAD}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n`,
    'no host': 'GET / HTTP/1.1\r\n\r\n',
    'two hosts': 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n',
    'an absolute URL':
      'GET http://x/?Action=ListAccounts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
    'a bare line feed': 'GET / HTTP/1.1\nhost: x\n\n',
    'a folded header': 'GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n',
    CONNECT: 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n',
    'an upgrade': 'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    'overlong UTF-8':
      'GET /?Action=%c0%ae&Signature=x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
    'NUL in a name':
      'GET /?Signature=x&Act%00ion=a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
    'too many parameters': `GET /?${'a&'.repeat(5_000)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
    'a form that is no text': `${HEAD}${FORM}content-length: 2\r\nconnection: close\r\n\r\n\xff\xfe`,
    'a long Authorization': `GET / HTTP/1.1\r\nhost: x\r\nauthorization: ACS3-${'A '.repeat(200_000)}\r\nconnection: close\r\n\r\n`,
  };
  for (const [name, bytes] of Object.entries(SENT)) {
    test(`${name} is refused, quickly, and is not our failure`, async () => {
      const text = await talk(Buffer.from(bytes, 'latin1'));

      assert.doesNotMatch(text, /^HTTP\/1\.1 [25]/);
      assert.doesNotMatch(text, /InternalError/);
      assert.equal((await scene.send(ADMIN, 'ListAccounts')).status, 200);
    });
  }

  test('headers beyond the bound are refused', async () => {
    const text = await talk(`GET / HTTP/1.1\r\nhost: x\r\na: ${'x'.repeat(1_200_000)}\r\n\r\n`);

    assert.match(text, /^HTTP\/1\.1 431/);
  });

  test('a name given twice with two values is refused, wherever the two are', async () => {
    const body = 'InstanceId=mqtt-other';
    const answer = await new Promise<string>((resolve, reject) => {
      const request = requestHttp(
        `${scene.broker.urls.at(-1)!}/?InstanceId=mqtt-mine&InstanceId=mqtt-other&Signature=x`,
        { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
        (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => (text += chunk.toString()));
          response.on('end', () => resolve(text));
        },
      );
      request.on('error', reject);
      request.end(body);
    });

    assert.match(answer, /"Code":"(Missing|Invalid)/);
  });
});
