/** `ternmq pub`: publishes one message, or one a line, and waits for what the broker says. */
import { readFileSync } from 'node:fs';
import {
  anyTextKind,
  optional,
  type OptionTable,
  showOptions,
  switchKind,
  textKind,
  textsKind,
  UsageError,
  choiceKind,
} from '#config';
import type { Qos } from '#wire';
import {
  CONNECT_OPTIONS,
  type ConnectOptions,
  openClient,
  readCommand,
} from './connect-options.ts';
import type { Client } from './client.ts';
import { CommandError, type CommandIo, EXIT, orStopped, readInput } from './io.ts';
import { encodeNamedProperties, PROPERTY_NAMES } from './message-properties.ts';

interface PubOptions extends ConnectOptions {
  readonly topic: string | undefined;
  readonly message: string | undefined;
  readonly file: string | undefined;
  readonly stdinLines: boolean;
  readonly qos: '0' | '1' | '2';
  readonly retain: boolean;
  readonly property: readonly string[];
  readonly userProperty: readonly string[];
  readonly json: boolean;
}

const GROUP = 'Message';

const PUB_OPTIONS: OptionTable<PubOptions> = {
  topic: {
    kind: optional(textKind('TOPIC')),
    short: 't',
    group: GROUP,
    text: 'Topic to publish to.',
  },
  message: {
    kind: optional(anyTextKind('TEXT')),
    short: 'm',
    group: GROUP,
    text: "Payload. Empty with --retain: removes the topic's retained message.",
  },
  file: {
    kind: optional(textKind('FILE')),
    short: 'f',
    group: GROUP,
    text: 'Payload from this file; - is standard input.',
  },
  stdinLines: {
    kind: switchKind,
    byDefault: 'false',
    group: GROUP,
    text: 'One message for each line of standard input.',
  },
  qos: {
    kind: choiceKind(['0', '1', '2']),
    byDefault: '1',
    short: 'q',
    group: GROUP,
    text: 'Quality of service. At 0 nobody says whether the broker has it.',
  },
  retain: {
    kind: switchKind,
    byDefault: 'false',
    short: 'r',
    group: GROUP,
    text: 'Retain it: later subscribers get the last one.',
  },
  property: {
    kind: textsKind('NAME=VALUE'),
    group: GROUP,
    text: `MQTT 5.0 property: ${PROPERTY_NAMES.join(', ')}. Repeatable.`,
  },
  userProperty: {
    kind: textsKind('NAME=VALUE'),
    group: GROUP,
    text: 'MQTT 5.0 user property. Repeatable.',
  },
  json: {
    kind: switchKind,
    byDefault: 'false',
    group: GROUP,
    text: 'Say at the end, as JSON, what was published.',
  },
  ...CONNECT_OPTIONS,
};

/** Help of `ternmq pub`. */
export function pubHelp(io: CommandIo): string {
  const usage = 'Usage: ternmq pub --topic TOPIC (--message TEXT | --file FILE | --stdin-lines)';
  return `${usage}\n${showOptions(PUB_OPTIONS, io.paint, io.columns)}`;
}

/** Runs `ternmq pub`; resolves to the exit code. */
export async function runPub(argv: readonly string[], io: CommandIo): Promise<number> {
  const { values } = readCommand(PUB_OPTIONS, argv, io);
  if (values.help) {
    io.write(pubHelp(io));
    return EXIT.ok;
  }
  const topic = checkOptions(values);
  const properties = encodeNamedProperties(values.property, values.userProperty);
  const form = {
    topic,
    qos: Number(values.qos) as Qos,
    retain: values.retain,
    properties,
  };
  const payload = values.stdinLines ? undefined : await readPayload(values, io);
  const client = await openClient(values, io);
  try {
    let count = 1;
    if (payload === undefined) count = await publishLines(client, form, io);
    else await orStopped(client.publish({ ...form, payload }), io);
    await client.close();
    if (values.json) io.write(`${JSON.stringify({ published: count, topic, qos: form.qos })}\n`);
  } finally {
    await client.close();
  }
  return EXIT.ok;
}

function checkOptions(values: PubOptions): string {
  const problems: string[] = [];
  if (values.topic === undefined) problems.push('--topic is missing: where should it go?');
  const sources = [values.message !== undefined, values.file !== undefined, values.stdinLines];
  if (sources.filter(Boolean).length !== 1) {
    problems.push('give one of --message, --file and --stdin-lines');
  }
  if (values.topic !== undefined && /[+#]/.test(values.topic)) {
    problems.push(`--topic: ${JSON.stringify(values.topic)} has a wildcard; publish to one topic`);
  }
  if (values.protocol !== '5' && values.property.length + values.userProperty.length > 0) {
    problems.push('properties need --protocol 5');
  }
  if (problems.length > 0) throw new UsageError(problems);
  return values.topic!;
}

async function readPayload(values: PubOptions, io: CommandIo): Promise<Uint8Array> {
  if (values.message !== undefined) return Buffer.from(values.message);
  if (values.file === '-') {
    const chunks: Uint8Array[] = [];
    for await (const chunk of readInput(io.input, io.stop)) chunks.push(chunk);
    if (io.stop.aborted) throw new CommandError('stopped before the payload had come');
    return Buffer.concat(chunks);
  }
  try {
    return readFileSync(values.file!);
  } catch (error) {
    throw new CommandError(`cannot read ${values.file}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

type Form = Omit<Parameters<Client['publish']>[0], 'payload'>;

/** Publishes line by line, many under way at once; the first refusal ends it, at once. */
async function publishLines(client: Client, form: Form, io: CommandIo): Promise<number> {
  const underWay = new Set<Promise<unknown>>();
  let count = 0;
  let failure: Error | undefined;
  const failed = new AbortController();
  const fail = (error: Error): void => {
    failure ??= error;
    failed.abort();
  };
  client.lost.catch(fail);
  const stopTelling = io.isTerminal
    ? io.clock.every(500, () => io.writeError(`\r${count.toLocaleString('en')} published `))
    : () => {};
  try {
    const enough = AbortSignal.any([io.stop, failed.signal]);
    for await (const line of splitLines(readInput(io.input, enough))) {
      if (enough.aborted) break;
      const sent = client
        .publish({ ...form, payload: line })
        .then(() => count++)
        .catch(fail)
        .finally(() => underWay.delete(sent));
      underWay.add(sent);
      if (underWay.size >= LINES_UNDER_WAY_MAX) await orStopped(Promise.race(underWay), io);
    }
    if (underWay.size > 0) await orStopped(Promise.all(underWay), io);
  } finally {
    stopTelling();
    if (io.isTerminal) io.writeError(`\r${count.toLocaleString('en')} published\n`);
  }
  if (failure !== undefined) throw failure;
  return count;
}

const LINES_UNDER_WAY_MAX = 1_000;

async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const chunk of chunks) {
    const bytes = Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      const cut = end > start && bytes[end - 1] === 13 ? end - 1 : end;
      yield bytes.subarray(start, cut);
      start = end + 1;
    }
    rest = bytes.subarray(start);
  }
  if (rest.length > 0) yield rest;
}
