/** Parent topics: the first level of every topic in a compatible instance. */
import { parentTopicFlaw } from '#instances';
import { type Action, type Parameter, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import { INSTANCE_ID } from './call-arguments.ts';

const TOPIC: Parameter = {
  name: 'Topic',
  type: 'string',
  required: true,
  about: '3 to 64 letters, digits, `-` and `_`; no two differ in case alone.',
};

const FAULTS: readonly ApiFaultCode[] = [
  'ParameterCheckFailed',
  'InstancePermissionCheckFailed',
  'PermissionCheckFailed',
  'ServiceUnavailable',
  'InternalError',
];

const createTopic: Action = {
  name: 'CreateTopic',
  family: 'topic',
  about: 'Makes a parent topic.',
  origin: 'ternmq',
  parameters: [INSTANCE_ID, TOPIC],
  result: [],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:CreateTopic',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  async handle(services, call) {
    const topic = text(call, 'Topic');
    refuseTopic(topic);
    call.demand(topic);
    await services.instances.createTopic(text(call, 'InstanceId'), topic);
    return {};
  },
};

const listTopics: Action = {
  name: 'ListTopics',
  family: 'topic',
  about: 'Lists the parent topics of an instance.',
  origin: 'ternmq',
  parameters: [INSTANCE_ID],
  result: [
    {
      name: 'Topics',
      many: true,
      about: 'The parent topics, by name.',
      type: [
        { name: 'Topic', type: 'string', about: 'The parent topic.' },
        { name: 'InstanceId', type: 'string', about: 'Its instance.' },
        { name: 'CreateTime', type: 'number', about: 'ms since 1970.' },
      ],
    },
  ],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:ListTopics',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  async handle(services, call) {
    const instanceId = text(call, 'InstanceId');
    const topics = services.instances.topics(instanceId);
    return {
      Topics: topics.map(({ topic, createdMs }) => ({
        Topic: topic,
        InstanceId: instanceId,
        CreateTime: createdMs,
      })),
    };
  },
};

const deleteTopic: Action = {
  name: 'DeleteTopic',
  family: 'topic',
  about: 'Removes a parent topic: nothing can be published or subscribed below it any more.',
  origin: 'ternmq',
  parameters: [INSTANCE_ID, TOPIC],
  result: [],
  answer: 'bare',
  faults: FAULTS,
  permission: 'mq:DeleteTopic',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  async handle(services, call) {
    const topic = text(call, 'Topic');
    refuseTopic(topic);
    call.demand(topic);
    await services.instances.deleteTopic(text(call, 'InstanceId'), topic);
    return {};
  },
};

export const topicActions: readonly Action[] = [createTopic, listTopics, deleteTopic];

function refuseTopic(topic: string): void {
  const flaw = parentTopicFlaw(topic);
  if (flaw !== undefined) throw new ApiFault('ParameterCheckFailed', `${flaw}.`);
}
