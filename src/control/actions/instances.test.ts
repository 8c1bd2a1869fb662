/** Instances, groups, topics, tags, messages, sessions and traces: answers and refusals. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { Fault, silentLog, systemClock, systemRandom } from '#base';
import { openInstances } from '#instances';
import { ApiFault } from '../api-fault.ts';
import { readArguments } from '../arguments.ts';
import { resourceForbidden, translateFault } from '../fault-translation.ts';
import type { BrokerControl, Services } from '../services.ts';
import { groupActions } from './groups.ts';
import { instanceActions } from './instances.ts';
import { messageActions } from './messages.ts';
import { sessionActions } from './sessions.ts';
import { tagActions } from './tags.ts';
import { topicActions } from './topics.ts';
import { traceActions } from './traces.ts';

const ACTIONS = [
  ...groupActions,
  ...instanceActions,
  ...messageActions,
  ...sessionActions,
  ...tagActions,
  ...topicActions,
  ...traceActions,
];

type Answer = Record<string, unknown>;
type Given = Readonly<Record<string, string>>;

interface World {
  readonly sent: string[];
  full: boolean;
  call(name: string, given: Given): Promise<Answer>;
  code(name: string, given: Given): Promise<string>;
}

/** The caller may act on nothing that is called `foreign...`. */
async function openWorld(t: TestContext): Promise<World> {
  const { store } = openMemoryEngine({ clock: systemClock });
  const instances = await openInstances({
    store,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    defaultId: 'plant',
    openDefault: false,
  });
  t.after(() => instances.close());
  const own = (name: string | undefined): boolean => !name?.startsWith('foreign');
  const broker: BrokerControl = {
    sendMessage: async (id, topic, payload) => {
      if (world.full) throw new Fault('storeFull');
      world.sent.push(`${id} ${topic} ${Buffer.from(payload).toString()}`);
      return 'A'.repeat(32);
    },
    isOnline: (_id, clientId) => clientId === 'GID_test@@@on',
    sessionState: async (_id, clientId) =>
      clientId === 'GID_test@@@on'
        ? { online: true, address: '127.0.0.1', subscriptions: [{ filter: 'demo/#', qos: 1 }] }
        : undefined,
    closeConnection: () => false,
    connectionCount: () => 3,
    metrics: () => ({ connections: 3, messagesReceived: 7 }),
  };
  // All that these actions use.
  const services = {
    instances,
    broker,
    deviceEndpoints: ['mqtt://127.0.0.1:1883'],
  } as unknown as Services;
  const perform = async (name: string, given: Given): Promise<Answer> => {
    const action = ACTIONS.find((one) => one.name === name);
    assert.ok(action !== undefined, name);
    try {
      return await action.handle(services, {
        arguments: readArguments(action, new Map(Object.entries(given))),
        principal: { may: (_action: string, id: string | undefined) => own(id) } as never,
        requestId: 'r',
        demand: (resource) => {
          if (!own(resource)) throw resourceForbidden(action, resource);
        },
      });
    } catch (error) {
      throw translateFault(action, error) ?? error;
    }
  };
  const world: World = {
    sent: [],
    full: false,
    call: perform,
    async code(name, given) {
      try {
        await perform(name, given);
      } catch (error) {
        assert.ok(error instanceof ApiFault, String(error));
        return error.wireCode;
      }
      return 'done';
    },
  };
  await perform('CreateInstance', { InstanceId: 'one' });
  await perform('CreateTopic', { InstanceId: 'one', Topic: 'demo' });
  return world;
}

const ONE = { InstanceId: 'one' };

test('a group is made with tags of both forms, listed, and removed', async (t) => {
  const world = await openWorld(t);
  const group = { ...ONE, GroupId: 'GID_test' };
  const tags = { 'Tag.1.Key': 'a', 'Tag.1.Value': '1', Tags: '[{"key":"b","value":"2"}]' };

  assert.deepEqual(await world.call('CreateGroupId', { ...group, ...tags }), {});
  await world.call('CreateGroupId', { ...ONE, GroupId: 'GID_other' });

  const { Data } = await world.call('ListGroupId', { ...ONE, 'Tag.1.Key': 'a' });
  const [row, ...others] = Data as Answer[];
  assert.deepEqual(others, []);
  assert.deepEqual(
    { ...row, CreateTime: 0, UpdateTime: 0 },
    {
      CreateTime: 0,
      GroupId: 'GID_test',
      IndependentNaming: true,
      InstanceId: 'one',
      Tags: [
        { TagKey: 'a', TagValue: '1' },
        { TagKey: 'b', TagValue: '2' },
      ],
      UpdateTime: 0,
    },
  );
  assert.equal(await world.code('CreateGroupId', group), 'GroupIdAlreadyExsited');
  assert.equal(await world.code('DeleteGroupId', group), 'done');
  assert.equal(await world.code('DeleteGroupId', group), 'ParameterFieldCheckFailed');
  const malformed = { ...ONE, GroupId: 'test' };
  assert.equal(await world.code('CreateGroupId', malformed), 'ParameterFieldCheckFailed');
  const nowhere = { ...group, InstanceId: 'none' };
  assert.equal(await world.code('CreateGroupId', nowhere), 'InstanceNotFound');
});

