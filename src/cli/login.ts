/**
 * `ternmq login`: proves an access key at an endpoint, and keeps both for `ternmq api`.
 *
 * The secret comes from the environment, the terminal or standard input, never from a flag: flags
 * are seen by everybody on the machine and stay in the shell's history.
 */
import { isAbsolute, resolve } from 'node:path';
import type { ReadStream } from 'node:tty';
import {
  optional,
  type OptionTable,
  readEnvironment,
  readFlags,
  resolveOptions,
  showOptions,
  showWebUrl,
  switchKind,
  textKind,
  UsageError,
  type WebUrl,
  webUrlKind,
} from '#config';
import { ApiRefusal, callApi } from './api-client.ts';
import { CommandError, type CommandIo, EXIT, readInput } from './io.ts';
import { writeProfile } from './profile.ts';

interface LoginOptions {
  readonly endpoint: WebUrl | undefined;
  readonly accessKeyId: string | undefined;
  readonly ca: string | undefined;
  readonly help: boolean;
}

const GROUP = 'Options';
const SECRET_CHARS_MAX = 1_024;

const LOGIN_OPTIONS: OptionTable<LoginOptions> = {
  endpoint: {
    kind: optional(webUrlKind),
    environment: true,
    group: GROUP,
    text: 'The control API. TERNMQ_ENDPOINT sets it as well.',
  },
  accessKeyId: {
    kind: optional(textKind('ID')),
    environment: true,
    group: GROUP,
    text: 'The access key. TERNMQ_ACCESS_KEY_ID sets it as well.',
  },
  ca: {
    kind: optional(textKind('FILE')),
    group: GROUP,
    text: 'Trust the certificates in this PEM file (https), now and later.',
  },
  help: { kind: switchKind, byDefault: 'false', short: 'h', group: GROUP, text: 'Show this.' },
};

const USAGE = `Usage: ternmq login --endpoint URL --access-key-id ID

The secret comes from TERNMQ_ACCESS_KEY_SECRET, or is asked for on the terminal, or is the first
line of standard input.
`;

/** Runs `ternmq login`; resolves to the exit code. */
export async function runLogin(argv: readonly string[], io: CommandIo): Promise<number> {
  const { source, operands } = readFlags(LOGIN_OPTIONS, argv);
  if (operands.length > 0) {
    throw new UsageError([`unexpected word ${JSON.stringify(operands[0])}: see --help`]);
  }
  const environment = readEnvironment(LOGIN_OPTIONS, io.environment);
  const { values } = resolveOptions(LOGIN_OPTIONS, [source, environment]);
  if (values.help) {
    io.write(`${USAGE}${showOptions(LOGIN_OPTIONS, io.paint, io.columns)}`);
    return EXIT.ok;
  }
  const { endpoint, accessKeyId } = values;
  if (endpoint === undefined || accessKeyId === undefined) {
    throw new UsageError(['give --endpoint URL and --access-key-id ID']);
  }
  const accessKeySecret = await findSecret(io);
  const ca = values.ca === undefined || isAbsolute(values.ca) ? values.ca : resolve(values.ca);
  await prove({ endpoint, ca, key: { accessKeyId, accessKeySecret } }, io);
  const shown = showWebUrl(endpoint);
  const path = writeProfile({ endpoint: shown, accessKeyId, accessKeySecret, ca }, io);
  io.write(`logged in at ${shown} as ${accessKeyId}; kept in ${path}\n`);
  return EXIT.ok;
}

const UNPROVEN = /^(InvalidAccessKeyId\.|SignatureDoesNotMatch|InvalidTimeStamp\.|Throttling)/;

/** Any answer that is not about the key itself proves it: it may well lack this one right. */
async function prove(
  door: Pick<Parameters<typeof callApi>[0], 'endpoint' | 'ca' | 'key'>,
  io: CommandIo,
): Promise<void> {
  try {
    await callApi({ ...door, action: 'ListInstances', parameters: [] }, io);
  } catch (error) {
    if (!(error instanceof ApiRefusal)) throw error;
    if (error.code === 'SignatureDoesNotMatch') {
      throw new CommandError('the secret is not that of the access key', { cause: error });
    }
    if (UNPROVEN.test(error.code)) throw error;
  }
}

async function findSecret(io: CommandIo): Promise<string> {
  const given = io.environment['TERNMQ_ACCESS_KEY_SECRET'] ?? '';
  if (given !== '') return given;
  const terminal = terminalOf(io);
  const secret = terminal === undefined ? await readLine(io) : await ask(terminal, io);
  if (secret === '') throw new CommandError('no secret was given');
  return secret;
}

function terminalOf({ input }: CommandIo): ReadStream | undefined {
  const stream = input as Partial<ReadStream>;
  return stream.isTTY === true ? (stream as ReadStream) : undefined;
}

async function readLine(io: CommandIo): Promise<string> {
  let text = '';
  for await (const chunk of readInput(io.input, io.stop)) {
    text += Buffer.from(chunk).toString();
    if (text.includes('\n') || text.length > SECRET_CHARS_MAX) break;
  }
  if (io.stop.aborted) throw new CommandError('interrupted');
  return text.split(/\r?\n/)[0]!;
}

/** In raw mode the terminal shows nothing of what is typed. */
async function ask(terminal: ReadStream, io: CommandIo): Promise<string> {
  terminal.setRawMode(true); // before anybody is asked: the first letters count as well
  io.writeError('Access key secret: ');
  let secret = '';
  try {
    for await (const chunk of terminal as AsyncIterable<Uint8Array>) {
      for (const character of Buffer.from(chunk).toString()) {
        if (character === '\r' || character === '\n' || character === '\u0004') return secret;
        if (character === '\u0003') throw new CommandError('interrupted');
        if (character === '\u007f' || character === '\b') secret = secret.slice(0, -1);
        else if (secret.length < SECRET_CHARS_MAX) secret += character;
      }
    }
    return secret;
  } finally {
    terminal.setRawMode(false);
    io.writeError('\n');
  }
}
