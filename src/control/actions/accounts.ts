/**
 * Accounts, their access keys and policies, and temporary keys.
 *
 * All of it is the main account's, or of accounts with a policy that says so. Nobody else touches
 * the main account, and temporary keys touch none: they would outlive themselves.
 */
import {
  type AccessKeySummary,
  type Account,
  MAIN_ACCOUNT_ID,
  TEMPORARY_PREFIX,
  TEMPORARY_SECONDS_MAX,
} from '#identity';
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

const TEMPORARY_SECONDS_DEFAULT = 3_600;

const FAULTS: readonly ApiFaultCode[] = ['ParameterCheckFailed', 'Forbidden.RAM'];

const ACCOUNT_ID: Parameter = {
  name: 'AccountId',
  type: 'string',
  required: true,
  about: 'The account.',
  charsMax: 64,
};

const ACCESS_KEY_ID: Parameter = {
  name: 'AccessKeyId',
  type: 'string',
  required: true,
  about: 'The access key.',
  charsMax: 128,
};

const POLICY_NAME: Parameter = {
  name: 'PolicyName',
  type: 'string',
  required: true,
  about: 'A built-in policy, such as `AliyunMQSubOnlyAccess`, or the name of one of your own.',
  charsMax: 64,
};

const ACCOUNT: readonly ResultField[] = [
  { name: 'AccountId', type: 'string', about: 'Names it everywhere; `main` is the first one.' },
  { name: 'AccountName', type: 'string', about: 'For people.' },
  { name: 'CreateTime', type: 'number', about: 'ms since 1970.' },
  { name: 'Main', type: 'boolean', about: 'It may do everything, and cannot be deleted.' },
  {
    name: 'Policies',
    many: true,
    about: 'What it may do: each policy adds to it, or takes away.',
    type: [
      { name: 'PolicyDocument', type: 'string', about: 'JSON; not there for built-in ones.' },
      { name: 'PolicyName', type: 'string', about: 'Its name.' },
    ],
  },
];

const KEY: readonly ResultField[] = [
  { name: 'AccessKeyId', type: 'string', about: 'The key.' },
  { name: 'AccountId', type: 'string', about: 'Its account.' },
  { name: 'CreateTime', type: 'number', about: 'ms since 1970.' },
  { name: 'Status', type: 'string', about: '`Active` or `Inactive`.' },
];

interface Description {
  readonly name: string;
  readonly about: string;
  readonly parameters: readonly Parameter[];
  readonly result: readonly ResultField[];
  run(services: Services, call: Call): Record<string, unknown> | Promise<Record<string, unknown>>;
}

function accountAction(description: Description): Action {
  const { name, about, parameters, result } = description;
  return {
    name,
    family: 'account',
    about,
    origin: 'ternmq',
    parameters,
    result,
    answer: 'bare',
    faults: FAULTS,
    permission: `mq:${name}`,
    instanceParameter: undefined,
    callsPerSecondMax: 50,
    async handle(services, call) {
      if (call.principal.accessKeyId.startsWith(TEMPORARY_PREFIX)) {
        throw new ApiFault('Forbidden.RAM', 'A temporary key does not administer accounts.');
      }
      return await description.run(services, call);
    },
  };
}

const createAccount = accountAction({
  name: 'CreateAccount',
  about: 'Makes an account that may do nothing yet.',
  parameters: [
    {
      name: 'AccountName',
      type: 'string',
      required: true,
      about: '1 to 64 letters, digits, `.`, `-` and `_`; no other account has it.',
      charsMax: 64,
    },
  ],
  result: [{ name: 'Account', type: ACCOUNT, about: 'The account.' }],
  run: async ({ accounts }, call) => ({
    Account: answerAccount(await accounts.create(text(call, 'AccountName'))),
  }),
});

const listAccounts = accountAction({
  name: 'ListAccounts',
  about: 'Lists all accounts, the oldest first.',
  parameters: [],
  result: [{ name: 'Accounts', type: ACCOUNT, many: true, about: 'The accounts.' }],
  run: ({ accounts }) => ({ Accounts: accounts.list().map(answerAccount) }),
});

const deleteAccount = accountAction({
  name: 'DeleteAccount',
  about: 'Removes an account and its keys; whoever is connected with one is disconnected.',
  parameters: [ACCOUNT_ID],
  result: [],
  run: async ({ accounts }, call) => {
    await accounts.delete(namedAccount(call));
    return {};
  },
});

const createAccessKey = accountAction({
  name: 'CreateAccessKey',
  about: 'Makes an access key for an account, and answers its secret this once.',
  parameters: [ACCOUNT_ID],
  result: [
    {
      name: 'AccessKey',
      about: 'The key with its secret.',
      type: [...KEY, { name: 'AccessKeySecret', type: 'string', about: 'Never to be had again.' }],
    },
  ],
  run: async ({ accounts }, call) => {
    const { id, secret } = await accounts.createKey(namedAccount(call));
    return { AccessKey: { ...answerKey(accounts.getKey(id)), AccessKeySecret: secret } };
  },
});

const listAccessKeys = accountAction({
  name: 'ListAccessKeys',
  about: 'Lists the access keys of an account, without their secrets.',
  parameters: [ACCOUNT_ID],
  result: [{ name: 'AccessKeys', type: KEY, many: true, about: 'The keys, the oldest first.' }],
  run: ({ accounts }, call) => ({
    AccessKeys: accounts.listKeys(text(call, 'AccountId')).map(answerKey),
  }),
});

