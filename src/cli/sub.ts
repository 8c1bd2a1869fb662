/** `ternmq sub`: subscribes and prints what comes, until enough came or somebody says stop. */
import { isUtf8 } from 'node:buffer';
import {
  choiceKind,
  durationKind,
  optional,
  type OptionTable,
  showDuration,
  showOptions,
  switchKind,
  textsKind,
  UsageError,
  wholeKind,
} from '#config';
import type { PublishPacket, Qos } from '#wire';
import { type Client, inWords } from './client.ts';
import {
  CONNECT_OPTIONS,
  type ConnectOptions,
  openClient,
  readCommand,
} from './connect-options.ts';
import { CommandError, type CommandIo, EXIT, orStopped } from './io.ts';
import { describeProperties } from './message-properties.ts';

interface SubOptions extends ConnectOptions {
  readonly topic: readonly string[];
  readonly qos: '0' | '1' | '2';
  readonly count: number | undefined;
  readonly timeout: number | undefined;
  readonly format: 'text' | 'json' | 'hex';
  readonly json: boolean;
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly retained: 'all' | 'new' | 'none';
  readonly noLocal: boolean;
}

const GROUP = 'Subscription';

const SUB_OPTIONS: OptionTable<SubOptions> = {
  topic: {
    kind: textsKind('FILTER'),
    short: 't',
    group: GROUP,
    text: 'Topic filter, with + and # as wildcards. Repeatable.',
  },
  qos: {
    kind: choiceKind(['0', '1', '2']),
    byDefault: '1',
    short: 'q',
    group: GROUP,
    text: 'The highest quality of service wanted.',
  },
  count: {
    kind: optional(wholeKind(1, 1e12)),
    group: GROUP,
    text: 'Leave after this many messages.',
  },
  timeout: {
    kind: optional(durationKind(1, 86_400_000 * 365)),
    group: GROUP,
    text: 'Leave after this time; with --count that is a failure.',
  },
  format: {
    kind: choiceKind(['text', 'json', 'hex']),
    byDefault: 'text',
    group: GROUP,
    text: 'How a message is printed: its payload, everything in a line of JSON, or its bytes.',
  },
  json: { kind: switchKind, byDefault: 'false', group: GROUP, text: 'The same as --format json.' },
  verbose: {
    kind: switchKind,
    byDefault: 'false',
    short: 'v',
    group: GROUP,
    text: 'Print the topic before the payload.',
  },
  quiet: {
    kind: switchKind,
    byDefault: 'false',
    group: GROUP,
    text: 'Do not say on standard error that the subscription stands.',
  },
  retained: {
    kind: choiceKind(['all', 'new', 'none']),
    byDefault: 'all',
    group: GROUP,
    text: 'Whether to get retained messages: always, only of a new subscription, or not (5.0).',
  },
  noLocal: {
    kind: switchKind,
    byDefault: 'false',
    group: GROUP,
    text: 'Not what this client published itself (5.0).',
  },
  ...CONNECT_OPTIONS,
};

const RETAIN_HANDLING = { all: 0, new: 1, none: 2 } as const;

/** Help of `ternmq sub`. */
export function subHelp(io: CommandIo): string {
  const usage = 'Usage: ternmq sub --topic FILTER...';
  return `${usage}\n${showOptions(SUB_OPTIONS, io.paint, io.columns)}`;
}

/** Runs `ternmq sub`; resolves to the exit code. */
export async function runSub(argv: readonly string[], io: CommandIo): Promise<number> {
  const { values } = readCommand(SUB_OPTIONS, argv, io);
  if (values.help) {
    io.write(subHelp(io));
    return EXIT.ok;
  }
  if (values.topic.length === 0) throw new UsageError(['--topic is missing: subscribe to what?']);
  const format = values.json ? 'json' : values.format;
  const countMax = values.count ?? Number.POSITIVE_INFINITY;
  let count = 0;
  const { promise: enough, resolve } = Promise.withResolvers<'enough'>();
  const client = await openClient(values, io, (message) => {
    if (count >= countMax) return false;
    io.write(show(message, format, values.verbose));
    if (++count >= countMax) resolve('enough');
    return true;
  });
  try {
    await subscribe(client, values, io);
    const end = await Promise.race([enough, client.lost, stopped(values, io)]);
    if (end === 'late' && values.count !== undefined) {
      const time = showDuration(values.timeout!);
      throw new CommandError(`${count} of ${values.count} messages came within ${time}`);
    }
  } finally {
    await client.close();
  }
  return EXIT.ok;
}

async function subscribe(client: Client, values: SubOptions, io: CommandIo): Promise<void> {
  const requests = values.topic.map((filter) => ({
    filter,
    invalid: false,
    qos: Number(values.qos) as Qos,
    noLocal: values.noLocal,
    retainAsPublished: true,
    retainHandling: RETAIN_HANDLING[values.retained],
  }));
  const granted = await orStopped(client.subscribe(requests), io);
  const refused = values.topic.flatMap((filter, index) => {
    const code = granted[index] ?? 0x80;
    return code < 0x80 ? [] : [`${filter}: ${inWords(code, undefined)}`];
  });
  if (refused.length > 0) throw new CommandError(`the broker refused: ${refused.join('; ')}`);
  if (values.quiet) return;
  const said = values.topic.map((filter, index) => `${filter} (QoS ${granted[index]})`);
  io.writeError(`subscribed to ${said.join(', ')}\n`);
}

/** Resolves when the user wants an end, or the time is up. */
function stopped(values: SubOptions, io: CommandIo): Promise<'stop' | 'late'> {
  return new Promise((resolve) => {
    if (io.stop.aborted) resolve('stop');
    io.stop.addEventListener('abort', () => resolve('stop'));
    if (values.timeout !== undefined) io.clock.after(values.timeout, () => resolve('late'));
  });
}

function show(
  message: PublishPacket,
  format: SubOptions['format'],
  verbose: boolean,
): string | Uint8Array {
  const payload = Buffer.from(message.payload); // the bytes are the reader's, printing is later
  if (format === 'json') {
    const body = isUtf8(payload)
      ? { payload: payload.toString() }
      : { payloadBase64: payload.toString('base64') };
    const { topic, qos, retain, dup } = message;
    const properties = describeProperties(message.properties);
    return `${JSON.stringify({ topic, qos, retain, dup, ...body, ...properties })}\n`;
  }
  const head = verbose ? `${message.topic} ` : '';
  if (format === 'hex') return `${head}${payload.toString('hex')}\n`;
  return Buffer.concat([Buffer.from(head), payload, Buffer.of(10)]);
}
