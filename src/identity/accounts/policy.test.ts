/** Policies: what is understood, what is refused, and who may do what. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Fault } from '#base';
import { ANYTHING, BUILT_IN_POLICIES, createPolicy, type Policy, parsePolicy } from './policy.ts';

type Texts = string | readonly string[];

function allow(action: Texts, resource: Texts): string {
  return one('Allow', action, resource);
}

function deny(action: Texts, resource: Texts): string {
  return one('Deny', action, resource);
}

function one(effect: string, action: Texts, resource: Texts): string {
  return JSON.stringify({
    Version: '1',
    Statement: [{ Effect: effect, Action: action, Resource: resource }],
  });
}

function policyOf(...documents: readonly string[]): Policy {
  return createPolicy(documents.map(parsePolicy));
}

describe('resources and actions', () => {
  // biome-ignore format: a table reads in columns
  const cases: readonly (readonly [action: string, resource: string, asked: readonly [string, string | undefined, string | undefined], may: boolean])[] = [
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:PUB', 'mqtt-1', 'alarms'],    true],
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:SUB', 'mqtt-1', 'alarms'],    false],
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:PUB', 'mqtt-2', 'alarms'],    false],
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:PUB', 'mqtt-1', 'alarms/a'],  false],
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:PUB', 'mqtt-1', 'Alarms'],    false],
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:PUB', 'MQTT-1', 'alarms'],    false],
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:PUB', 'mqtt-1', undefined],   false],
    ['mq:PUB',   'mqtt-1/alarms',               ['mq:PUB', undefined, undefined],  false],
    ['mq:PUB',   'mqtt-1/alarms/*',             ['mq:PUB', 'mqtt-1', 'alarms/a/b'], true],
    ['mq:PUB',   'mqtt-1/alarms/*',             ['mq:PUB', 'mqtt-1', 'alarms'],    false],
    ['mq:PUB',   'mqtt-1/a*c',                  ['mq:PUB', 'mqtt-1', 'a/b/c'],     true],
    ['mq:PUB',   'mqtt-*/alarms',               ['mq:PUB', 'mqtt-77', 'alarms'],   true],
    ['mq:PUB',   '*/alarms',                    ['mq:PUB', 'mqtt-1', 'alarms'],    true],
    ['mq:PUB',   '*/alarms',                    ['mq:PUB', 'mqtt-1', 'x/alarms'],  false],
    ['mq:PUB',   'mqtt-1',                      ['mq:PUB', 'mqtt-1', 'alarms'],    false],
    ['mq:PUB',   'mqtt-1*',                     ['mq:PUB', 'mqtt-1', 'alarms'],    true],
    ['mq:PUB',   '*',                           ['mq:PUB', 'mqtt-1', 'alarms'],    true],
    ['mq:*',     'mqtt-1',                      ['mq:ListGroupId', 'mqtt-1', undefined], true],
    ['mq:List*', 'mqtt-1',                      ['mq:ListGroupId', 'mqtt-1', undefined], true],
    ['mq:List*', 'mqtt-1',                      ['mq:CreateGroupId', 'mqtt-1', undefined], false],
    ['mq:list*', 'mqtt-1',                      ['mq:ListGroupId', 'mqtt-1', undefined], true],
    ['*',        'mqtt-1',                      ['mq:ListGroupId', 'mqtt-1', undefined], true],
    ['mq:*',     'mqtt-1/*',                    ['mq:ListGroupId', 'mqtt-1', undefined], false],
    ['mq:*',     '*',                           ['mq:ListInstances', undefined, undefined], true],
    ['mq:*',     'mqtt-*',                      ['mq:ListInstances', undefined, undefined], false],
    ['mq:PUB',   'acs:mq:*:*:mqtt-1/alarms',    ['mq:PUB', 'mqtt-1', 'alarms'],    true],
    ['mq:PUB',   'acs:mq:cn-hangzhou:1234:mqtt-1/alarms', ['mq:PUB', 'mqtt-1', 'alarms'], true],
    ['mq:PUB',   'acs:mq:*:*:mqtt-1/alarms',    ['mq:PUB', 'mqtt-1', 'other'],     false],
    ['mq:PUB',   'acs:mq:*:*:mqtt-1/a:b',       ['mq:PUB', 'mqtt-1', 'a:b'],       true],
    ['mq:PUB',   'acs:mq:*:*:*',                ['mq:PUB', 'mqtt-1', 'alarms'],    true],
    ['oss:Get',  '*',                           ['mq:PUB', 'mqtt-1', 'alarms'],    false],
  ];

  for (const [action, resource, asked, may] of cases) {
    test(`${action} on ${resource}: ${asked.join(' ')} is ${may ? 'allowed' : 'not'}`, () => {
      assert.equal(policyOf(allow(action, resource)).may(...asked), may);
    });
    test(`${action} on ${resource}, denied: ${asked.join(' ')} ${may ? 'is not' : 'stays'}`, () => {
      const policy = createPolicy([ANYTHING, parsePolicy(deny(action, resource))]);
      assert.equal(policy.may(...asked), !may);
    });
  }

  test('nothing is allowed that no statement allows', () => {
    assert.equal(createPolicy([]).may('mq:PUB', 'mqtt-1', 'alarms'), false);
    assert.equal(policyOf(deny('mq:SUB', '*')).may('mq:PUB', 'mqtt-1', 'alarms'), false);
  });

  test('several policies add up, and whatever one denies is denied', () => {
    const policy = policyOf(
      deny('mq:PUB', 'mqtt-1/alarms/secret'),
      allow('mq:PUB', 'mqtt-1/alarms/*'),
      allow('mq:PUB', ['mqtt-1/news', 'mqtt-1/alarms/secret']),
    );

    assert.equal(policy.may('mq:PUB', 'mqtt-1', 'alarms/fire'), true);
    assert.equal(policy.may('mq:PUB', 'mqtt-1', 'news'), true);
    assert.equal(policy.may('mq:PUB', 'mqtt-1', 'alarms/secret'), false);
  });

  test('what was answered for one instance is not remembered for another', () => {
    const policy = policyOf(allow('mq:PUB', 'mqtt-1/x'));

    assert.equal(policy.may('mq:PUB', 'mqtt-1', 'x'), true);
    assert.equal(policy.may('mq:PUB', 'mqtt-2', 'x'), false);
    assert.equal(policy.may('mq:PUB', 'mqtt-1', 'x'), true);
  });

  test('questions without end do not fill the memory of answers', () => {
    const policy = policyOf(allow('mq:PUB', 'mqtt-1/x'));

    for (let i = 0; i < 2_000; i++) {
      assert.equal(policy.may('mq:PUB', `mqtt-${i}`, 'x'), i === 1);
    }
  });
});

