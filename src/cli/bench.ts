/**
 * `ternmq bench`: loads any MQTT broker and says what it did. What is asked for is turned into a
 * plan, the plan is run by `load/`, and the answer is a small table or one line of JSON.
 */
import { systemRandom } from '#base';
import {
  choiceKind,
  type Kind,
  numberKind,
  optional,
  type OptionTable,
  readEnvironment,
  readFlags,
  resolveOptions,
  showOptions,
  type Source,
  switchKind,
  textKind,
  UsageError,
  wholeKind,
} from '#config';
import { CREDENTIAL_OPTIONS, type Credentials } from './connect-options.ts';
import { type CommandIo, EXIT } from './io.ts';
import { BOUNDS, type BoundedOption, SHAPES, type Shape } from './load/defaults.ts';
import { runLoad } from './load/load.ts';
import type { LoadPlan, LoadResult, Workload } from './load/plan.ts';

export type BenchIo = Pick<
  CommandIo,
  'write' | 'writeError' | 'isTerminal' | 'paint' | 'columns' | 'environment'
>;

interface BenchOptions extends Credentials {
  readonly url: string;
  readonly clients: number | undefined;
  readonly publishers: number | undefined;
  readonly subscribers: number | undefined;
  readonly topics: number | undefined;
  readonly qos: '0' | '1' | '2' | undefined;
  readonly size: number;
  readonly seconds: number;
  readonly warmUp: number;
  readonly rate: number;
  readonly window: number | undefined;
  readonly messages: number;
  readonly protocol: '4' | '5';
  readonly clientPrefix: string | undefined;
  readonly topicPrefix: string | undefined;
  readonly processes: number;
  readonly brokerPid: number;
  readonly json: boolean;
  readonly help: boolean;
}

const LOAD = 'Load';
const CONNECTION = 'Connection';
const RUN = 'Run';

function bounded(option: BoundedOption, placeholder = 'N'): Kind<number> {
  return wholeKind(BOUNDS[option].least, BOUNDS[option].most, placeholder);
}

function secondsOf(option: BoundedOption): Kind<number> {
  return numberKind(BOUNDS[option].least, BOUNDS[option].most, 'SECONDS');
}

const OPTIONS: OptionTable<BenchOptions> = {
  clients: {
    kind: optional(bounded('clients')),
    group: LOAD,
    text: "How many of the workload's many.",
  },
  publishers: {
    kind: optional(bounded('clients')),
    group: LOAD,
    text: 'How many publish. By workload.',
  },
  subscribers: {
    kind: optional(bounded('clients')),
    group: LOAD,
    text: 'How many subscribe. By workload.',
  },
  topics: {
    kind: optional(bounded('topics')),
    group: LOAD,
    text: 'How many topics there are. By workload.',
  },
  qos: {
    kind: optional(choiceKind(['0', '1', '2'])),
    group: LOAD,
    text: 'Quality of service of publishing and of subscribing. By workload.',
  },
  size: {
    kind: bounded('size', 'BYTES'),
    byDefault: '128',
    group: LOAD,
    text: 'Bytes of a payload.',
  },
  rate: {
    kind: bounded('rate'),
    byDefault: '1000',
    group: LOAD,
    text: 'Messages a second, for latency.',
  },
  window: {
    kind: optional(bounded('window')),
    group: LOAD,
    text: 'Messages under way per publisher. By workload; 0 at QoS 0: no bound.',
  },
  messages: {
    kind: bounded('messages'),
    byDefault: '100',
    group: LOAD,
    text: 'Messages for each session, for offline.',
  },
  url: {
    // Not from the environment: whoever loads a broker says which one.
    kind: textKind('URL'),
    byDefault: 'mqtt://127.0.0.1:1883',
    group: CONNECTION,
    text: 'Broker to load: mqtt://[user:password@]host[:port].',
  },
  ...CREDENTIAL_OPTIONS,
  protocol: {
    kind: choiceKind(['4', '5']),
    byDefault: '4',
    group: CONNECTION,
    text: 'MQTT version: 4 is 3.1.1, 5 is 5.0.',
  },
  clientPrefix: {
    kind: optional(textKind('TEXT')),
    group: CONNECTION,
    text: 'Client identifiers begin with it. Without one, with a random one.',
  },
  topicPrefix: {
    kind: optional(textKind('TEXT')),
    group: CONNECTION,
    text: 'Topics begin with it. Without one, with a random one.',
  },
  seconds: {
    kind: secondsOf('seconds'),
    byDefault: '5',
    group: RUN,
    text: 'How long to measure.',
  },
  warmUp: {
    kind: secondsOf('warmUp'),
    byDefault: '1',
    group: RUN,
    text: 'How long to run before measuring.',
  },
  processes: {
    kind: bounded('processes'),
    byDefault: '1',
    group: RUN,
    text: 'Processes to share the load among.',
  },
  brokerPid: {
    kind: wholeKind(0, 2 ** 22, 'PID'),
    byDefault: '0',
    group: RUN,
    text: 'A broker on this machine: its memory and processor time. 0: not asked.',
  },
  json: {
    kind: switchKind,
    byDefault: 'false',
    group: RUN,
    text: 'One line of JSON.',
  },
  help: {
    kind: switchKind,
    byDefault: 'false',
    short: 'h',
    group: RUN,
    text: 'Show this.',
  },
};

