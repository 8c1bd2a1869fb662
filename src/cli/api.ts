/**
 * `ternmq api`: one call of the control API, from the shell.
 *
 * Which actions there are comes in as data: this command knows the API by its wire alone.
 */
import {
  optional,
  type OptionTable,
  readEnvironment,
  readFlags,
  resolveOptions,
  showOptions,
  switchKind,
  textKind,
  UsageError,
  type WebUrl,
  parseWebUrl,
  webUrlKind,
} from '#config';
import { callApi } from './api-client.ts';
import { type ApiAction, findAction, readParameters, sortWords } from './api-parameters.ts';
import type { ApiKey } from './api-signature.ts';
import { CommandError, type CommandIo, EXIT } from './io.ts';
import { type Profile, readProfile } from './profile.ts';

interface ApiOptions {
  readonly endpoint: WebUrl | undefined;
  readonly ca: string | undefined;
  readonly json: boolean;
  readonly help: boolean;
}

const GROUP = 'Options';

const API_OPTIONS: OptionTable<ApiOptions> = {
  endpoint: {
    kind: optional(webUrlKind),
    environment: true,
    group: GROUP,
    text: 'The control API. TERNMQ_ENDPOINT sets it as well, and ternmq login keeps it.',
  },
  ca: {
    kind: optional(textKind('FILE')),
    group: GROUP,
    text: 'Trust the certificates in this PEM file (https).',
  },
  json: {
    kind: switchKind,
    byDefault: 'true',
    group: GROUP,
    text: 'Print the answer as JSON, as is done anyway.',
  },
  help: {
    kind: switchKind,
    byDefault: 'false',
    short: 'h',
    group: GROUP,
    text: 'Show this; after an action, its parameters.',
  },
};

/** Runs `ternmq api`; resolves to the exit code. */
export async function runApi(
  argv: readonly string[],
  io: CommandIo,
  actions: readonly ApiAction[],
): Promise<number> {
  const words = sortWords(argv);
  const { source, operands } = readFlags(API_OPTIONS, words.rest);
  if (operands.length > 0) {
    throw new UsageError([`unexpected word ${JSON.stringify(operands[0])}: see --help`]);
  }
  const environment = readEnvironment(API_OPTIONS, io.environment);
  const { values } = resolveOptions(API_OPTIONS, [source, environment]);
  if (words.name === undefined) {
    if (!values.help) throw new UsageError(['which action? See ternmq api --help']);
    io.write(listHelp(actions, io));
    return EXIT.ok;
  }
  const action = findAction(actions, words.name);
  if (values.help) {
    io.write(actionHelp(action, io));
    return EXIT.ok;
  }
  const parameters = readParameters(action, words.given);
  const answer = await callApi({ ...findDoor(values, io), action: action.name, parameters }, io);
  io.write(`${JSON.stringify(answer, undefined, 2)}\n`);
  return EXIT.ok;
}

interface ApiDoor {
  readonly endpoint: WebUrl;
  readonly ca: string | undefined;
  readonly key: ApiKey;
}

/** Flags first, then the environment, then the profile. */
function findDoor(values: ApiOptions, io: CommandIo): ApiDoor {
  const given = keyOfEnvironment(io);
  const profile =
    given === undefined || values.endpoint === undefined ? readProfile(io) : undefined;
  const endpoint = values.endpoint ?? endpointOf(profile);
  if (endpoint === undefined) {
    throw new UsageError(['where is the control API? Give --endpoint URL, or ternmq login first']);
  }
  const key = given ?? profile;
  if (key === undefined) {
    const variables = 'TERNMQ_ACCESS_KEY_ID and TERNMQ_ACCESS_KEY_SECRET';
    throw new UsageError([`no access key: set ${variables}, or ternmq login first`]);
  }
  return { endpoint, key, ca: values.ca ?? profile?.ca };
}

function keyOfEnvironment({ environment }: CommandIo): ApiKey | undefined {
  const accessKeyId = environment['TERNMQ_ACCESS_KEY_ID'] ?? '';
  const accessKeySecret = environment['TERNMQ_ACCESS_KEY_SECRET'] ?? '';
  if (accessKeyId === '') return undefined;
  if (accessKeySecret === '') {
    throw new UsageError(['TERNMQ_ACCESS_KEY_ID is set, and TERNMQ_ACCESS_KEY_SECRET is not']);
  }
  const token = environment['TERNMQ_SECURITY_TOKEN'] ?? '';
  return { accessKeyId, accessKeySecret, securityToken: token === '' ? undefined : token };
}

function endpointOf(profile: Profile | undefined): WebUrl | undefined {
  if (profile === undefined) return undefined;
  const url = parseWebUrl(profile.endpoint);
  if (url === undefined) throw new CommandError('the profile has no usable endpoint: log in again');
  return url;
}

const USAGE = `Usage: ternmq api ACTION [--Parameter VALUE ...] [OPTIONS]

The access key comes from TERNMQ_ACCESS_KEY_ID and TERNMQ_ACCESS_KEY_SECRET (with a temporary
key, TERNMQ_SECURITY_TOKEN as well), or from the profile that ternmq login wrote.
`;

function listHelp(actions: readonly ApiAction[], io: CommandIo): string {
  const families = Map.groupBy(actions, ({ family }) => family);
  let text = `${USAGE}${showOptions(API_OPTIONS, io.paint, io.columns)}`;
  for (const [family, members] of families) {
    text += `\n${io.paint.bold(`Actions: ${family}`)}\n`;
    for (const { name, about } of members) text += `  ${name}\n      ${about}\n`;
  }
  return text;
}

function actionHelp(action: ApiAction, io: CommandIo): string {
  let text = `Usage: ternmq api ${action.name} [--Parameter VALUE ...] [OPTIONS]\n`;
  text += `\n${action.about}\n\n${io.paint.bold('Parameters')}\n`;
  for (const { name, type, required, about } of action.parameters) {
    const many =
      type === 'list' ? ' (repeatable)' : type === 'tags' ? ' KEY=VALUE (repeatable)' : '';
    const need = required ? '' : ` ${io.paint.dim('(optional)')}`;
    text += `  --${name}${many}${need}\n      ${about.replaceAll('`', '')}\n`;
  }
  if (action.parameters.length === 0) text += '  none\n';
  return `${text}${showOptions(API_OPTIONS, io.paint, io.columns)}`;
}
