/**
 * Ways of authentication an instance sets up for itself: an HTTP service, JWTs, SCRAM users.
 *
 * Settings are replaced as a whole. What is secret in them goes in and never comes out.
 */
import {
  isSealed,
  parseRules,
  readHttpSettings,
  readJwtSettings,
  SCRAM_ITERATIONS,
  SCRAM_ITERATIONS_MAX,
  SCRAM_ITERATIONS_MIN,
  SCRAM_RULE_COUNT_MAX,
  type ScramUser,
  sealText,
  secretBytes,
} from '#identity';
import { Fault } from '#base';
import {
  type Action,
  type Call,
  number,
  type Parameter,
  type ResultField,
  text,
} from '../action.ts';
import {
  HTTP_FIELDS,
  HTTP_PARAMETERS,
  JWT_FIELDS,
  JWT_PARAMETERS,
} from './authentication-fields.ts';
import type { ApiFaultCode } from '../api-fault.ts';
import type { Services } from '../services.ts';

const INSTANCE_ID: Parameter = {
  name: 'InstanceId',
  type: 'string',
  required: true,
  about: 'The instance.',
};

const USER_NAME: Parameter = {
  name: 'UserName',
  type: 'string',
  required: true,
  about: 'The SCRAM user, up to 256 bytes.',
  charsMax: 256,
};

const FAULTS: readonly ApiFaultCode[] = [
  'InstancePermissionCheckFailed',
  'ParameterCheckFailed',
  'PermissionCheckFailed',
  'ServiceUnavailable',
];

interface Description {
  readonly name: string;
  readonly about: string;
  readonly parameters: readonly Parameter[];
  readonly result?: readonly ResultField[];
  run(services: Services, instanceId: string, call: Call): Promise<Record<string, unknown>>;
}

function action({ name, about, parameters, result = [], run }: Description): Action {
  return {
    name,
    family: 'authentication',
    about,
    origin: 'ternmq',
    parameters: [INSTANCE_ID, ...parameters],
    result,
    answer: 'bare',
    faults: FAULTS,
    permission: `mq:${name}`,
    instanceParameter: 'InstanceId',
    callsPerSecondMax: 100,
    handle: (services, call) => run(services, text(call, 'InstanceId'), call),
  };
}

const setHttp = action({
  name: 'SetHttpAuth',
  about: 'Has an HTTP service decide who may connect to the instance, instead of any before it.',
  parameters: HTTP_PARAMETERS,
  async run(services, instanceId, call) {
    const headers: Record<string, unknown> = { ...jsonObject(call, 'Headers') };
    // Checked as they were given, then sealed: what is in them is often a secret.
    const settings = { ...given(call, HTTP_PARAMETERS), headers };
    if (Object.values(headers).some(isSealed)) {
      throw new Fault('invalidParameter', 'Headers must hold texts.');
    }
    readHttpSettings(settings);
    for (const [name, value] of Object.entries(headers)) {
      headers[name] = sealText(services.box, String(value));
    }
    await services.instances.update(instanceId, { authentication: { http: settings } });
    return {};
  },
});

const deleteHttp = action({
  name: 'DeleteHttpAuth',
  about: 'No HTTP service decides any more; whoever is connected stays until its decision ends.',
  parameters: [],
  async run(services, instanceId) {
    await services.instances.update(instanceId, { authentication: { http: undefined } });
    return {};
  },
});

const setJwt = action({
  name: 'SetJwtAuth',
  about: 'Has clients connect with JWTs signed by these keys, instead of any set before.',
  parameters: JWT_PARAMETERS,
  async run(services, instanceId, call) {
    const settings: Record<string, unknown> = given(call, JWT_PARAMETERS);
    const jwks = jsonObject(call, 'Jwks');
    if (jwks !== undefined) settings['jwks'] = jwks;
    const secret = text(call, 'Secret');
    if (secret !== '') {
      secretBytes(secret, settings['secretIsBase64'] === true);
      settings['secret'] = sealText(services.box, secret);
    }
    readJwtSettings(settings);
    await services.instances.update(instanceId, { authentication: { jwt: settings } });
    return {};
  },
});

