/** Small actions to knock at a control door with, signed calls of them, and what to expect. */
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { type Clock, Fault } from '#base';
import { type Action, ApiFault, type Call } from '#control';
import { signApiRequest } from '../../src/cli/api-signature.ts';
import { number, text } from '../../src/control/action.ts';
import type { DoorAnswer, TestDoor } from './control-door.ts';

const INSTANCE = {
  name: 'InstanceId',
  type: 'string',
  required: true,
  about: 'The instance.',
} as const;

/** Answers what it was given. */
const echo: Action = {
  name: 'Echo',
  family: 'message',
  about: 'Answers its arguments.',
  origin: 'ternmq',
  parameters: [
    INSTANCE,
    { name: 'Text', type: 'string', required: true, about: 'Any text.', charsMax: 70_000 },
    { name: 'Count', type: 'integer', required: false, about: 'A number.', min: 1, max: 10 },
    { name: 'Flag', type: 'boolean', required: false, about: 'Yes or no.' },
    { name: 'List', type: 'list', required: false, about: 'Texts.', max: 12 },
    { name: 'Tag', type: 'tags', required: false, about: 'Tags.' },
    { name: 'Json', type: 'json', required: false, about: 'Some JSON.' },
    { name: 'Kind', type: 'string', required: false, about: 'A or B.', oneOf: ['A', 'B'] },
  ],
  result: [],
  answer: 'bare',
  faults: ['ParameterCheckFailed', 'PermissionCheckFailed'],
  permission: 'mq:Echo',
  instanceParameter: 'InstanceId',
  callsPerSecondMax: 100,
  handle: (_services, call) => Promise.resolve({ Given: { ...call.arguments } }),
};

function variant(name: string, changes: Partial<Action>): Action {
  return { ...echo, name, parameters: [], instanceParameter: undefined, ...changes };
}

const never = new Promise<never>(() => undefined);

/** What the doors of these tests serve. */
export const ACTIONS: readonly Action[] = [
  echo,
  variant('Fail', {
    parameters: [{ name: 'Why', type: 'string', required: true, about: 'How.' }],
    handle: (_services, call) => Promise.reject(failure(text(call, 'Why'))),
  }),
  variant('Hang', { handle: () => never }),
  variant('Rare', { callsPerSecondMax: 2, handle: () => Promise.resolve({}) }),
  variant('ApplyToken', {
    origin: 'product',
    callsPerSecondMax: 1,
    faults: ['ApplyTokenOverFlow'],
    handle: () => Promise.resolve({}),
  }),
  variant('Numbered', { answer: 'number', handle: () => Promise.resolve({ Data: 1 }) }),
  variant('Texted', { answer: 'text', handle: () => Promise.resolve({}) }),
  variant('Demanding', {
    parameters: [INSTANCE, { name: 'Topic', type: 'string', required: true, about: 'A topic.' }],
    instanceParameter: 'InstanceId',
    handle: (_services, call: Call) => {
      call.demand(text(call, 'Topic'));
      return Promise.resolve({ Count: number(call, 'Count') });
    },
  }),
];

function failure(why: string): Error {
  if (why === 'bug') return new TypeError('a secret detail of ours');
  if (why === 'api') return new ApiFault('SnNotUnique');
  return new Fault(why as 'notFound', 'why it failed');
}

/** Good arguments for Echo. */
export const GIVEN: Readonly<Record<'InstanceId' | 'Text', string>> = {
  InstanceId: 'default',
  Text: 'hello',
};

/** A refusal as clients can read it. */
export function assertRefused(answer: DoorAnswer, status: number, code: string): void {
  assert.equal(answer.body['Code'], code, answer.text);
  assert.equal(answer.status, status);
  assertTraceable(answer);
  assert.equal(typeof answer.body['Message'], 'string');
}

/** JSON with a request id, in the body and in the header. */
export function assertTraceable(answer: DoorAnswer): void {
  const id = answer.body['RequestId'];
  assert.match(String(id), /^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$/);
  assert.equal(answer.headers['x-acs-request-id'], id);
  assert.match(answer.headers['content-type'] ?? '', /^application\/json/);
}

export interface SigningKey {
  readonly id: string;
  readonly secret: string;
  readonly securityToken?: string;
}

/** A signed call of Echo, to be sent as it is or spoilt. */
export function sign(
  door: TestDoor,
  key: SigningKey = door.key,
  clock: Clock = door.services.clock,
): ReturnType<typeof signApiRequest> {
  const { host, services } = door;
  return signApiRequest(
    {
      host,
      action: 'Echo',
      version: '2020-04-20',
      parameters: Object.entries(GIVEN),
      key: {
        accessKeyId: key.id,
        accessKeySecret: key.secret,
        securityToken: key.securityToken,
      },
    },
    clock,
    services.random,
  );
}

/** Headers for a call whose parameters are all in the query. */
export function signEmpty(
  door: TestDoor,
  method: string,
  bodyHash: string,
): Record<string, string> {
  const names = ['host', 'x-acs-action', 'x-acs-content-sha256', 'x-acs-date'];
  names.push('x-acs-signature-nonce', 'x-acs-version');
  const headers: Record<string, string> = {
    host: door.host,
    'x-acs-action': 'Echo',
    'x-acs-version': '2020-04-20',
    'x-acs-date': `${new Date().toISOString().slice(0, 19)}Z`,
    'x-acs-signature-nonce': Buffer.from(door.services.random.bytes(16)).toString('hex'),
    'x-acs-content-sha256': bodyHash,
  };
  const lines = names.map((name) => `${name}:${headers[name]}\n`).join('');
  const canonical = `${method}\n/\nInstanceId=default&Text=x\n${lines}\n${names.join(';')}\n${bodyHash}`;
  const hash = createHash('sha256').update(canonical).digest('hex');
  const mac = createHmac('sha256', door.key.secret).update(`ACS3-HMAC-SHA256\n${hash}`);
  const list = `SignedHeaders=${names.join(';')},Signature=${mac.digest('hex')}`;
  return { ...headers, authorization: `ACS3-HMAC-SHA256 Credential=${door.key.id},${list}` };
}
