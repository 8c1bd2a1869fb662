/** Groups of devices: the first half of every client identifier in a compatible instance. */
import { groupIdFlaw, hasTags } from '#instances';
import { type Action, type Parameter, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import { answerTags, INSTANCE_ID, TAG_PARAMETERS, tags } from './call-arguments.ts';

const GROUP_ID: Parameter = {
  name: 'GroupId',
  type: 'string',
  required: true,
  about: '7 to 64 characters: `GID_` or `GID-`, then letters, digits, `-` and `_`.',
};

const FAULTS: readonly ApiFaultCode[] = [
  'ParameterFieldCheckFailed',
  'InstancePermissionCheckFailed',
  'InstanceNotFound',
  'PermissionCheckFailed',
  'InternalError',
];

const createGroupId: Action = {
  name: 'CreateGroupId',
  family: 'group',
  about: 'Makes a group.',
  origin: 'product',
  parameters: [GROUP_ID, INSTANCE_ID, ...TAG_PARAMETERS],
  result: [],
  answer: 'bare',
  faults: [
    'GroupIdAlreadyExsited',
    'GroupIdAlreadyUsedByOtherUsers',
    ...FAULTS,
    'CreateGroupIdError',
  ],
  permission: 'mq:CreateMqttGroupId',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 10,
  async handle(services, call) {
    const groupId = text(call, 'GroupId');
    refuseGroupId(groupId);
    call.demand(groupId);
    await services.instances.createGroup(text(call, 'InstanceId'), groupId, tags(call));
    return {};
  },
};

const listGroupId: Action = {
  name: 'ListGroupId',
  family: 'group',
  about: 'Lists the groups of an instance, all of them or those with certain tags.',
  origin: 'product',
  parameters: [INSTANCE_ID, ...TAG_PARAMETERS],
  result: [
    {
      name: 'Data',
      many: true,
      about: 'The groups, by name.',
      type: [
        { name: 'CreateTime', type: 'number', about: 'ms since 1970.' },
        { name: 'GroupId', type: 'string', about: 'The group.' },
        {
          name: 'IndependentNaming',
          type: 'boolean',
          about: 'Names belong to one instance: true.',
        },
        { name: 'InstanceId', type: 'string', about: 'Its instance.' },
        {
          name: 'Tags',
          many: true,
          about: 'Its tags.',
          type: [
            { name: 'TagKey', type: 'string', about: 'Key.' },
            { name: 'TagValue', type: 'string', about: 'Value.' },
          ],
        },
        { name: 'UpdateTime', type: 'number', about: 'ms since 1970.' },
      ],
    },
  ],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:ListGroupId',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 10,
  async handle(services, call) {
    const instanceId = text(call, 'InstanceId');
    const wanted = tags(call);
    const groups = services.instances.groups(instanceId);
    return {
      Data: groups
        .filter((group) => hasTags(group.tags, wanted))
        .map((group) => ({
          CreateTime: group.createdMs,
          GroupId: group.groupId,
          IndependentNaming: true,
          InstanceId: instanceId,
          Tags: answerTags(group.tags),
          UpdateTime: group.updatedMs,
        })),
    };
  },
};

const deleteGroupId: Action = {
  name: 'DeleteGroupId',
  family: 'group',
  about: 'Removes a group. Its devices stay connected and are refused when they come again.',
  origin: 'product',
  parameters: [GROUP_ID, INSTANCE_ID],
  result: [],
  answer: 'bare',
  faults: [...FAULTS, 'ResourcePermissionCheckFailed', 'DeleteGroupIdError'],
  permission: 'mq:DeleteMqttGroupId',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 10,
  async handle(services, call) {
    const groupId = text(call, 'GroupId');
    refuseGroupId(groupId);
    call.demand(groupId);
    await services.instances.deleteGroup(text(call, 'InstanceId'), groupId);
    return {};
  },
};

export const groupActions: readonly Action[] = [createGroupId, listGroupId, deleteGroupId];

/** Before the right to it is asked for: a policy knows nothing of malformed names. */
function refuseGroupId(groupId: string): void {
  const flaw = groupIdFlaw(groupId);
  if (flaw !== undefined) throw new ApiFault('ParameterFieldCheckFailed', `${flaw}.`);
}