const updateAccessKey = accountAction({
  name: 'UpdateAccessKey',
  about: 'Makes an access key active or inactive; an inactive one opens nothing.',
  parameters: [
    ACCESS_KEY_ID,
    {
      name: 'Status',
      type: 'string',
      required: true,
      about: '`Active`, or `Inactive`: then whoever is connected with it is disconnected.',
      oneOf: ['Active', 'Inactive'],
    },
  ],
  result: [],
  run: async (services, call) => {
    const active = text(call, 'Status') === 'Active';
    await services.accounts.setKeyActive(namedKey(services, call), active);
    return {};
  },
});

const deleteAccessKey = accountAction({
  name: 'DeleteAccessKey',
  about: 'Removes an access key; whoever is connected with it is disconnected.',
  parameters: [ACCESS_KEY_ID],
  result: [],
  run: async (services, call) => {
    await services.accounts.deleteKey(namedKey(services, call));
    return {};
  },
});

const attachPolicy = accountAction({
  name: 'AttachPolicy',
  about: 'Gives an account a policy, at once for whoever is connected.',
  parameters: [
    ACCOUNT_ID,
    POLICY_NAME,
    {
      name: 'PolicyDocument',
      type: 'json',
      required: false,
      about: 'A policy of your own, in place of an earlier one of that name.',
    },
  ],
  result: [],
  run: async ({ accounts }, call) => {
    const document = text(call, 'PolicyDocument');
    const name = text(call, 'PolicyName');
    await accounts.attachPolicy(namedAccount(call), name, document === '' ? undefined : document);
    return {};
  },
});

const detachPolicy = accountAction({
  name: 'DetachPolicy',
  about: 'Takes a policy from an account, at once for whoever is connected.',
  parameters: [ACCOUNT_ID, POLICY_NAME],
  result: [],
  run: async ({ accounts }, call) => {
    await accounts.detachPolicy(namedAccount(call), text(call, 'PolicyName'));
    return {};
  },
});

const assumeRole = accountAction({
  name: 'AssumeRole',
  about: 'Makes a temporary access key with the rights of an account, or fewer.',
  parameters: [
    {
      ...ACCOUNT_ID,
      required: false,
      about: "The caller's own where it is left out; another one is for the main account.",
    },
    {
      name: 'DurationSeconds',
      type: 'integer',
      required: false,
      about: `How long the key is good: ${TEMPORARY_SECONDS_DEFAULT} where it is left out.`,
      min: 60,
      max: TEMPORARY_SECONDS_MAX,
    },
    {
      name: 'Policy',
      type: 'json',
      required: false,
      about: 'What this policy does not allow the key may not do.',
    },
  ],
  result: [
    {
      name: 'Credentials',
      about: 'The key. Requests to this API carry the token, as SDKs do by themselves.',
      type: [
        { name: 'AccessKeyId', type: 'string', about: 'Begins with `STS.`.' },
        { name: 'AccessKeySecret', type: 'string', about: 'Never to be had again.' },
        { name: 'ExpireTime', type: 'number', about: 'When it ends, in ms since 1970.' },
        { name: 'SecurityToken', type: 'string', about: 'Goes with every request.' },
      ],
    },
  ],
  run: ({ accounts }, call) => {
    const own = call.principal.accountId;
    const accountId = text(call, 'AccountId') === '' ? own : text(call, 'AccountId');
    if (accountId !== own && own !== MAIN_ACCOUNT_ID) {
      throw new ApiFault('Forbidden.RAM', 'The main account alone acts for other accounts.');
    }
    const seconds = number(call, 'DurationSeconds') ?? TEMPORARY_SECONDS_DEFAULT;
    const policy = text(call, 'Policy');
    const key = accounts.createTemporaryKey(accountId, seconds, policy === '' ? undefined : policy);
    const { accessKeyId, accessKeySecret, securityToken, expiresMs } = key;
    return {
      Credentials: {
        AccessKeyId: accessKeyId,
        AccessKeySecret: accessKeySecret,
        ExpireTime: expiresMs,
        SecurityToken: securityToken,
      },
    };
  },
});

export const accountActions: readonly Action[] = [
  createAccount,
  listAccounts,
  deleteAccount,
  createAccessKey,
  listAccessKeys,
  updateAccessKey,
  deleteAccessKey,
  attachPolicy,
  detachPolicy,
  assumeRole,
];

/** `AccountId`, if the caller may change that account. */
function namedAccount(call: Call): string {
  const accountId = text(call, 'AccountId');
  refuseMain(call, accountId);
  return accountId;
}

/** `AccessKeyId`, if the caller may change the account it is of. */
function namedKey({ accounts }: Services, call: Call): string {
  const accessKeyId = text(call, 'AccessKeyId');
  refuseMain(call, accounts.getKey(accessKeyId).accountId);
  return accessKeyId;
}

function refuseMain(call: Call, accountId: string): void {
  if (accountId === MAIN_ACCOUNT_ID && call.principal.accountId !== MAIN_ACCOUNT_ID) {
    throw new ApiFault('Forbidden.RAM', 'The main account alone changes the main account.');
  }
}

function answerAccount({ id, name, createdMs, main, policies }: Account): object {
  return {
    AccountId: id,
    AccountName: name,
    CreateTime: createdMs,
    Main: main,
    Policies: policies.map((policy) => ({
      PolicyName: policy.name,
      ...(policy.document !== undefined && { PolicyDocument: policy.document }),
    })),
  };
}

function answerKey(key: AccessKeySummary): object {
  return {
    AccessKeyId: key.id,
    AccountId: key.accountId,
    CreateTime: key.createdMs,
    Status: key.active ? 'Active' : 'Inactive',
  };
}
