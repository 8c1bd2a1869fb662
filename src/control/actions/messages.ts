/** Messages from a backend to whoever subscribes, or to one client by `<parent>/p2p/<client>`. */
import type { Instance } from '#instances';
import { parentOf } from '#instances';
import { type Action, text } from '../action.ts';
import { ApiFault } from '../api-fault.ts';
import { INSTANCE_ID, instanceOf } from './call-arguments.ts';

const TOPIC_BYTES_MAX = 65_535;
const P2P_LEVEL = 'p2p';

const sendMessage: Action = {
  name: 'SendMessage',
  family: 'message',
  about: 'Sends a message; answers once it is on disk.',
  origin: 'product',
  parameters: [
    INSTANCE_ID,
    {
      name: 'MqttTopic',
      type: 'string',
      required: true,
      about: 'The topic. In a compatible instance its first level must have been made.',
    },
    {
      name: 'Payload',
      type: 'string',
      required: true,
      about: 'Text, passed on as it is in UTF-8; for other bytes agree on base64.',
    },
  ],
  result: [{ name: 'MsgId', type: 'string', about: 'The message: 32 hex digits, upper case.' }],
  answer: 'bare',
  faults: [
    'CheckAccountInfoFailed',
    'InstancePermissionCheckFailed',
    'ParameterCheckFailed',
    'PermissionCheckFailed',
    'SendMessageFailed',
  ],
  permission: 'mq:SendMessage',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 1000,
  async handle(services, call) {
    const instance = instanceOf(services, call);
    const topic = text(call, 'MqttTopic');
    refuse(malformed(topic));
    call.demand(topic);
    refuse(notOfInstance(instance, topic));
    const payload = Buffer.from(text(call, 'Payload'));
    if (payload.length > instance.limits.payloadBytesMax) {
      refuse(`Payload has more than ${instance.limits.payloadBytesMax} bytes.`);
    }
    return { MsgId: await services.broker.sendMessage(instance.id, topic, payload) };
  },
};

export const messageActions: readonly Action[] = [sendMessage];

function refuse(flaw: string | undefined): void {
  if (flaw !== undefined) throw new ApiFault('ParameterCheckFailed', flaw);
}

function malformed(topic: string): string | undefined {
  if (topic === '' || Buffer.byteLength(topic) > TOPIC_BYTES_MAX) {
    return `MqttTopic has 1 to ${TOPIC_BYTES_MAX} bytes.`;
  }
  if (/[+#\0]/.test(topic)) return 'MqttTopic is a topic, not a filter: no + and no #.';
  if (topic.startsWith('$')) return "MqttTopic is one of the server's own.";
  return undefined;
}

function notOfInstance(instance: Instance, topic: string): string | undefined {
  const parent = parentOf(topic);
  const compatible = instance.kind === 'compatible';
  if (compatible && !instance.hasParentTopic(parent)) return 'The parent topic does not exist.';
  // The client identifier in a P2P topic has a bound of its own.
  const checked = compatible && isPersonal(topic) ? parent : topic;
  if (checked.length <= instance.limits.topicCharsMax) return undefined;
  return `MqttTopic has more than ${instance.limits.topicCharsMax} characters.`;
}

function isPersonal(topic: string): boolean {
  const levels = topic.split('/');
  return levels.length === 3 && levels[1] === P2P_LEVEL && levels[2] !== '';
}
