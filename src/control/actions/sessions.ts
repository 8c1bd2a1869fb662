/** Sessions: whether a client is online, what it subscribes to, and how to end its connection. */
import { type Action, type Parameter, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import { INSTANCE_ID, instanceOf, list } from './call-arguments.ts';

const CLIENT_ID_CHARS_MAX = 1024;
const BATCH_COUNT_MAX = 10;

const CLIENT_ID: Parameter = {
  name: 'ClientId',
  type: 'string',
  required: true,
  about: 'The client, `GroupID@@@DeviceID` in a compatible instance.',
  charsMax: CLIENT_ID_CHARS_MAX,
};

const FAULTS: readonly ApiFaultCode[] = [
  'CheckAccountInfoFailed',
  'InstancePermissionCheckFailed',
  'ParameterCheckFailed',
  'PermissionCheckFailed',
];

const querySession: Action = {
  name: 'QuerySessionByClientId',
  family: 'session',
  about: 'Tells whether a client is online now.',
  origin: 'product',
  parameters: [CLIENT_ID, INSTANCE_ID],
  result: [{ name: 'OnlineStatus', type: 'boolean', about: 'The client is connected.' }],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:MqttInstanceAccess',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 500,
  async handle(services, call) {
    const { id } = instanceOf(services, call);
    return { OnlineStatus: services.broker.isOnline(id, text(call, 'ClientId')) };
  },
};

const batchQuerySessions: Action = {
  name: 'BatchQuerySessionByClientIds',
  family: 'session',
  about: 'Tells which of up to 10 clients are online now.',
  origin: 'product',
  parameters: [
    {
      name: 'ClientIdList',
      type: 'list',
      required: true,
      about: 'The clients.',
      min: 1,
      max: BATCH_COUNT_MAX,
      charsMax: CLIENT_ID_CHARS_MAX,
    },
    INSTANCE_ID,
  ],
  result: [
    {
      name: 'OnlineStatusList',
      many: true,
      about: 'A row for each client that was asked for, in that order.',
      type: [
        { name: 'ClientId', type: 'string', about: 'The client.' },
        { name: 'OnlineStatus', type: 'boolean', about: 'It is connected.' },
      ],
    },
  ],
  answer: 'bare',
  faults: [...FAULTS, 'InvalidParameter.%s'],
  permission: 'mq:BatchQuerySessionByClientIds',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  async handle(services, call) {
    const { id } = instanceOf(services, call);
    const clientIds = list(call, 'ClientIdList');
    if (clientIds.includes('')) {
      throw new ApiFault('ParameterCheckFailed', 'ClientIdList holds an empty text.');
    }
    return {
      OnlineStatusList: clientIds.map((clientId) => ({
        ClientId: clientId,
        OnlineStatus: services.broker.isOnline(id, clientId),
      })),
    };
  },
};

const closeConnection: Action = {
  name: 'CloseConnection',
  family: 'session',
  about: 'Ends the connection of a client, which may connect again; one without is left alone.',
  origin: 'product',
  parameters: [CLIENT_ID, INSTANCE_ID],
  result: [],
  answer: 'number',
  faults: [
    'InstancePermissionCheckFailed',
    'PermissionCheckFailed',
    'ParameterCheckFailed',
    'ApiNotSupport',
    'InternalError',
  ],
  permission: 'mq:CloseConnection',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  async handle(services, call) {
    const { id } = instanceOf(services, call);
    services.broker.closeConnection(id, text(call, 'ClientId'));
    return {};
  },
};

const getSession: Action = {
  name: 'GetSession',
  family: 'session',
  about: 'Describes the session of a client, be it online or not.',
  origin: 'ternmq',
  parameters: [CLIENT_ID, INSTANCE_ID],
  result: [
    { name: 'InstanceId', type: 'string', about: 'The instance.' },
    { name: 'ClientId', type: 'string', about: 'The client.' },
    { name: 'Exists', type: 'boolean', about: 'It has a session.' },
    { name: 'OnlineStatus', type: 'boolean', about: 'It is connected.' },
    { name: 'Address', type: 'string', about: 'Where it is connected from; empty otherwise.' },
    {
      name: 'Subscriptions',
      many: true,
      about: 'Its subscriptions.',
      type: [
        { name: 'TopicFilter', type: 'string', about: 'The topic filter.' },
        { name: 'Qos', type: 'number', about: '0, 1 or 2.' },
      ],
    },
  ],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:GetSession',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 500,
  async handle(services, call) {
    const { id } = instanceOf(services, call);
    const clientId = text(call, 'ClientId');
    const session = await services.broker.sessionState(id, clientId);
    return {
      InstanceId: id,
      ClientId: clientId,
      Exists: session !== undefined,
      OnlineStatus: session?.online ?? false,
      Address: session?.address ?? '',
      Subscriptions: (session?.subscriptions ?? []).map(({ filter, qos }) => ({
        TopicFilter: filter,
        Qos: qos,
      })),
    };
  },
};

export const sessionActions: readonly Action[] = [
  querySession,
  batchQuerySessions,
  closeConnection,
  getSession,
];