function help({ paint, columns }: BenchIo): string {
  const workloads = Object.entries(SHAPES).map(
    ([name, { about }]) => `  ${name.padEnd(12)}${about}`,
  );
  return `Usage: ternmq bench WORKLOAD [OPTIONS]

${paint.bold('Workloads')}
${workloads.join('\n')}
${showOptions(OPTIONS, paint, columns)}
It counts what subscribers receive. Do not run it against a broker that others need.
`;
}

/** Runs the command; resolves to the exit code of the process. */
export async function runBench(argv: readonly string[], io: BenchIo): Promise<number> {
  const asked = ask(argv, io.environment);
  if (asked.kind === 'help') {
    io.write(help(io));
    return EXIT.ok;
  }
  if (asked.kind === 'wrong') {
    io.writeError(`ternmq bench: ${asked.text}\nTry: ternmq bench --help\n`);
    return EXIT.usage;
  }
  const { plan } = asked;
  const result = await runLoad(plan, {
    processes: asked.processes,
    deadlineMs: deadlineMsOf(plan),
    onProgress: (step, count) => {
      if (io.isTerminal) io.writeError(`\r\u001b[K${step} ${grouped(count)}`);
    },
  });
  if (io.isTerminal) io.writeError('\r\u001b[K');
  if (asked.json) io.write(`${JSON.stringify(result)}\n`);
  else if (result.failure === undefined) io.write(table(plan, result));
  if (result.failure === undefined) return EXIT.ok;
  io.writeError(`ternmq bench: ${plan.workload}: ${result.failure}\n`);
  return EXIT.failure;
}

type Asked =
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly text: string }
  | {
      readonly kind: 'run';
      readonly plan: LoadPlan;
      readonly processes: number;
      readonly json: boolean;
    };

function ask(argv: readonly string[], environment: CommandIo['environment']): Asked {
  try {
    const { source, operands } = readFlags(OPTIONS, argv);
    const url = urlOf(source.texts.get('url')?.[0] ?? OPTIONS.url.byDefault!);
    const sources = [source, credentialsOf(url), readEnvironment(OPTIONS, environment)];
    const { values } = resolveOptions(OPTIONS, sources);
    if (values.help || operands.length === 0) return { kind: 'help' };
    const [workload, extra] = operands;
    if (extra !== undefined) throw new UsageError([`what is '${extra}'?`]);
    if (workload === undefined || !isWorkload(workload)) {
      throw new UsageError([`no workload '${workload}'`]);
    }
    const { processes, json } = values;
    return { kind: 'run', plan: planOf(workload, values, url), processes, json };
  } catch (error) {
    if (error instanceof UsageError) return { kind: 'wrong', text: error.problems.join('; ') };
    throw error;
  }
}

function isWorkload(name: string): name is Workload {
  return Object.hasOwn(SHAPES, name);
}

