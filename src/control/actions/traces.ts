/**
 * Traces of clients and messages. Nothing is traced yet, so every page is truthfully empty; what
 * is asked for is checked all the same, so that callers find their mistakes now.
 */
import { type Action, type Call, number, type Parameter, type ResultField } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import { INSTANCE_ID, instanceOf } from './call-arguments.ts';

const DAY_MS = 86_400_000;
const PAGE_SIZE_MAX = 100;

const BEGIN_TIME: Parameter = {
  name: 'BeginTime',
  type: 'long',
  required: true,
  about: 'From when on, in ms since 1970.',
  min: 0,
};

const END_TIME: Parameter = {
  name: 'EndTime',
  type: 'long',
  required: true,
  about: 'Until when, in ms since 1970.',
  min: 0,
};

const REGION: Parameter = {
  name: 'MqttRegionId',
  type: 'string',
  required: true,
  about: 'The region of the instance; not looked at.',
};

const CLIENT_ID: Parameter = {
  name: 'ClientId',
  type: 'string',
  required: true,
  about: 'The client.',
  charsMax: 1024,
};

const MESSAGE_ID: Parameter = {
  name: 'MsgId',
  type: 'string',
  required: true,
  about: 'The message.',
  charsMax: 128,
};

const PAGE_PARAMETERS: readonly Parameter[] = [
  { name: 'CurrentPage', type: 'integer', required: true, about: 'The page, from 1.', min: 1 },
  {
    name: 'PageSize',
    type: 'integer',
    required: true,
    about: 'Rows a page, 1 to 100.',
    min: 1,
    max: PAGE_SIZE_MAX,
  },
  { name: 'Reverse', type: 'boolean', required: false, about: 'Newest first.' },
];

const PAGE_RESULT: readonly ResultField[] = [
  { name: 'CurrentPage', type: 'number', about: 'The page that was asked for.' },
  { name: 'PageSize', type: 'number', about: 'Rows a page.' },
  { name: 'Total', type: 'number', about: 'Rows of all pages.' },
];

const ACTION_FIELDS: readonly ResultField[] = [
  { name: 'Action', type: 'string', about: 'What happened.' },
  { name: 'ActionCode', type: 'string', about: '`mqtt.trace.action.` and what happened.' },
  { name: 'ActionInfo', type: 'string', about: 'More about it.' },
];

const TIME: ResultField = { name: 'Time', type: 'string', about: '`YYYY-MM-DD hh:mm:ss.SSS`.' };

const MESSAGE_ROW: readonly ResultField[] = [
  ...ACTION_FIELDS,
  { name: 'ClientId', type: 'string', about: 'The client.' },
  { name: 'MsgId', type: 'string', about: 'The message.' },
  TIME,
];

const FAULTS: readonly ApiFaultCode[] = [
  'InstancePermissionCheckFailed',
  'ParameterCheckFailed',
  'PermissionCheckFailed',
  'ApiNotSupport',
  'SystemOverFlow',
];

const COMMON = {
  family: 'trace',
  origin: 'product',
  answer: 'bare',
  faults: FAULTS,
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 500,
} as const;

const traceDevice: Action = {
  ...COMMON,
  name: 'QueryMqttTraceDevice',
  about: 'When a client connected and disconnected, within one day.',
  parameters: [BEGIN_TIME, CLIENT_ID, END_TIME, INSTANCE_ID, REGION, ...PAGE_PARAMETERS],
  result: [
    ...PAGE_RESULT,
    {
      name: 'DeviceInfoList',
      many: true,
      about: 'What happened.',
      type: [
        ...ACTION_FIELDS,
        { name: 'ChannelId', type: 'string', about: 'The connection.' },
        TIME,
      ],
    },
  ],
  permission: 'mq:QueryMqttDeviceTrace',
  async handle(services, call) {
    instanceOf(services, call);
    checkRange(call, DAY_MS);
    return { ...emptyPage(call), DeviceInfoList: [] };
  },
};

const traceMessagesOfClient: Action = {
  ...COMMON,
  name: 'QueryMqttTraceMessageOfClient',
  about: 'Which messages a client sent and was sent.',
  parameters: [BEGIN_TIME, CLIENT_ID, END_TIME, INSTANCE_ID, REGION, ...PAGE_PARAMETERS],
  result: [
    ...PAGE_RESULT,
    { name: 'MessageOfClientList', many: true, about: 'The messages.', type: MESSAGE_ROW },
  ],
  permission: 'mq:QueryMqttDeviceTrace',
  async handle(services, call) {
    instanceOf(services, call);
    checkRange(call, Number.POSITIVE_INFINITY);
    return { ...emptyPage(call), MessageOfClientList: [] };
  },
};

const traceMessagePublish: Action = {
  ...COMMON,
  name: 'QueryMqttTraceMessagePublish',
  about: 'Who published a message, and when.',
  parameters: [BEGIN_TIME, END_TIME, INSTANCE_ID, REGION, MESSAGE_ID],
  result: [{ name: 'MessageTraceLists', many: true, about: 'What happened.', type: MESSAGE_ROW }],
  permission: 'mq:QueryMqttTraceMessagePublish',
  async handle(services, call) {
    instanceOf(services, call);
    checkRange(call, Number.POSITIVE_INFINITY);
    return { MessageTraceLists: [] };
  },
};

const traceMessageSubscribe: Action = {
  ...COMMON,
  name: 'QueryMqttTraceMessageSubscribe',
  about: 'Who was sent a message, and when.',
  parameters: [
    BEGIN_TIME,
    { ...CLIENT_ID, required: false, about: 'The client; left out: all of them.' },
    END_TIME,
    INSTANCE_ID,
    REGION,
    MESSAGE_ID,
    ...PAGE_PARAMETERS,
  ],
  result: [
    ...PAGE_RESULT,
    { name: 'MessageTraceLists', many: true, about: 'What happened.', type: MESSAGE_ROW },
  ],
  permission: 'mq:QueryMqttSubTrace',
  async handle(services, call) {
    instanceOf(services, call);
    checkRange(call, Number.POSITIVE_INFINITY);
    return { ...emptyPage(call), MessageTraceLists: [] };
  },
};

export const traceActions: readonly Action[] = [
  traceDevice,
  traceMessagesOfClient,
  traceMessagePublish,
  traceMessageSubscribe,
];

function checkRange(call: Call, spanMsMax: number): void {
  const spanMs = (number(call, 'EndTime') ?? 0) - (number(call, 'BeginTime') ?? 0);
  if (spanMs < 0) throw new ApiFault('ParameterCheckFailed', 'EndTime is before BeginTime.');
  if (spanMs > spanMsMax) {
    throw new ApiFault('ParameterCheckFailed', 'BeginTime and EndTime are more than a day apart.');
  }
}

function emptyPage(call: Call): Record<string, number> {
  return {
    CurrentPage: number(call, 'CurrentPage') ?? 1,
    PageSize: number(call, 'PageSize') ?? PAGE_SIZE_MAX,
    Total: 0,
  };
}
