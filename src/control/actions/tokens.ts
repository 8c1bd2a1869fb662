/**
 * Tokens for devices: apply for one, ask whether it is good, take it back.
 *
 * Nobody can give away more than he has: whoever applies must himself have the right to publish
 * or subscribe every topic that the token is for.
 */
import { TOKEN_CHARS_MAX, type TokenApplication } from '#identity';
import { type Action, type Parameter, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';

const RESOURCES_CHARS_MAX = 32_768;

const INSTANCE_ID: Parameter = {
  name: 'InstanceId',
  type: 'string',
  required: true,
  about: 'The instance that the devices use.',
};

const TOKEN: Parameter = {
  name: 'Token',
  type: 'string',
  required: true,
  about: 'The text that ApplyToken answered.',
  charsMax: TOKEN_CHARS_MAX,
};

const FAULTS: readonly ApiFaultCode[] = [
  'CheckAccountInfoFailed',
  'InstancePermissionCheckFailed',
  'ParameterCheckFailed',
  'PermissionCheckFailed',
  'InvalidParameter.%s',
  'ApiNotSupport',
  'InternalError',
  'SystemOverFlow',
];

/** What a principal must be allowed to do itself before it may give it away. */
const RIGHTS = { R: ['mq:SUB'], W: ['mq:PUB'], 'R,W': ['mq:PUB', 'mq:SUB'] } as const;

const applyToken: Action = {
  name: 'ApplyToken',
  family: 'token',
  about: 'Makes a token: leave to subscribe or publish some topics for some time.',
  origin: 'product',
  parameters: [
    {
      name: 'Actions',
      type: 'string',
      required: true,
      about: '`R` to subscribe, `W` to publish, `R,W` for both.',
      oneOf: ['R', 'W', 'R,W'],
    },
    {
      name: 'ExpireTime',
      type: 'long',
      required: true,
      about:
        'When the token ends, in ms since 1970: at least 60 s ahead; what is more than 30 days ' +
        'ahead is cut to 30 days.',
    },
    INSTANCE_ID,
    {
      name: 'Resources',
      type: 'string',
      required: true,
      about: 'Topics separated by commas, 100 at most; the wildcards `+` and `#` are allowed.',
      charsMax: RESOURCES_CHARS_MAX,
    },
    {
      name: 'ClientId',
      type: 'string',
      required: false,
      about: 'The only client that may use the token. An addition of TernMQ.',
      charsMax: 1024,
    },
  ],
  result: [{ name: 'Token', type: 'string', about: 'The token: text without `|`.' }],
  answer: 'bare',
  faults: ['ApplyTokenOverFlow', ...FAULTS],
  permission: 'mq:ApplyToken',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  async handle(services, call) {
    const instanceId = text(call, 'InstanceId');
    const actions = text(call, 'Actions') as TokenApplication['actions'];
    const resources = text(call, 'Resources').split(',');
    const clientId = text(call, 'ClientId');
    for (const filter of resources) {
      for (const right of RIGHTS[actions]) {
        if (!call.principal.mayAll(right, instanceId, filter)) {
          throw new ApiFault('PermissionCheckFailed', `No ${right} on ${filter}.`);
        }
      }
    }
    const token = services.tokens.apply({
      instanceId,
      accessKeyId: call.principal.accessKeyId,
      actions,
      resources,
      expireMs: Number(call.arguments['ExpireTime']),
      clientId: clientId === '' ? undefined : clientId,
    });
    return { Token: token };
  },
};

const queryToken: Action = {
  name: 'QueryToken',
  family: 'token',
  about: 'Tells whether a token is good: ours, of that instance, not expired, not revoked.',
  origin: 'product',
  parameters: [INSTANCE_ID, TOKEN],
  result: [{ name: 'TokenStatus', type: 'boolean', about: 'True for a token that is good.' }],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:QueryToken',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  async handle(services, call) {
    const instanceId = text(call, 'InstanceId');
    const token = services.tokens.read(instanceId, text(call, 'Token'));
    const createdMs = services.instances.find(instanceId)?.createdMs ?? Infinity;
    // One of a former instance of the same name opens nothing, so it is not good.
    return { TokenStatus: typeof token !== 'string' && token.issuedMs >= createdMs };
  },
};

const revokeToken: Action = {
  name: 'RevokeToken',
  family: 'token',
  about: 'Makes a token worthless; whoever is connected with it is disconnected.',
  origin: 'product',
  parameters: [INSTANCE_ID, TOKEN],
  result: [],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:RevokeToken',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 5,
  async handle(services, call) {
    await services.tokens.revoke(text(call, 'InstanceId'), text(call, 'Token'));
    return {};
  },
};

export const tokenActions: readonly Action[] = [applyToken, queryToken, revokeToken];
