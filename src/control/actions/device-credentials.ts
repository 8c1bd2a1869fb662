/**
 * Device credentials: a key pair for one client identifier, until it is replaced or taken away.
 *
 * The secret can be asked for again, so it is stored sealed rather than hashed.
 */
import type { DeviceCredential } from '#identity';
import {
  type Action,
  type Call,
  number,
  type Parameter,
  type ResultField,
  text,
} from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import type { Services } from '../services.ts';

const INSTANCE_ID: Parameter = {
  name: 'InstanceId',
  type: 'string',
  required: true,
  about: 'The instance that the device uses.',
};

const CLIENT_ID: Parameter = {
  name: 'ClientId',
  type: 'string',
  required: true,
  about: 'The device: `GroupID@@@DeviceID`.',
  charsMax: 1024,
};

const CREDENTIAL: readonly ResultField[] = [
  {
    name: 'DeviceCredential',
    about: 'The key pair and whose it is.',
    type: [
      { name: 'ClientId', type: 'string', about: 'The device.' },
      { name: 'CreateTime', type: 'number', about: 'When it was registered, in ms since 1970.' },
      { name: 'DeviceAccessKeyId', type: 'string', about: 'Stands in the user name.' },
      { name: 'DeviceAccessKeySecret', type: 'string', about: 'Signs the client identifier.' },
      { name: 'InstanceId', type: 'string', about: 'The instance.' },
      { name: 'UpdateTime', type: 'number', about: 'When the pair was made, in ms since 1970.' },
    ],
  },
];

const FAULTS: readonly ApiFaultCode[] = [
  'ApplyTokenOverFlow',
  'CheckAccountInfoFailed',
  'InstancePermissionCheckFailed',
  'ParameterCheckFailed',
  'PermissionCheckFailed',
];

interface Description {
  readonly name: string;
  readonly about: string;
  readonly permission: string;
  readonly result: readonly ResultField[];
  run(services: Services, instanceId: string, clientId: string): Promise<Record<string, unknown>>;
}

/** An action on one client's credential. */
function clientAction(description: Description): Action {
  return {
    name: description.name,
    family: 'device-credential',
    about: description.about,
    origin: 'product',
    parameters: [CLIENT_ID, INSTANCE_ID],
    result: description.result,
    answer: 'bare',
    faults: FAULTS,
    permission: description.permission,
    instanceParameter: 'InstanceId',
    callsPerSecondMax: 500,
    async handle(services, call) {
      const clientId = demandClient(call);
      return await description.run(services, text(call, 'InstanceId'), clientId);
    },
  };
}

const register = clientAction({
  name: 'RegisterDeviceCredential',
  about: 'Makes a key pair for a client, instead of the one it may have.',
  permission: 'mq:RegisterDeviceCredential',
  result: CREDENTIAL,
  run: async ({ deviceCredentials }, instanceId, clientId) =>
    describe(await deviceCredentials.register(instanceId, clientId)),
});

const get = clientAction({
  name: 'GetDeviceCredential',
  about: 'Answers the key pair of a client.',
  permission: 'mq:GetDeviceCredential',
  result: CREDENTIAL,
  run: async ({ deviceCredentials }, instanceId, clientId) => {
    const credential = await deviceCredentials.find(instanceId, clientId);
    if (credential === undefined) {
      throw new ApiFault('ParameterCheckFailed', 'The client has no credential.');
    }
    return describe(credential);
  },
});

const refresh = clientAction({
  name: 'RefreshDeviceCredential',
  about: 'Makes a new key pair for a client that has one; the former is worthless.',
  permission: 'mq:RefreshDeviceCredential',
  result: CREDENTIAL,
  run: async ({ deviceCredentials }, instanceId, clientId) =>
    describe(await deviceCredentials.refresh(instanceId, clientId)),
});

const unregister = clientAction({
  name: 'UnRegisterDeviceCredential',
  about: 'Takes the key pair of a client away; while it is connected it stays.',
  permission: 'mq:MqttInstanceAccess',
  result: [],
  run: async ({ deviceCredentials }, instanceId, clientId) => {
    await deviceCredentials.unregister(instanceId, clientId);
    return {};
  },
});

const list: Action = {
  name: 'ListDeviceCredentialClientId',
  family: 'device-credential',
  about: 'Lists the clients of a group that have a key pair.',
  origin: 'product',
  parameters: [
    { name: 'GroupId', type: 'string', required: true, about: 'The group.', charsMax: 1024 },
    INSTANCE_ID,
    {
      name: 'NextToken',
      type: 'string',
      required: false,
      about: 'Where the page before ended; with it PageNo says nothing.',
      charsMax: 16_384,
    },
    {
      name: 'PageNo',
      type: 'integer',
      required: false,
      about: 'The page, counted from 1.',
      min: 1,
      max: 100_000_000,
    },
    {
      name: 'PageSize',
      type: 'integer',
      required: true,
      about: 'Clients on a page, 1 to 100.',
      min: 1,
      max: 100,
    },
  ],
  result: [
    {
      name: 'DeviceCredentialClientIdList',
      about: 'The page.',
      type: [
        { name: 'ClientIdList', type: 'string[]', about: 'The clients.' },
        { name: 'NextToken', type: 'string', about: 'For the next page; empty after the last.' },
        { name: 'PageNo', type: 'string', about: 'As it was asked for.' },
        { name: 'PageSize', type: 'string', about: 'As it was asked for.' },
        { name: 'Total', type: 'string', about: 'How many clients of the group have a key pair.' },
      ],
    },
  ],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:ListDeviceCredentialClientId',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 500,
  async handle(services, call) {
    const groupId = text(call, 'GroupId');
    const pageNumber = number(call, 'PageNo') ?? 1;
    const pageSize = number(call, 'PageSize') ?? 100;
    call.demand(groupId);
    const page = await services.deviceCredentials.list({
      instanceId: text(call, 'InstanceId'),
      groupId,
      pageNumber,
      pageSize,
      nextToken: text(call, 'NextToken'),
    });
    return {
      DeviceCredentialClientIdList: {
        ClientIdList: page.clientIds,
        NextToken: page.nextToken,
        PageNo: String(pageNumber),
        PageSize: String(pageSize),
        Total: String(page.total),
      },
    };
  },
};

export const deviceCredentialActions: readonly Action[] = [
  register,
  get,
  refresh,
  unregister,
  list,
];

/** Demands the right to act on the client's group; answers the client. */
function demandClient(call: Call): string {
  const clientId = text(call, 'ClientId');
  const end = clientId.indexOf('@@@');
  if (end > 0) call.demand(clientId.slice(0, end));
  return clientId;
}

function describe(credential: DeviceCredential): Record<string, unknown> {
  return {
    DeviceCredential: {
      ClientId: credential.clientId,
      CreateTime: credential.createdMs,
      DeviceAccessKeyId: credential.accessKeyId,
      DeviceAccessKeySecret: credential.accessKeySecret,
      InstanceId: credential.instanceId,
      UpdateTime: credential.updatedMs,
    },
  };
}