const deleteJwt = action({
  name: 'DeleteJwtAuth',
  about: 'JWTs are not accepted any more; whoever is connected stays until its token ends.',
  parameters: [],
  async run(services, instanceId) {
    await services.instances.update(instanceId, { authentication: { jwt: undefined } });
    return {};
  },
});

const get = action({
  name: 'GetAuthentication',
  about: 'Answers the settings of the HTTP service and of JWTs, secrets left out.',
  parameters: [],
  result: [
    { name: 'Http', type: HTTP_FIELDS, about: 'The HTTP service, where one is set.' },
    { name: 'Jwt', type: JWT_FIELDS, about: 'JWTs, where they are set.' },
  ],
  async run(services, instanceId) {
    const instance = services.instances.find(instanceId);
    if (instance === undefined) throw new Fault('instanceUnknown');
    const { http, jwt } = instance.authentication;
    return {
      ...((http ?? undefined) === undefined ? {} : { Http: shownHttp(http) }),
      ...((jwt ?? undefined) === undefined ? {} : { Jwt: shownJwt(jwt) }),
    };
  },
});

const setUser = action({
  name: 'SetScramUser',
  about: 'Makes a user for SCRAM-SHA-256, or changes one; what is left out stays.',
  parameters: [
    USER_NAME,
    {
      name: 'Password',
      type: 'string',
      required: false,
      about: 'A new user needs one. With another password, connected clients are disconnected.',
      charsMax: 1024,
    },
    {
      name: 'Iterations',
      type: 'integer',
      required: false,
      about: `How slow the password is to try; ${SCRAM_ITERATIONS} by default.`,
      min: SCRAM_ITERATIONS_MIN,
      max: SCRAM_ITERATIONS_MAX,
    },
    {
      name: 'Rules',
      type: 'json',
      required: false,
      about: 'Permissions: `[{"effect","action","topic"}]`; DENY wins, no rule means no.',
      charsMax: 65_536,
    },
    {
      name: 'AllowAll',
      type: 'boolean',
      required: false,
      about: 'Everything is allowed, whatever the rules were; so it is for a new user.',
    },
  ],
  async run(services, instanceId, call) {
    const rules = text(call, 'Rules');
    const allowAll = call.arguments['AllowAll'] === true;
    if (allowAll && rules !== '') {
      throw new Fault('invalidParameter', 'Rules and AllowAll exclude each other.');
    }
    await services.scramUsers.set(instanceId, {
      userName: text(call, 'UserName'),
      password: text(call, 'Password') || undefined,
      iterations: number(call, 'Iterations'),
      rules: allowAll
        ? 'all'
        : rules === ''
          ? undefined
          : parseRules(JSON.parse(rules), SCRAM_RULE_COUNT_MAX),
    });
    return {};
  },
});

const deleteUser = action({
  name: 'DeleteScramUser',
  about: 'Removes a SCRAM user; its clients are disconnected.',
  parameters: [USER_NAME],
  async run(services, instanceId, call) {
    await services.scramUsers.remove(instanceId, text(call, 'UserName'));
    return {};
  },
});

