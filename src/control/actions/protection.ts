/**
 * Protection of the device doors, an addition of TernMQ: who is banned for now, and which network
 * addresses may connect to an instance.
 */
import { Fault } from '#base';
import { type AddressSettings, type Ban, type BanTarget, parseAddressSettings } from '#identity';
import { type Action, type Call, type Parameter, type ResultField, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import { INSTANCE_ID, instanceOf, list } from './call-arguments.ts';

const FAULTS: readonly ApiFaultCode[] = ['InstancePermissionCheckFailed', 'InvalidParameter.%s'];

function optional(name: string, about: string, charsMax: number): Parameter {
  return { name, type: 'string', required: false, about, charsMax };
}

/** What these actions share. */
const COMMON: Pick<Action, 'family' | 'origin' | 'answer' | 'faults' | 'callsPerSecondMax'> = {
  family: 'protection',
  origin: 'ternmq',
  answer: 'bare',
  faults: FAULTS,
  callsPerSecondMax: 100,
};

const BANS: readonly ResultField[] = [
  {
    name: 'Bans',
    many: true,
    about: 'The bans in force.',
    type: [
      { name: 'Address', type: 'string', about: 'Empty for a client. IPv6 as its /64.' },
      { name: 'InstanceId', type: 'string', about: 'Empty for an address.' },
      { name: 'ClientId', type: 'string', about: 'Empty for an address.' },
      { name: 'Reason', type: 'string', about: '`failures` or `flapping`.' },
      { name: 'BanCount', type: 'number', about: 'How often it was banned, now included.' },
      { name: 'EndTime', type: 'number', about: 'When it ends, in ms since 1970.' },
    ],
  },
];

const listBans: Action = {
  ...COMMON,
  name: 'ListBans',
  about: 'Lists the addresses and clients that are kept out for now by this node.',
  parameters: [],
  result: BANS,
  permission: 'mq:ListBans',
  instanceParameter: undefined,
  handle: async ({ bans }) => ({ Bans: bans.list().map(describe) }),
};

const liftBan: Action = {
  ...COMMON,
  name: 'LiftBan',
  about: 'Ends the ban of an address, or of a client, and forgets what it was for.',
  parameters: [
    optional('Address', 'An address, as ListBans shows it or as it is.', 100),
    optional('BannedInstanceId', 'With ClientId: its instance.', 64),
    optional('ClientId', 'The client.', 65_535),
  ],
  result: [{ name: 'Lifted', type: 'boolean', about: 'False: there was no such ban.' }],
  permission: 'mq:LiftBan',
  instanceParameter: undefined,
  handle: async ({ bans }, call) => ({ Lifted: bans.lift(readTarget(call)) }),
};

const LISTS: readonly ResultField[] = [
  { name: 'Allow', type: 'string[]', about: 'Who may connect; empty: everybody.' },
  { name: 'Deny', type: 'string[]', about: 'Who may not, whatever else is said.' },
];

const getAddressLists: Action = {
  ...COMMON,
  name: 'GetAddressLists',
  about: 'Answers which network addresses may connect to an instance.',
  parameters: [INSTANCE_ID],
  result: LISTS,
  permission: 'mq:GetAddressLists',
  instanceParameter: 'InstanceId',
  handle: async (services, call) => {
    const instance = instanceOf(services, call);
    const lists = parseAddressSettings(instance.authentication['addresses']);
    return { Allow: lists.allow, Deny: lists.deny };
  },
};

const setAddressLists: Action = {
  ...COMMON,
  name: 'SetAddressLists',
  about: 'Sets both lists of an instance, for connections from now on; one left out is empty.',
  parameters: [
    INSTANCE_ID,
    {
      name: 'Allow',
      type: 'list',
      required: false,
      about: 'IPv4 and IPv6 addresses and CIDRs that may connect; none: everybody.',
      charsMax: 100,
    },
    {
      name: 'Deny',
      type: 'list',
      required: false,
      about: 'Addresses and CIDRs that may not; this wins.',
      charsMax: 100,
    },
  ],
  result: LISTS,
  permission: 'mq:SetAddressLists',
  instanceParameter: 'InstanceId',
  handle: async (services, call) => {
    const { id } = instanceOf(services, call);
    const { allow } = readList(call, 'allow', 'Allow');
    const { deny } = readList(call, 'deny', 'Deny');
    const addresses = allow.length + deny.length === 0 ? undefined : { allow, deny };
    await services.instances.update(id, { authentication: { addresses } });
    return { Allow: allow, Deny: deny };
  },
};

export const protectionActions: readonly Action[] = [
  listBans,
  liftBan,
  getAddressLists,
  setAddressLists,
];

function describe(ban: Ban): Record<string, unknown> {
  return {
    Address: ban.address,
    InstanceId: ban.instanceId,
    ClientId: ban.clientId,
    Reason: ban.reason,
    BanCount: ban.banCount,
    EndTime: ban.untilMs,
  };
}

function readTarget(call: Call): BanTarget {
  const address = text(call, 'Address');
  const instanceId = text(call, 'BannedInstanceId');
  const clientId = text(call, 'ClientId');
  if (address !== '' && clientId === '') return { address };
  if (address === '' && instanceId !== '' && clientId !== '') return { instanceId, clientId };
  throw new ApiFault(
    'InvalidParameter.%s',
    'Name either an Address, or a ClientId with its BannedInstanceId.',
    { parameter: address === '' ? 'Address' : 'ClientId' },
  );
}

function readList(call: Call, name: 'allow' | 'deny', parameter: string): AddressSettings {
  try {
    return parseAddressSettings({ [name]: list(call, parameter) });
  } catch (error) {
    if (!Fault.is(error, 'invalidParameter')) throw error;
    throw new ApiFault('InvalidParameter.%s', `${error.message}.`, { parameter, cause: error });
  }
}