describe('filters', () => {
  // biome-ignore format: a table reads in columns
  const cases: readonly (readonly [allowed: Texts, denied: Texts, filter: string, may: boolean])[] = [
    ['mqtt-1/a/*',              [],                'a/b',     true],
    ['mqtt-1/a/*',              [],                'a/+',     true],
    ['mqtt-1/a/*',              [],                'a/+/c/#', true],
    ['mqtt-1/a/*',              [],                'a/#',     false],
    [['mqtt-1/a/*', 'mqtt-1/a'], [],               'a/#',     true],
    ['mqtt-1/a*',               [],                'a/#',     true],
    ['mqtt-1/a/*',              [],                '#',       false],
    ['mqtt-1/a/*',              [],                '+/b',     false],
    ['mqtt-1/a/b',              [],                'a/+',     false],
    ['mqtt-2/*',                [],                'a/b',     false],
    ['mqtt-1/*',                [],                '#',       true],
    ['*',                       [],                '#',       true],
    ['*',                       'mqtt-1/a/secret', '#',       false],
    ['*',                       'mqtt-1/a/secret', 'a/+',     false],
    ['*',                       'mqtt-1/a/secret', 'b/+',     true],
    ['*',                       'mqtt-1/a/secret', 'a/b',     true],
    ['*',                       'mqtt-1/a/secret', 'a/secret', false],
    ['*',                       'mqtt-1/*secret*', 'a/+',     false],
    ['*',                       'mqtt-1/a/*',      'b/#',     true],
    ['*',                       'mqtt-2/*',        '#',       true],
    ['*',                       'mqtt-1',          '#',       true],
  ];

  for (const [allowed, denied, filter, may] of cases) {
    test(`${filter} with ${allowed}${denied.length > 0 ? ` less ${denied}` : ''}: ${may}`, () => {
      const documents = [allow('mq:SUB', allowed)];
      if (denied.length > 0) documents.push(deny('mq:SUB', denied));

      assert.equal(policyOf(...documents).mayAll('mq:SUB', 'mqtt-1', filter), may);
    });
  }

  test('a filter so long that it would cost too much is not allowed', () => {
    const policy = policyOf(allow('mq:SUB', 'mqtt-1/a*'));

    assert.equal(policy.mayAll('mq:SUB', 'mqtt-1', `${'a/'.repeat(30_000)}+`), false);
    assert.equal(policy.mayAll('mq:SUB', 'mqtt-1', `${'a/'.repeat(300)}+`), true);
  });
});

describe('reach', () => {
  test('an instance is reached by who may do something in it', () => {
    const policy = policyOf(allow('mq:PUB', ['mqtt-1/a', 'mqtt-2']));

    assert.equal(policy.reaches('mq:PUB', 'mqtt-1'), true);
    assert.equal(policy.reaches('mq:SUB', 'mqtt-1'), false);
    assert.equal(policy.reaches('mq:PUB', 'mqtt-2'), false);
    assert.equal(policy.reaches('mq:PUB', 'mqtt-3'), false);
  });

  test('not where everything in it is denied', () => {
    const policy = policyOf(allow('mq:PUB', '*'), deny('mq:*', 'mqtt-1/*'));

    assert.equal(policy.reaches('mq:PUB', 'mqtt-1'), false);
    assert.equal(policy.reaches('mq:PUB', 'mqtt-2'), true);
  });
});