function planOf(workload: Workload, values: BenchOptions, url: URL): LoadPlan {
  const shape = SHAPES[workload];
  const chance = Buffer.from(systemRandom.bytes(4)).toString('hex');
  const qos = Number(values.qos ?? shape.qos) as 0 | 1 | 2;
  const plan: LoadPlan = {
    workload,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 1883 : Number(url.port),
    protocol: values.protocol === '5' ? 5 : 4,
    userName: values.user,
    password: values.password,
    clientIdPrefix: values.clientPrefix ?? `bench-${chance}-`,
    topicPrefix: values.topicPrefix ?? `bench-${chance}`,
    qos,
    payloadBytes: values.size,
    publishers: countOf('publishers', values, shape),
    subscribers: countOf('subscribers', values, shape),
    topics: values.topics ?? (shape.topics || 1),
    windowCount: values.window ?? shape.windows[qos],
    ratePerSecond: values.rate,
    connections: countOf('connections', values, shape),
    messagesPerSession: values.messages,
    warmUpMs: values.warmUp * 1000,
    measureMs: values.seconds * 1000,
    settleMs: 5000,
    stallMs: 10_000,
    brokerPid: values.brokerPid,
  };
  const problem = checkTogether(plan);
  if (problem !== undefined) throw new UsageError([problem]);
  return plan;
}

/** What each option allows alone and all do not allow together. */
function checkTogether(plan: LoadPlan): string | undefined {
  if (plan.workload === 'latency' && plan.payloadBytes < 8)
    return '--size of latency is at least 8';
  if (plan.qos > 0 && plan.windowCount === 0) return '--window is at least 1';
  if (plan.workload === 'offline' || plan.workload === 'retained') {
    if (plan.qos !== 1) return `${plan.workload} is measured at --qos 1`;
  }
  const pairs = ['pairs', 'trickle', 'latency'].includes(plan.workload);
  if (pairs && plan.publishers !== plan.subscribers) {
    return 'pairs have as many publishers as subscribers';
  }
  const each = Math.max(plan.topics / Math.max(1, plan.publishers), plan.windowCount);
  const ringBytes = each * plan.publishers * (plan.payloadBytes + 64);
  return ringBytes > 2 ** 31 ? 'that many frames of that size do not fit' : undefined;
}

function countOf(
  what: 'publishers' | 'subscribers' | 'connections',
  values: BenchOptions,
  shape: Shape,
): number {
  const own = what === 'connections' ? undefined : values[what];
  return own ?? (shape.clients.includes(what) ? values.clients : undefined) ?? shape[what];
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'mqtt:' || url.hostname === '') {
    throw new UsageError([`--url is mqtt://host[:port], not '${text}'`]);
  }
  return url;
}

/** Who the URL says we are: more than the environment says, less than a flag. */
function credentialsOf({ username, password }: URL): Source {
  const texts = new Map<string, readonly string[]>();
  if (username !== '') texts.set('user', [decodeURIComponent(username)]);
  if (password !== '') texts.set('password', [decodeURIComponent(password)]);
  return { where: () => '--url', texts };
}

/** Every step has its own patience; this is the end of all of them together. */
function deadlineMsOf(plan: LoadPlan): number {
  const messages = plan.connections * plan.messagesPerSession;
  const slowestMs = plan.workload === 'offline' ? messages : 0; // 1,000 a second is too slow
  return 60_000 + plan.connections * 5 + slowestMs + (plan.warmUpMs + plan.measureMs) * 2;
}

function table(plan: LoadPlan, result: LoadResult): string {
  const rows = result.measures.map((one) => {
    const digits = one.value < 10 ? 3 : one.value < 1000 ? 1 : 0;
    return [one.name, grouped(one.value, digits), one.unit] as const;
  });
  const lines = rows.map(
    ([name, value, unit]) => `  ${name.padEnd(12)}${value.padStart(14)} ${unit}`,
  );
  const lost = result.lost === undefined ? 'not known, still arriving' : grouped(result.lost);
  const flows = result.delivered > 0 ? [`  ${'lost'.padEnd(12)}${lost.padStart(14)}`] : [];
  if (result.redelivered > 0) flows.push(`  redelivered ${grouped(result.redelivered)}`);
  if (result.refused > 0) flows.push(`  refused ${grouped(result.refused)}`);
  const uses = [`generator ${result.generatorCpuPercent.toFixed(0)} % of a core`];
  if (result.broker) uses.push(`broker ${result.broker.cpuPercent.toFixed(0)} %`);
  const title = `${plan.workload}: QoS ${plan.qos}, ${grouped(plan.payloadBytes)} bytes`;
  return `${[title, ...lines, ...flows, `  ${uses.join(', ')}`].join('\n')}\n`;
}

function grouped(value: number, digits = 0): string {
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}
