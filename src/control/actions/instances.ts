/** Instances: make them, describe them, change what they allow, take them out of reach. */
import {
  hasTags,
  INSTANCE_LIMITS,
  type Instance,
  type InstanceKind,
  type Overstepping,
} from '#instances';
import { INSTANCE_METRICS } from '#telemetry';
import { type Action, type Call, type Parameter, type ResultField, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import type { Services } from '../services.ts';
import { answerTags, INSTANCE_ID, instanceOf, TAG_PARAMETERS, tags } from './call-arguments.ts';
import { answerLimits, LIMIT_PARAMETERS, limitChanges, limitField } from './instance-limits.ts';

/** The product's number for "running". */
const RUNNING = 5;
/** The product's number for its edition without fixed limits. */
const PLATINUM = 1;
/** The generation of the product whose behaviour is served. */
const KERNEL_VERSION = '3';

const NAME: Parameter = {
  name: 'InstanceName',
  type: 'string',
  required: false,
  about: '3 to 64 letters, digits, `-` and `_`; unique whatever the case.',
};

const SETTINGS: readonly Parameter[] = [
  {
    name: 'Overstepping',
    type: 'string',
    required: false,
    about:
      'What a client meets that does more than it may: `reject`, the default, a reason code; ' +
      '`close` the end of its connection.',
    oneOf: ['reject', 'close'],
  },
  {
    name: 'TrailingSlash',
    type: 'boolean',
    required: false,
    about: 'Topics of messages from RocketMQ lose the slash at their end, those to it gain one.',
  },
  ...LIMIT_PARAMETERS,
];

const TAGS_RESULT: ResultField = {
  name: 'MqttTags',
  many: true,
  about: 'Its tags.',
  type: [
    { name: 'TagKey', type: 'string', about: 'Key.' },
    { name: 'TagValue', type: 'string', about: 'Value.' },
  ],
};

const ID_RESULT: ResultField = { name: 'InstanceId', type: 'string', about: 'The instance.' };
const NAME_RESULT: ResultField = { name: 'InstanceName', type: 'string', about: 'Its name.' };
const CREATED_RESULT: ResultField = { name: 'CreateTime', type: 'number', about: 'ms since 1970.' };

const DESCRIPTION: readonly ResultField[] = [
  ID_RESULT,
  NAME_RESULT,
  { name: 'Kind', type: 'string', about: '`compatible` or `open`.' },
  { name: 'Overstepping', type: 'string', about: '`reject` or `close`.' },
  { name: 'TrailingSlash', type: 'boolean', about: 'See UpdateInstance.' },
  { name: 'Withdrawn', type: 'boolean', about: 'DisasterDowngrade was called.' },
  CREATED_RESULT,
  { name: 'UpdateTime', type: 'number', about: 'ms since 1970.' },
  {
    name: 'Limits',
    about: 'What it allows; -1: no bound.',
    type: INSTANCE_LIMITS.map((row) => ({
      name: limitField(row.name),
      type: 'number',
      about: `${row.unit}.`,
    })),
  },
  {
    name: 'AuthenticationWays',
    type: 'string[]',
    about: 'Ways of authentication that have settings here.',
  },
  { name: 'GroupCount', type: 'number', about: 'Its groups.' },
  { name: 'TopicCount', type: 'number', about: 'Its parent topics.' },
  { name: 'ConnectionCount', type: 'number', about: 'Clients that are connected.' },
  TAGS_RESULT,
  { name: 'DeviceEndpoints', type: 'string[]', about: 'Where devices connect.' },
];

const FAULTS: readonly ApiFaultCode[] = [
  'InstancePermissionCheckFailed',
  'ParameterCheckFailed',
  'PermissionCheckFailed',
  'ServiceUnavailable',
  'InternalError',
];

const COMMON = { family: 'instance', faults: FAULTS, callsPerSecondMax: 20 } as const;

const listInstances: Action = {
  ...COMMON,
  name: 'ListInstances',
  about: 'Lists the instances that the caller may know of, all or those with certain tags.',
  origin: 'product',
  parameters: [TAG_PARAMETERS[0]!],
  result: [
    {
      name: 'Instances',
      many: true,
      about: 'The instances, by their ids.',
      type: [
        CREATED_RESULT,
        { name: 'ExpireTime', type: 'number', about: '0: never.' },
        ID_RESULT,
        NAME_RESULT,
        { name: 'InstanceStatus', type: 'number', about: '5: running.' },
        { name: 'InstanceType', type: 'number', about: '1: limits can be set.' },
        { name: 'KernelVersion', type: 'string', about: '`3`.' },
        TAGS_RESULT,
        { name: 'OrderId', type: 'string', about: 'Empty: nothing was ordered.' },
        { name: 'RegionId', type: 'string', about: 'Empty: there are no regions.' },
        { name: 'Specific', type: 'string', about: 'Empty.' },
      ],
    },
  ],
  answer: 'text',
  permission: 'mq:ListInstances',
  instanceParameter: undefined,
  async handle(services, call) {
    const wanted = tags(call);
    const rows: object[] = [];
    for (const instance of byId(services.instances.all())) {
      if (!call.principal.may(listInstances.permission, instance.id, undefined)) continue;
      const own = services.instances.tags(instance.id);
      if (hasTags(own, wanted)) rows.push(listing(instance, answerTags(own)));
    }
    return { Instances: rows };
  },
};

const createInstance: Action = {
  ...COMMON,
  name: 'CreateInstance',
  about: 'Makes an instance.',
  origin: 'ternmq',
  parameters: [
    {
      name: 'InstanceId',
      type: 'string',
      required: false,
      about:
        '1 to 64 letters, digits, `-` and `_`, no two ids differing in case alone. Left out: ' +
        '`mqtt-` and 12 hex digits.',
    },
    { ...NAME, about: `${NAME.about} Left out: the id.` },
    {
      name: 'Kind',
      type: 'string',
      required: false,
      about:
        "`compatible`, the default: the product's naming rules and limits; `open`: a plain MQTT " +
        'broker.',
      oneOf: ['compatible', 'open'],
    },
    ...SETTINGS,
    ...TAG_PARAMETERS,
  ],
  result: [ID_RESULT, NAME_RESULT, DESCRIPTION[2]!],
  answer: 'bare',
  permission: 'mq:CreateInstance',
  instanceParameter: undefined,
  async handle(services, call) {
    const instance = await services.instances.create({
      ...settings(call),
      id: given(call, 'InstanceId'),
      kind: given(call, 'Kind') as InstanceKind | undefined,
      tags: tags(call),
    });
    return { InstanceId: instance.id, InstanceName: instance.name, Kind: instance.kind };
  },
};

const getInstance: Action = {
  ...COMMON,
  name: 'GetInstance',
  about: 'Describes an instance: its settings, its limits, and where devices connect.',
  origin: 'ternmq',
  parameters: [INSTANCE_ID],
  result: DESCRIPTION,
  answer: 'bare',
  permission: 'mq:GetInstance',
  instanceParameter: 'InstanceId',
  async handle(services, call) {
    return describe(services, instanceOf(services, call));
  },
};

const updateInstance: Action = {
  ...COMMON,
  name: 'UpdateInstance',
  about: 'Changes settings of an instance; what is left out stays. Connected clients feel it.',
  origin: 'ternmq',
  parameters: [INSTANCE_ID, NAME, ...SETTINGS],
  result: DESCRIPTION,
  answer: 'bare',
  permission: 'mq:UpdateInstance',
  instanceParameter: 'InstanceId',
  async handle(services, call) {
    const instance = await services.instances.update(text(call, 'InstanceId'), settings(call));
    return describe(services, instance);
  },
};

const deleteInstance: Action = {
  ...COMMON,
  name: 'DeleteInstance',
  about: 'Removes an instance and everything in it; its clients are disconnected.',
  origin: 'ternmq',
  parameters: [INSTANCE_ID],
  result: [],
  answer: 'bare',
  permission: 'mq:DeleteInstance',
  instanceParameter: 'InstanceId',
  async handle(services, call) {
    await services.instances.remove(text(call, 'InstanceId'));
    return {};
  },
};

const getInstanceMetrics: Action = {
  ...COMMON,
  name: 'GetInstanceMetrics',
  about: "Tells an instance's own numbers since the start of the broker, and what it holds now.",
  origin: 'ternmq',
  parameters: [INSTANCE_ID],
  result: [
    ...Object.entries(INSTANCE_METRICS).map(([name, about]) => metricField(name, `${about}.`)),
    metricField('connections', 'Clients connected now.'),
    metricField('filters', 'Different filters that somebody holds now.'),
    metricField('logMessages', 'Messages in the log now.'),
    metricField('logBytes', 'Their bytes.'),
  ],
  answer: 'bare',
  permission: 'mq:GetInstanceMetrics',
  instanceParameter: 'InstanceId',
  async handle(services, call) {
    const { id } = instanceOf(services, call);
    const numbers = Object.entries(services.broker.metrics(id));
    return Object.fromEntries(numbers.map(([name, value]) => [capitalized(name), value]));
  },
};

function metricField(name: string, about: string): ResultField {
  return { name: capitalized(name), type: 'number', about: capitalized(about) };
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const disasterDowngrade: Action = {
  ...COMMON,
  name: 'DisasterDowngrade',
  about: 'Withdraws the public address of an instance: nobody new connects.',
  origin: 'product',
  parameters: [
    {
      name: 'DowngradeInstanceId',
      type: 'string',
      required: true,
      about: 'The instance whose public address is withdrawn.',
    },
    INSTANCE_ID,
  ],
  result: [],
  answer: 'number',
  permission: 'mq:DisasterDowngrade',
  instanceParameter: 'InstanceId',
  async handle(services, call) {
    await withdraw(services, call, {
      parameter: 'DowngradeInstanceId',
      permission: disasterDowngrade.permission,
      withdrawn: true,
    });
    return {};
  },
};

const disasterRecovery: Action = {
  ...COMMON,
  name: 'DisasterRecovery',
  about: 'Restores the public address of an instance.',
  origin: 'product',
  parameters: [
    INSTANCE_ID,
    {
      name: 'RecoveryInstanceId',
      type: 'string',
      required: true,
      about: 'The instance whose public address is restored.',
    },
  ],
  result: [],
  answer: 'number',
  permission: 'mq:DisasterRecovery',
  instanceParameter: 'InstanceId',
  async handle(services, call) {
    await withdraw(services, call, {
      parameter: 'RecoveryInstanceId',
      permission: disasterRecovery.permission,
      withdrawn: false,
    });
    return {};
  },
};

export const instanceActions: readonly Action[] = [
  listInstances,
  createInstance,
  getInstance,
  getInstanceMetrics,
  updateInstance,
  deleteInstance,
  disasterDowngrade,
  disasterRecovery,
];

function given(call: Call, name: string): string | undefined {
  const value = text(call, name);
  return value === '' ? undefined : value;
}

function settings(call: Call): Parameters<Services['instances']['update']>[1] {
  const trailingSlash = call.arguments['TrailingSlash'];
  return {
    name: given(call, 'InstanceName'),
    overstepping: given(call, 'Overstepping') as Overstepping | undefined,
    trailingSlash: typeof trailingSlash === 'boolean' ? trailingSlash : undefined,
    limits: limitChanges(call),
  };
}

function byId(instances: Iterable<Instance>): readonly Instance[] {
  return [...instances].sort((one, other) => (one.id < other.id ? -1 : 1));
}

function listing(instance: Instance, mqttTags: ReturnType<typeof answerTags>): object {
  return {
    CreateTime: instance.createdMs,
    ExpireTime: 0,
    InstanceId: instance.id,
    InstanceName: instance.name,
    InstanceStatus: RUNNING,
    InstanceType: PLATINUM,
    KernelVersion: KERNEL_VERSION,
    MqttTags: mqttTags,
    OrderId: '',
    RegionId: '',
    Specific: '',
  };
}

function describe(services: Services, instance: Instance): Record<string, unknown> {
  const { instances, broker } = services;
  return {
    InstanceId: instance.id,
    InstanceName: instance.name,
    Kind: instance.kind,
    Overstepping: instance.overstepping,
    TrailingSlash: instance.trailingSlash,
    Withdrawn: instance.withdrawn,
    CreateTime: instance.createdMs,
    UpdateTime: instance.updatedMs,
    Limits: answerLimits(instance.limits),
    // Their settings hold secrets.
    AuthenticationWays: Object.keys(instance.authentication).sort(),
    GroupCount: instances.groups(instance.id).length,
    TopicCount: instances.topics(instance.id).length,
    ConnectionCount: broker.connectionCount(instance.id),
    MqttTags: answerTags(instances.tags(instance.id)),
    DeviceEndpoints: services.deviceEndpoints,
  };
}

interface Withdrawal {
  readonly parameter: string;
  readonly permission: string;
  readonly withdrawn: boolean;
}

async function withdraw(services: Services, call: Call, withdrawal: Withdrawal): Promise<void> {
  const id = text(call, withdrawal.parameter);
  // The dispatcher asked for the right to InstanceId, which may be another.
  const permitted = call.principal.may(withdrawal.permission, id, undefined);
  if (!permitted || services.instances.find(id) === undefined) {
    throw new ApiFault('InstancePermissionCheckFailed');
  }
  await services.instances.update(id, { withdrawn: withdrawal.withdrawn });
}