describe('built-in policies', () => {
  // biome-ignore format: a table reads in columns
  const cases: readonly (readonly [name: string, yes: readonly string[], no: readonly string[]])[] = [
    ['AliyunMQFullAccess',     ['mq:PUB', 'mq:SUB', 'mq:ApplyToken', 'mq:CreateInstance', 'mq:AssumeRole'],
                               ['mq:CreateAccount', 'mq:ListAccounts', 'mq:CreateAccessKey', 'mq:DeleteAccessKey', 'mq:AttachPolicy', 'mq:DetachPolicy']],
    ['AliyunMQPubOnlyAccess',  ['mq:PUB', 'mq:SendMessage'], ['mq:SUB', 'mq:ApplyToken', 'mq:ListGroupId']],
    ['AliyunMQSubOnlyAccess',  ['mq:SUB'], ['mq:PUB', 'mq:SendMessage', 'mq:ListGroupId']],
    ['AliyunMQReadOnlyAccess', ['mq:ListGroupId', 'mq:QueryToken', 'mq:GetCaCertificate', 'mq:BatchQuerySessionByClientIds'],
                               ['mq:PUB', 'mq:SUB', 'mq:ApplyToken', 'mq:GetDeviceCredential', 'mq:QueryCustomAuthIdentity', 'mq:ListAccessKeys']],
  ];

  for (const [name, yes, no] of cases) {
    test(name, () => {
      const policy = createPolicy([BUILT_IN_POLICIES.get(name)!]);

      for (const action of yes) assert.equal(policy.may(action, 'mqtt-1', 'x'), true, action);
      for (const action of no) assert.equal(policy.may(action, 'mqtt-1', 'x'), false, action);
      for (const action of no)
        assert.equal(policy.may(action, undefined, undefined), false, action);
    });
  }
});

describe('a document is refused', () => {
  const good = { Effect: 'Allow', Action: 'mq:PUB', Resource: '*' };
  const statement = (change: object): string =>
    JSON.stringify({ Version: '1', Statement: [good, { ...good, ...change }] });
  const cases: Readonly<Record<string, readonly [string, RegExp]>> = {
    'that is no JSON': ['{', /JSON/],
    'that is a list': ['[]', /object/],
    'that is nothing': ['null', /object/],
    'without a version': [JSON.stringify({ Statement: [good] }), /Version/],
    'of another version': [JSON.stringify({ Version: '2', Statement: [good] }), /Version/],
    'with unknown fields': [
      JSON.stringify({ Version: '1', Id: 'x', Statement: [good] }),
      /'Id' is not supported/,
    ],
    'without statements': [JSON.stringify({ Version: '1', Statement: [] }), /Statement/],
    'with a statement missing': [JSON.stringify({ Version: '1' }), /Statement 1/],
    'with a condition': [statement({ Condition: {} }), /Statement 2: ?'?.*Condition|'Condition'/],
    'with an effect in another case': [statement({ Effect: 'allow' }), /Statement 2: Effect/],
    'without an effect': [statement({ Effect: undefined }), /Statement 2: Effect/],
    'without an action': [statement({ Action: undefined }), /Statement 2: Action/],
    'with no actions': [statement({ Action: [] }), /Statement 2: Action/],
    'with an action that is a number': [statement({ Action: [7] }), /Statement 2: Action/],
    'with an action of no service': [statement({ Action: 'PUB' }), /'PUB' is no action/],
    'with no resources': [statement({ Resource: [] }), /Statement 2: Resource/],
    'with an MQTT wildcard': [statement({ Resource: 'mqtt-1/a/#' }), /no resource/],
    'with a resource of another service': [statement({ Resource: 'acs:oss:*:*:x' }), /no resource/],
    'with too few parts': [statement({ Resource: 'acs:mq:mqtt-1/a' }), /no resource/],
    'with an empty resource': [statement({ Resource: '' }), /no resource/],
    'with an empty topic': [statement({ Resource: 'mqtt-1/' }), /no resource/],
    'with a resource too long': [statement({ Resource: `a/${'x'.repeat(2_000)}` }), /no resource/],
    'that is too long': [statement({ Action: Array(1_000).fill('mq:PUB') }), /6144 characters/],
  };

  for (const [name, [text, reason]] of Object.entries(cases)) {
    test(name, () => {
      assert.throws(
        () => parsePolicy(text),
        (error: unknown) => Fault.is(error, 'invalidParameter') && reason.test(error.message),
      );
    });
  }

  test('but not one statement in place of a list', () => {
    const policy = policyOf(JSON.stringify({ Version: '1', Statement: good }));

    assert.equal(policy.may('mq:PUB', 'mqtt-1', 'x'), true);
  });
});
