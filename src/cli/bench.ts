/**
 * `ternmq bench`: loads any MQTT broker and says what it did. What is asked for is turned into a
 * plan, the plan is run by `load/`, and the answer is a small table or one line of JSON.
 */
import { parseArgs } from 'node:util';
import { systemRandom } from '#base';
import { EXIT } from './io.ts';
import { BOUNDS, type Bound, SHAPES, type Shape } from './load/defaults.ts';
import { runLoad } from './load/load.ts';
import type { LoadPlan, LoadResult, Workload } from './load/plan.ts';

export interface BenchOutput {
  write(text: string): void;
  writeError(text: string): void;
  readonly isTerminal: boolean;
}

const OPTIONS = {
  url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
  clients: { type: 'string' },
  publishers: { type: 'string' },
  subscribers: { type: 'string' },
  topics: { type: 'string' },
  qos: { type: 'string' },
  size: { type: 'string', default: '128' },
  seconds: { type: 'string', default: '5' },
  'warm-up': { type: 'string', default: '1' },
  rate: { type: 'string', default: '1000' },
  window: { type: 'string' },
  messages: { type: 'string', default: '100' },
  protocol: { type: 'string', default: '4' },
  processes: { type: 'string', default: '1' },
  user: { type: 'string' },
  password: { type: 'string' },
  'client-prefix': { type: 'string' },
  'topic-prefix': { type: 'string' },
  'broker-pid': { type: 'string', default: '0' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const HELP = `Usage: ternmq bench <workload> [options]

Workloads
${Object.entries(SHAPES)
  .map(([name, shape]) => `  ${name.padEnd(12)} ${shape.about}`)
  .join('\n')}

Options
  --url URL            mqtt://[user:password@]host[:port]   (mqtt://127.0.0.1:1883)
  --clients N          how many of the workload's many
  --publishers N, --subscribers N, --topics N               (by workload)
  --qos 0|1|2          of publishing and of subscribing     (by workload)
  --size BYTES         of a payload                         (128)
  --seconds S          to measure                           (5)
  --warm-up S          before measuring                     (1)
  --rate R             messages a second, for latency       (1000)
  --window N           messages under way per publisher     (by workload; 0 at QoS 0: no bound)
  --messages N         for each session, for offline        (100)
  --protocol 4|5       MQTT 3.1.1 or 5.0                    (4)
  --processes N        to share the load among              (1)
  --user NAME, --password TEXT
  --client-prefix TEXT, --topic-prefix TEXT                 (bench-<chance>)
  --broker-pid PID     a broker on this machine: its memory and processor time
  --json               one line of JSON

It counts what subscribers receive. Do not run it against a broker that others need.
`;

/** Runs the command; resolves to the exit code of the process. */
export async function runBench(argv: readonly string[], io: BenchOutput): Promise<number> {
  const asked = ask(argv);
  if (asked.kind === 'help') {
    io.write(HELP);
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

type Values = ReturnType<typeof parse>['values'];

function parse(argv: readonly string[]) {
  return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
}

function ask(argv: readonly string[]): Asked {
  try {
    const { values, positionals } = parse(argv);
    if (values.help || positionals.length === 0) return { kind: 'help' };
    const [workload, extra] = positionals;
    if (extra !== undefined) throw new RangeError(`what is '${extra}'?`);
    if (workload === undefined || !isWorkload(workload)) {
      throw new RangeError(`no workload '${workload}'`);
    }
    const processes = numberOf('processes', values.processes, BOUNDS.processes);
    return { kind: 'run', plan: planOf(workload, values), processes, json: values.json };
  } catch (error) {
    // Both kinds of error made by wrong words: parseArgs throws TypeErrors, we RangeErrors.
    if (error instanceof TypeError || error instanceof RangeError) {
      return { kind: 'wrong', text: error.message };
    }
    throw error;
  }
}

function isWorkload(name: string): name is Workload {
  return Object.hasOwn(SHAPES, name);
}

function planOf(workload: Workload, values: Values): LoadPlan {
  const shape = SHAPES[workload];
  const url = urlOf(values.url);
  const chance = Buffer.from(systemRandom.bytes(4)).toString('hex');
  const qos = qosOf(values.qos ?? String(shape.qos));
  const size = numberOf('size', values.size, BOUNDS.size);
  if (workload === 'latency' && size < 8) throw new RangeError('--size of latency is at least 8');
  const plan: LoadPlan = {
    workload,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 1883 : Number(url.port),
    protocol: protocolOf(values.protocol),
    userName: values.user ?? (decodeURIComponent(url.username) || undefined),
    password: values.password ?? (decodeURIComponent(url.password) || undefined),
    clientIdPrefix: values['client-prefix'] ?? `bench-${chance}-`,
    topicPrefix: values['topic-prefix'] ?? `bench-${chance}`,
    qos,
    payloadBytes: size,
    publishers: countOf('publishers', values, shape),
    subscribers: countOf('subscribers', values, shape),
    topics: numberOf('topics', values.topics ?? String(shape.topics || 1), BOUNDS.topics),
    windowCount: numberOf('window', values.window ?? String(shape.windows[qos]), BOUNDS.window),
    ratePerSecond: numberOf('rate', values.rate, BOUNDS.rate),
    connections: countOf('connections', values, shape),
    messagesPerSession: numberOf('messages', values.messages, BOUNDS.messages),
    warmUpMs: numberOf('warm-up', values['warm-up'], BOUNDS.warmUp, false) * 1000,
    measureMs: numberOf('seconds', values.seconds, BOUNDS.seconds, false) * 1000,
    settleMs: 5000,
    stallMs: 10_000,
    brokerPid: numberOf('broker-pid', values['broker-pid'], { least: 0, most: 2 ** 22 }),
  };
  checkTogether(plan);
  return plan;
}

/** What each option allows alone and all do not allow together. */
function checkTogether(plan: LoadPlan): void {
  if (plan.qos > 0 && plan.windowCount === 0) throw new RangeError('--window is at least 1');
  if (plan.workload === 'offline' || plan.workload === 'retained') {
    if (plan.qos !== 1) throw new RangeError(`${plan.workload} is measured at --qos 1`);
  }
  const pairs = ['pairs', 'trickle', 'latency'].includes(plan.workload);
  if (pairs && plan.publishers !== plan.subscribers) {
    throw new RangeError('pairs have as many publishers as subscribers');
  }
  const each = Math.max(plan.topics / Math.max(1, plan.publishers), plan.windowCount);
  const ringBytes = each * plan.publishers * (plan.payloadBytes + 64);
  if (ringBytes > 2 ** 31) throw new RangeError('that many frames of that size do not fit');
}

function countOf(
  what: 'publishers' | 'subscribers' | 'connections',
  values: Values,
  shape: Shape,
): number {
  const own = what === 'connections' ? undefined : values[what];
  const text = own ?? (shape.clients.includes(what) ? values.clients : undefined);
  if (text === undefined) return shape[what];
  return numberOf(own === undefined ? 'clients' : what, text, BOUNDS.clients);
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'mqtt:' || url.hostname === '') {
    throw new RangeError(`--url is mqtt://host[:port], not '${text}'`);
  }
  return url;
}

function numberOf(option: string, text: string, bound: Bound, isWhole = true): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!(value >= bound.least && value <= bound.most) || (isWhole && !Number.isInteger(value))) {
    const kind = isWhole ? 'a whole number' : 'a number';
    throw new RangeError(`--${option} is ${kind} from ${bound.least} to ${bound.most}`);
  }
  return value;
}

function qosOf(text: string): 0 | 1 | 2 {
  if (text === '0') return 0;
  if (text === '1') return 1;
  if (text === '2') return 2;
  throw new RangeError('--qos is 0, 1 or 2');
}

function protocolOf(text: string): 4 | 5 {
  if (text === '4') return 4;
  if (text === '5') return 5;
  throw new RangeError('--protocol is 4 or 5');
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
