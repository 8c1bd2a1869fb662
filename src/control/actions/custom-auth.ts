/**
 * Custom authentication: identities, permissions and the connection blacklist of an instance.
 *
 * Adding what is there already is refused and changes nothing, as is changing or deleting what is
 * not there; the fault names the parameter that says which row is meant.
 */
import { Fault } from '#base';
import {
  type CustomIdentity,
  type CustomPermission,
  type FieldFlaw,
  type IdentityKey,
  identityFlaw,
  type PermissionKey,
  permissionFlaw,
} from '#identity';
import { type Instance, parentOf } from '#instances';
import { type Action, type Call, number, type Parameter, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import type { Services } from '../services.ts';
import { INSTANCE_ID, instanceOf } from './call-arguments.ts';
import { BLACK_ROWS, IDENTITY_ROWS, PERMISSION_ROWS, parameter } from './custom-auth-fields.ts';

const FAULTS: readonly ApiFaultCode[] = [
  'InstancePermissionCheckFailed',
  'PermissionCheckFailed',
  'InvalidParameter.%s',
  'ApiNotSupport',
];

interface Description {
  readonly name: string;
  readonly about: string;
  readonly parameters: readonly Parameter[];
  readonly result?: Action['result'];
  readonly faults?: readonly ApiFaultCode[];
  run(services: Services, instance: Instance, call: Call): Promise<object | void>;
}

function action(description: Description): Action {
  const { name, about, parameters, result = [], faults = [] } = description;
  return {
    name,
    family: 'custom-auth',
    about,
    origin: 'product',
    parameters: [...parameters, INSTANCE_ID],
    result,
    answer: 'number',
    faults: [...FAULTS, ...faults],
    permission: `mq:${name}`,
    instanceParameter: 'InstanceId',
    callsPerSecondMax: 500,
    async handle(services, call) {
      const instance = instanceOf(services, call);
      const data = await description.run(services, instance, call);
      return data === undefined ? {} : { Data: data };
    },
  };
}

const OVER_CAPACITY: readonly ApiFaultCode[] = ['Customauth.over.capacity'];
const IDENTITY_KEY = [
  parameter('Username'),
  parameter('IdentityType'),
  parameter('ClientId', false),
];
const IDENTITY = [...IDENTITY_KEY, parameter('Secret'), parameter('SignMode')];
const PERMISSION_KEY = [parameter('Identity'), parameter('IdentityType'), parameter('Topic')];
const PERMISSION = [...PERMISSION_KEY, parameter('PermitAction'), parameter('Effect')];
const PAGE = [parameter('NextToken', false), parameter('Size')];

const identityActions: readonly Action[] = [
  action({
    name: 'AddCustomAuthIdentity',
    about: 'Adds a user name with its secret, for everybody who has it or for one client.',
    parameters: IDENTITY,
    faults: OVER_CAPACITY,
    async run({ customAuth }, instance, call) {
      const identity = readIdentity(call);
      await named('Username', customAuth.addIdentity(instance, identity));
    },
  }),
  action({
    name: 'UpdateCustomAuthIdentity',
    about: 'Sets secret and sign mode; clients connected with the former ones are disconnected.',
    parameters: IDENTITY,
    async run({ customAuth }, instance, call) {
      const identity = readIdentity(call);
      await named('Username', customAuth.updateIdentity(instance, identity));
    },
  }),
  action({
    name: 'DeleteCustomAuthIdentity',
    about: 'Removes an identity; clients connected with it are disconnected.',
    parameters: IDENTITY_KEY,
    async run({ customAuth }, instance, call) {
      const key = readIdentityKey(call);
      refuse(identityFlaw(key));
      await named('Username', customAuth.deleteIdentity(instance, key));
    },
  }),
  action({
    name: 'QueryCustomAuthIdentity',
    about: 'Lists identities, their secrets in clear.',
    parameters: [
      parameter('Username', false),
      parameter('IdentityType', false),
      parameter('ClientId', false),
      ...PAGE,
    ],
    result: IDENTITY_ROWS,
    async run({ customAuth }, instance, call) {
      const type = text(call, 'IdentityType') as IdentityKey['type'] | '';
      const query = {
        ...readPage(call),
        ...(type !== '' && { type }),
        ...given('userName', text(call, 'Username')),
        ...given('clientId', text(call, 'ClientId')),
      };
      const page = await named('NextToken', customAuth.queryIdentities(instance, query));
      const results = page.results.map((identity) => ({
        ClientId: identity.clientId,
        IdentityType: identity.type,
        Secret: identity.secret,
        SignMode: identity.signMode,
        Username: identity.userName,
      }));
      return { NextToken: page.nextToken, Results: results };
    },
  }),
];

const permissionActions: readonly Action[] = [
  action({
    name: 'AddCustomAuthPermission',
    about: 'Allows or denies a user, or a client, to publish or subscribe a topic.',
    parameters: PERMISSION,
    faults: OVER_CAPACITY,
    async run({ customAuth }, instance, call) {
      const permission = readPermission(instance, call);
      demandTopic(call, 'mq:AddCustomAuthPermission', permission.topic);
      await named('Topic', customAuth.addPermission(instance, permission));
    },
  }),
  action({
    name: 'UpdateCustomAuthPermission',
    about: 'Sets what a permission allows or denies, at once for live connections as well.',
    parameters: PERMISSION,
    async run({ customAuth }, instance, call) {
      const permission = readPermission(instance, call);
      demandTopic(call, 'mq:UpdateCustomAuthPermission', permission.topic);
      await named('Topic', customAuth.updatePermission(instance, permission));
    },
  }),
  action({
    name: 'DeleteCustomAuthPermission',
    about: 'Removes a permission, at once for live connections as well.',
    parameters: PERMISSION_KEY,
    async run({ customAuth }, instance, call) {
      const key = readPermissionKey(call);
      refuse(permissionFlaw(key));
      demandTopic(call, 'mq:DeleteCustomAuthPermission', key.topic);
      await named('Topic', customAuth.deletePermission(instance, key));
    },
  }),
  action({
    name: 'QueryCustomAuthPermission',
    about: 'Lists permissions.',
    parameters: [
      parameter('Identity', false),
      parameter('IdentityType', false),
      parameter('Topic', false),
      ...PAGE,
    ],
    result: PERMISSION_ROWS,
    async run({ customAuth }, instance, call) {
      const type = text(call, 'IdentityType') as PermissionKey['type'] | '';
      const query = {
        ...readPage(call),
        ...(type !== '' && { type }),
        ...given('identity', text(call, 'Identity')),
        ...given('topic', text(call, 'Topic')),
      };
      const page = await named('NextToken', customAuth.queryPermissions(instance, query));
      const results = page.results.map((permission) => ({
        Effect: permission.effect,
        Identity: permission.identity,
        IdentityType: permission.type,
        PermitAction: permission.action,
        Topic: permission.topic,
      }));
      return { NextToken: page.nextToken, Results: results };
    },
  }),
];

const blackActions: readonly Action[] = [
  action({
    name: 'AddCustomAuthConnectBlack',
    about: 'Keeps a client out; while it is connected it is disconnected.',
    parameters: [parameter('ClientId')],
    faults: OVER_CAPACITY,
    run: async ({ customAuth }, instance, call) =>
      await named('ClientId', customAuth.addBlack(instance, text(call, 'ClientId'))),
  }),
  action({
    name: 'DeleteCustomAuthConnectBlack',
    about: 'Lets a client in again.',
    parameters: [parameter('ClientId')],
    run: async ({ customAuth }, instance, call) =>
      await named('ClientId', customAuth.deleteBlack(instance, text(call, 'ClientId'))),
  }),
  action({
    name: 'QueryCustomAuthConnectBlack',
    about: 'Lists the clients that are kept out.',
    parameters: [parameter('ClientId', false), ...PAGE],
    result: BLACK_ROWS,
    async run({ customAuth }, instance, call) {
      const query = {
        ...readPage(call),
        ...given('clientId', text(call, 'ClientId')),
      };
      const page = await named('NextToken', customAuth.queryBlack(instance, query));
      const results = page.results.map((clientId) => ({
        ClientId: clientId,
        Effect: 'DENY',
        PermitAction: 'CONNECT',
      }));
      return { NextToken: page.nextToken, Results: results };
    },
  }),
];

export const customAuthActions: readonly Action[] = [
  ...identityActions,
  ...permissionActions,
  ...blackActions,
];

function readIdentityKey(call: Call): IdentityKey {
  const type = text(call, 'IdentityType') as IdentityKey['type'];
  const clientId = type === 'CLIENT' ? text(call, 'ClientId') : '';
  return { type, userName: text(call, 'Username'), clientId };
}

function readIdentity(call: Call): CustomIdentity {
  const identity = {
    ...readIdentityKey(call),
    signMode: text(call, 'SignMode') as CustomIdentity['signMode'],
    secret: text(call, 'Secret'),
  };
  refuse(identityFlaw(identity));
  return identity;
}

function readPermissionKey(call: Call): PermissionKey {
  return {
    type: text(call, 'IdentityType') as PermissionKey['type'],
    identity: text(call, 'Identity'),
    topic: text(call, 'Topic'),
  };
}

function readPermission(instance: Instance, call: Call): CustomPermission {
  const permission = {
    ...readPermissionKey(call),
    action: text(call, 'PermitAction') as CustomPermission['action'],
    effect: text(call, 'Effect') as CustomPermission['effect'],
  };
  refuse(permissionFlaw(permission));
  const parent = parentOf(permission.topic);
  if (instance.kind === 'compatible' && !instance.hasParentTopic(parent)) {
    throw badParameter('Topic', `The parent topic ${parent} does not exist.`);
  }
  return permission;
}

function readPage(call: Call): { readonly nextToken: string; readonly size: number } {
  return { nextToken: text(call, 'NextToken'), size: number(call, 'Size') ?? 1 };
}

/** A filter that was left out is not there. */
function given<Name extends string>(name: Name, value: string): { readonly [N in Name]?: string } {
  return value === '' ? {} : ({ [name]: value } as { readonly [N in Name]: string });
}

/** Whoever speaks of topics must have the right to each topic that the filter matches. */
function demandTopic(call: Call, permission: string, topic: string): void {
  call.demand(topic);
  const wild = topic.includes('+') || topic.includes('#');
  if (!wild || call.principal.mayAll(permission, text(call, 'InstanceId'), topic)) return;
  throw new ApiFault('PermissionCheckFailed', `The policy does not permit all of ${topic}.`);
}

const PARAMETER_OF: Readonly<Record<FieldFlaw['field'], string>> = {
  userName: 'Username',
  clientId: 'ClientId',
  secret: 'Secret',
  identity: 'Identity',
  topic: 'Topic',
};

function refuse(flaw: FieldFlaw | undefined): void {
  if (flaw !== undefined) throw badParameter(PARAMETER_OF[flaw.field], `${flaw.reason}.`);
}

/** A fault about a row names the parameter that says which row. */
async function named<T>(name: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const { code } = error;
    if (code === 'alreadyExists') throw badParameter(name, 'There is such a record already.');
    if (code === 'notFound') throw badParameter(name, 'There is no such record.');
    if (code === 'invalidParameter') throw badParameter(name, `${error.message}.`);
    throw error;
  }
}

function badParameter(name: string, detail: string): ApiFault {
  return new ApiFault('InvalidParameter.%s', detail, { parameter: name });
}