const listUsers = action({
  name: 'ListScramUsers',
  about: 'Lists the SCRAM users of the instance, in the order of their names.',
  parameters: [
    {
      name: 'NextToken',
      type: 'string',
      required: false,
      about: 'Where the page before ended.',
      charsMax: 1024,
    },
    {
      name: 'Size',
      type: 'integer',
      required: false,
      about: 'Users on a page, 100 by default.',
      min: 1,
      max: 100,
    },
  ],
  result: [
    {
      name: 'Users',
      about: 'The page.',
      many: true,
      type: [
        { name: 'UserName', type: 'string', about: 'The user.' },
        { name: 'Iterations', type: 'number', about: 'How slow the password is to try.' },
        { name: 'AllowAll', type: 'boolean', about: 'Everything is allowed.' },
        { name: 'Rules', type: 'string', about: 'Else what is allowed, as JSON.' },
        { name: 'UpdateTime', type: 'number', about: 'Of the last change, in ms since 1970.' },
      ],
    },
    { name: 'NextToken', type: 'string', about: 'For the next page; empty after the last.' },
  ],
  async run(services, instanceId, call) {
    const page = await services.scramUsers.list(instanceId, {
      nextToken: text(call, 'NextToken'),
      size: number(call, 'Size') ?? 100,
    });
    return { Users: page.results.map(shownUser), NextToken: page.nextToken };
  },
});

/** Additions of ours. */
export const authenticationActions: readonly Action[] = [
  setHttp,
  deleteHttp,
  setJwt,
  deleteJwt,
  get,
  setUser,
  deleteUser,
  listUsers,
];

/** Texts, numbers, flags and lists as settings; JSON and secrets are each action's own. */
function given(call: Call, parameters: readonly Parameter[]): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const { name, type } of parameters) {
    const value = call.arguments[name];
    if (value === undefined || type === 'json' || name === 'Secret') continue;
    settings[settingOf(name)] = value;
  }
  return settings;
}

/** `CacheSeconds` is `cacheSeconds`. */
function settingOf(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}

function jsonObject(call: Call, name: string): object | undefined {
  const json = text(call, name);
  if (json === '') return undefined;
  const value: unknown = JSON.parse(json);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new Fault('invalidParameter', `${name} is no JSON object.`);
}

function shownHttp(raw: unknown): Record<string, unknown> {
  const settings = readHttpSettings(raw);
  return {
    Url: settings.url,
    TimeoutMs: settings.timeoutMs,
    CacheSeconds: settings.cacheSeconds,
    DenyCacheSeconds: settings.denyCacheSeconds,
    ConcurrencyMax: settings.concurrencyMax,
    FailOpen: settings.failOpen,
    BreakerFailureCountMax: settings.breakerFailureCountMax,
    BreakerOpenMs: settings.breakerOpenMs,
    HeaderNames: Object.keys(settings.headers),
    Ca: settings.ca ?? '',
  };
}

function shownJwt(raw: unknown): Record<string, unknown> {
  const settings = readJwtSettings(raw);
  const { keys } = settings;
  return {
    Jwks: keys.kind === 'inline' ? JSON.stringify({ keys: keys.keys }) : '',
    JwksUrl: keys.kind === 'url' ? keys.url : '',
    Ca: keys.kind === 'url' ? (keys.ca ?? '') : '',
    SecretSet: keys.kind === 'secret',
    Algorithms: settings.algorithms,
    Issuer: settings.issuers ?? [],
    Audience: settings.audiences ?? [],
    From: settings.from,
    ClientIdClaim: settings.clientIdClaim ?? '',
    UserNameClaim: settings.userNameClaim ?? '',
    AclClaim: settings.aclClaim,
    ExpiryRequired: settings.expiryRequired,
    ToleranceSeconds: settings.toleranceSeconds,
    TimeoutMs: settings.timeoutMs,
  };
}

function shownUser({ userName, iterations, rules, updatedMs }: ScramUser): Record<string, unknown> {
  const listed = rules?.map(({ effect, publish, subscribe, filter }) => ({
    effect,
    action: publish && subscribe ? 'all' : publish ? 'publish' : 'subscribe',
    topic: filter,
  }));
  return {
    UserName: userName,
    Iterations: iterations,
    AllowAll: rules === undefined,
    Rules: listed === undefined ? '' : JSON.stringify(listed),
    UpdateTime: updatedMs,
  };
}