test('an instance is described and changed, limits by name and as JSON', async (t) => {
  const world = await openWorld(t);
  const limits = '{"payloadBytesMax":10,"TopicCharsMax":-1}';

  const changed = await world.call('UpdateInstance', {
    ...ONE,
    Limits: limits,
    SubscriptionsPerClientMax: '5',
    Overstepping: 'close',
    InstanceName: 'Plant',
  });

  const set = changed['Limits'] as Answer;
  assert.deepEqual(
    [set['PayloadBytesMax'], set['TopicCharsMax'], set['SubscriptionsPerClientMax']],
    [10, -1, 5],
  );
  assert.equal(set['KeepAliveSecondsMax'], 480);
  assert.deepEqual([changed['InstanceName'], changed['Overstepping']], ['Plant', 'close']);
  assert.deepEqual(changed['DeviceEndpoints'], ['mqtt://127.0.0.1:1883']);
  assert.equal(changed['ConnectionCount'], 3);
  assert.deepEqual(await world.call('GetInstance', ONE), changed);
  const numbers = await world.call('GetInstanceMetrics', ONE);
  assert.deepEqual(numbers, { Connections: 3, MessagesReceived: 7 });
  const back = await world.call('UpdateInstance', { ...ONE, Limits: '{"PayloadBytesMax":null}' });
  assert.equal((back['Limits'] as Answer)['PayloadBytesMax'], 65_536);
  for (const bad of ['[]', '{"x":1}', '{"PayloadBytesMax":"1"}', '{', '{"PayloadBytesMax":-2}']) {
    const code = await world.code('UpdateInstance', { ...ONE, Limits: bad });
    assert.equal(code, 'ParameterCheckFailed', bad);
  }
});

test('instances are listed with their tags, without those that are not the callers', async (t) => {
  const world = await openWorld(t);
  await world.call('CreateInstance', { InstanceId: 'foreign1', Kind: 'open' });
  const tag = { 'ResourceId.1': 'one', ResourceType: 'instance', 'Tag.1.Key': 'k' };
  assert.equal((await world.call('TagResources', tag))['Data'], true);

  const { Instances } = await world.call('ListInstances', {});
  const rows = Instances as Answer[];
  assert.deepEqual(
    rows.map((row) => row['InstanceId']),
    ['one'],
  );
  assert.deepEqual(rows[0]?.['MqttTags'], [{ TagKey: 'k', TagValue: '' }]);
  assert.deepEqual(await world.call('ListInstances', { Tags: '[{"key":"x"}]' }), { Instances: [] });
  const { TagResources, NextToken } = await world.call('ListTagResources', tag);
  assert.equal(NextToken, '');
  const expected = { ResourceId: 'one', ResourceType: 'instance', TagKey: 'k', TagValue: '' };
  assert.deepEqual(TagResources, [expected]);
  const neither = { ResourceType: 'instance' };
  assert.equal(await world.code('ListTagResources', neither), 'ParameterCheckFailed');
  const foreign = { ...tag, 'ResourceId.2': 'foreign1' };
  assert.equal(await world.code('TagResources', foreign), 'InstancePermissionCheckFailed');
  assert.equal(await world.code('UntagResources', tag), 'ParameterCheckFailed');
  assert.equal(await world.code('UntagResources', { ...tag, All: 'true' }), 'done');
  assert.deepEqual((await world.call('ListTagResources', tag))['TagResources'], []);
});

