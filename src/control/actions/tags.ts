/** Tags of instances, the one kind of resource that the product tags by these actions. */
import type { Instance } from '#instances';
import { hasTags } from '#instances';
import { type Action, type Call, type Parameter, type ResultField, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import type { Services } from '../services.ts';
import { list, tags } from './call-arguments.ts';

const RESOURCE_TYPE = 'instance';
const RESOURCE_COUNT_MAX = 50;
const TAG_COUNT_MAX = 20;
/** Rows after which a page ends; the tags of one instance stay together. */
const PAGE_ROWS = 100;

const TYPE: Parameter = {
  name: 'ResourceType',
  type: 'string',
  required: true,
  about: 'Only `instance`.',
  oneOf: [RESOURCE_TYPE],
};

const RESOURCES: Parameter = {
  name: 'ResourceId',
  type: 'list',
  required: true,
  about: 'Instances, 50 at most.',
  min: 1,
  max: RESOURCE_COUNT_MAX,
};

const TAGS: Parameter = {
  name: 'Tag',
  type: 'tags',
  required: true,
  about: 'Tags, 20 at most; a resource can have 20.',
  min: 1,
  max: TAG_COUNT_MAX,
};

/** Answered by the two that change something: a code in text, and no `Success` beside it. */
const DONE: readonly ResultField[] = [
  { name: 'Code', type: 'string', about: '`200`.' },
  { name: 'Data', type: 'boolean', about: 'True.' },
  { name: 'Message', type: 'string', about: 'A word for people.' },
];

const DONE_ANSWER = { Code: '200', Data: true, Message: 'Success' } as const;

const FAULTS: readonly ApiFaultCode[] = [
  'InstancePermissionCheckFailed',
  'ParameterCheckFailed',
  'PermissionCheckFailed',
  'InternalError',
];

const COMMON = {
  family: 'tag',
  origin: 'product',
  faults: FAULTS,
  instanceParameter: undefined,
  callsPerSecondMax: 10,
} as const;

const tagResources: Action = {
  ...COMMON,
  answer: 'bare',
  name: 'TagResources',
  about: 'Tags instances; a tag of the same key is replaced.',
  parameters: [RESOURCES, TYPE, TAGS],
  result: DONE,
  permission: 'mq:TagResources',
  async handle(services, call) {
    const added = tags(call);
    const instances = resources(services, call, tagResources.permission);
    for (const { id } of instances) await services.instances.addTags(id, added);
    return DONE_ANSWER;
  },
};

const untagResources: Action = {
  ...COMMON,
  answer: 'bare',
  name: 'UntagResources',
  about: 'Takes tags off instances.',
  parameters: [
    {
      name: 'All',
      type: 'boolean',
      required: false,
      about: 'Takes all tags off; looked at where no TagKey is given.',
    },
    RESOURCES,
    TYPE,
    {
      name: 'TagKey',
      type: 'list',
      required: false,
      about: 'Keys, 20 at most.',
      max: TAG_COUNT_MAX,
    },
  ],
  result: DONE,
  permission: 'mq:UntagResources',
  async handle(services, call) {
    const keys = list(call, 'TagKey');
    if (keys.length === 0 && call.arguments['All'] !== true) {
      throw new ApiFault('ParameterCheckFailed', 'Give TagKey, or All as true.');
    }
    const instances = resources(services, call, untagResources.permission);
    for (const { id } of instances) {
      await services.instances.removeTags(id, keys.length === 0 ? 'all' : keys);
    }
    return DONE_ANSWER;
  },
};

const listTagResources: Action = {
  ...COMMON,
  answer: 'text',
  name: 'ListTagResources',
  about: 'Lists tags of certain instances, or of those that have certain tags.',
  parameters: [
    {
      name: 'NextToken',
      type: 'string',
      required: false,
      about: 'Where to go on: NextToken of the answer before.',
      charsMax: 1024,
    },
    { ...RESOURCES, required: false },
    TYPE,
    { ...TAGS, required: false, about: 'Tags they all have; without a value: of any.' },
  ],
  result: [
    { name: 'NextToken', type: 'string', about: 'Empty: this is the last page.' },
    {
      name: 'TagResources',
      many: true,
      about: 'The tags.',
      type: [
        { name: 'ResourceId', type: 'string', about: 'The instance.' },
        { name: 'ResourceType', type: 'string', about: '`instance`.' },
        { name: 'TagKey', type: 'string', about: 'Key.' },
        { name: 'TagValue', type: 'string', about: 'Value.' },
      ],
    },
  ],
  permission: 'mq:ListTagResources',
  async handle(services, call) {
    const ids = list(call, 'ResourceId');
    const wanted = tags(call);
    if (ids.length === 0 && wanted.length === 0) {
      throw new ApiFault('ParameterCheckFailed', 'Give ResourceId or Tag.');
    }
    const after = readToken(text(call, 'NextToken'));
    const found = [...services.instances.all()]
      .filter(({ id }) => id > after && (ids.length === 0 || ids.includes(id)))
      .filter(({ id }) => call.principal.may(listTagResources.permission, id, undefined))
      .sort((one, other) => (one.id < other.id ? -1 : 1));
    return page(services, found, wanted);
  },
};

export const tagActions: readonly Action[] = [tagResources, untagResources, listTagResources];

/** All of them, or a refusal that does not tell what is absent from what is not permitted. */
function resources(services: Services, call: Call, permission: string): readonly Instance[] {
  const ids = new Set(list(call, 'ResourceId'));
  return [...ids].map((id) => {
    const instance = services.instances.find(id);
    if (instance !== undefined && call.principal.may(permission, id, undefined)) return instance;
    throw new ApiFault('InstancePermissionCheckFailed');
  });
}

function page(
  services: Services,
  found: readonly Instance[],
  wanted: ReturnType<typeof tags>,
): Record<string, unknown> {
  const rows: object[] = [];
  for (const [place, { id }] of found.entries()) {
    const own = services.instances.tags(id);
    if (!hasTags(own, wanted)) continue;
    for (const { key, value } of own) {
      rows.push({ ResourceId: id, ResourceType: RESOURCE_TYPE, TagKey: key, TagValue: value });
    }
    if (rows.length >= PAGE_ROWS && place < found.length - 1) {
      return { NextToken: Buffer.from(id).toString('base64url'), TagResources: rows };
    }
  }
  return { NextToken: '', TagResources: rows };
}

function readToken(token: string): string {
  const id = Buffer.from(token, 'base64url').toString();
  if (/^[0-9A-Za-z_-]{0,64}$/.test(id)) return id;
  throw new ApiFault('ParameterCheckFailed', 'NextToken is not one of ours.');
}