test('the public address is withdrawn and restored, of ones own instances only', async (t) => {
  const world = await openWorld(t);
  await world.call('CreateInstance', { InstanceId: 'foreign1' });

  await world.call('DisasterDowngrade', { ...ONE, DowngradeInstanceId: 'one' });
  assert.equal((await world.call('GetInstance', ONE))['Withdrawn'], true);
  await world.call('DisasterRecovery', { ...ONE, RecoveryInstanceId: 'one' });
  assert.equal((await world.call('GetInstance', ONE))['Withdrawn'], false);

  const foreign = { ...ONE, DowngradeInstanceId: 'foreign1' };
  assert.equal(await world.code('DisasterDowngrade', foreign), 'InstancePermissionCheckFailed');
  assert.equal(await world.code('DeleteInstance', ONE), 'done');
  assert.equal(await world.code('DeleteInstance', ONE), 'InstancePermissionCheckFailed');
});

test('a message goes to a topic that may be and exists, and not when the store is full', async (t) => {
  const world = await openWorld(t);
  const send = (topic: string, payload = 'grün'): Promise<string> =>
    world.code('SendMessage', { ...ONE, MqttTopic: topic, Payload: payload });

  const answer = await world.call('SendMessage', { ...ONE, MqttTopic: 'demo/a', Payload: 'grün' });
  assert.deepEqual(answer, { MsgId: 'A'.repeat(32) });
  const device = `GID_test@@@${'d'.repeat(50)}`;
  assert.equal(await send(`demo/p2p/${device}`), 'done');
  for (const topic of ['demo/+', 'demo/#', '$SYS/a', 'nowhere/a', `demo/${'a'.repeat(60)}`]) {
    assert.equal(await send(topic), 'ParameterCheckFailed', topic);
  }
  assert.equal(await send('demo/a', 'ü'.repeat(32_769)), 'ParameterCheckFailed');
  assert.equal(await send('foreign/a'), 'PermissionCheckFailed');
  assert.deepEqual(world.sent, ['one demo/a grün', `one demo/p2p/${device} grün`]);
  world.full = true;
  assert.equal(await send('demo/a'), 'SendMessageFailed');
});

test('sessions are told one by one, in lists of 10 at most, and in full', async (t) => {
  const world = await openWorld(t);
  const on = { ...ONE, ClientId: 'GID_test@@@on' };
  const list = { ...ONE, 'ClientIdList.1': 'x', 'ClientIdList.2': 'GID_test@@@on' };

  assert.deepEqual(await world.call('QuerySessionByClientId', on), { OnlineStatus: true });
  assert.deepEqual((await world.call('BatchQuerySessionByClientIds', list))['OnlineStatusList'], [
    { ClientId: 'x', OnlineStatus: false },
    { ClientId: 'GID_test@@@on', OnlineStatus: true },
  ]);
  const names = Array.from({ length: 11 }, (_, i) => [`ClientIdList.${i + 1}`, 'x']);
  const many = { ...ONE, ...(Object.fromEntries(names) as Given) };
  assert.equal(await world.code('BatchQuerySessionByClientIds', many), 'ParameterCheckFailed');
  const session = await world.call('GetSession', on);
  assert.deepEqual(session['Subscriptions'], [{ TopicFilter: 'demo/#', Qos: 1 }]);
  assert.equal((await world.call('GetSession', { ...on, ClientId: 'x' }))['Exists'], false);
  assert.deepEqual(await world.call('CloseConnection', on), {});
});

test('traces are empty pages that say what was asked for, and mistakes are refused', async (t) => {
  const world = await openWorld(t);
  const range = { ...ONE, MqttRegionId: 'r', BeginTime: '1000', EndTime: '2000' };
  const asked = { ...range, ClientId: 'c', MsgId: 'm', CurrentPage: '2', PageSize: '50' };
  const page = { CurrentPage: 2, PageSize: 50, Total: 0 };

  const device = await world.call('QueryMqttTraceDevice', asked);
  assert.deepEqual(device, { ...page, DeviceInfoList: [] });
  const client = await world.call('QueryMqttTraceMessageOfClient', asked);
  assert.deepEqual(client, { ...page, MessageOfClientList: [] });
  const published = await world.call('QueryMqttTraceMessagePublish', asked);
  assert.deepEqual(published, { MessageTraceLists: [] });
  const subscribed = await world.call('QueryMqttTraceMessageSubscribe', asked);
  assert.deepEqual(subscribed, { ...page, MessageTraceLists: [] });

  const wrong = [{ EndTime: '999' }, { PageSize: '101' }, { CurrentPage: '0' }, { EndTime: '1e9' }];
  for (const part of [...wrong, { EndTime: '86401001' }]) {
    const code = await world.code('QueryMqttTraceDevice', { ...asked, ...(part as Given) });
    assert.equal(code, 'ParameterCheckFailed', JSON.stringify(part));
  }
});
