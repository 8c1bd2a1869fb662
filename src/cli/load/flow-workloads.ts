/**
 * The workloads of steady flow: publishers and subscribers connect, messages run, and what
 * subscribers receive between two instants after the warm-up is the result.
 */
import { systemRandom } from '#base';
import { encodeRing } from './frames.ts';
import { startGauge } from './gauge.ts';
import { Histogram } from './histogram.ts';
import { openAll, openLink, type Link } from './link.ts';
import type { LoadContext } from './load-context.ts';
import { indexesOf, type Phase, type WorkerReport } from './plan.ts';
import { Publisher, Pump } from './publisher.ts';
import { Subscriber } from './subscriber.ts';
import { numbered, topologyOf } from './topology.ts';

/** How a workload keeps step with other workers and shows how far it is. */
export interface Stage {
  /** Resolves when every worker has come so far. */
  barrier(step: string): Promise<void>;
  progress(step: string, count: number): void;
}

/** Connections under way at once: less than any accept queue. */
export const CONNECTS_AT_ONCE = 40;

const RING_BYTES = 64 * 1024;
const QUIET_MS = 300;

/** Credits QoS 0 publishers whose window is bounded by deliveries. */
interface Crediting {
  delivered(subscriber: number, count: number): void;
  /** Gives up on messages that are not coming, so that one lost does not end the flow. */
  forgive(): void;
}

/** Runs a workload of steady flow in this worker. */
export async function runFlow(context: LoadContext, stage: Stage): Promise<WorkerReport> {
  const { plan, share } = context;
  const topology = topologyOf(plan);
  const latencyUs = plan.workload === 'latency' ? new Histogram() : undefined;
  const publishers: Publisher[] = [];
  const subscribers = indexesOf(plan.subscribers, share);
  const crediting = creditingOf(context, publishers, subscribers.length);
  const links = await openAll(context, subscribers, CONNECTS_AT_ONCE, (index) =>
    openSubscriber(context, index, topology.filterOf(index), {
      ...(crediting && { onDelivered: (count: number) => crediting.delivered(index, count) }),
      ...(latencyUs && { latencyUs }),
    }),
  );
  await stage.barrier('subscribed');
  const payload = systemRandom.bytes(plan.payloadBytes);
  publishers.push(
    ...(await openAll(context, indexesOf(plan.publishers, share), CONNECTS_AT_ONCE, (index) =>
      openPublisher(context, index, topology.topicsOf(index), payload),
    )),
  );
  await stage.barrier('connected');

  const delivered = (): number => links.reduce((sum, link) => sum + link.reader.publishes, 0);
  const stop = startFlow(context, publishers);
  const stopWatch = watchFlow(context, stage, { delivered, publishers, crediting });
  await context.pause(plan.warmUpMs);
  latencyUs?.reset();
  const gauge = startGauge(context);
  const before = { ms: context.nowMs(), delivered: delivered(), sent: sentBy(publishers) };
  await context.pause(plan.measureMs);
  const after = { ms: context.nowMs(), delivered: delivered(), sent: sentBy(publishers) };
  const use = gauge();
  const latencies = latencyUs?.toCounts();
  stop();
  const expected = (): number => sentBy(publishers) * topology.deliveries;
  const settled = await settle(context, delivered, expected);
  stopWatch();
  await stage.barrier('settled');
  context.closing = true;
  const phase = (name: string, count: number): Phase => {
    return { name, unit: 'msg/s', count, startMs: before.ms, endMs: after.ms };
  };
  return {
    phases: [
      phase('delivered', after.delivered - before.delivered),
      phase('published', after.sent - before.sent),
    ],
    published: sentBy(publishers),
    delivered: delivered(),
    expected: expected(),
    settled,
    redelivered: context.redelivered,
    refused: context.refused,
    latencyUs: latencies,
    ...use,
  };
}

async function openSubscriber(
  context: LoadContext,
  index: number,
  filter: string,
  options: ConstructorParameters<typeof Subscriber>[0],
): Promise<Link> {
  const link = await openLink(context, {
    clientId: `${context.plan.clientIdPrefix}s${numbered(index)}`,
    wantsPayload: options.latencyUs !== undefined,
    player: new Subscriber(options),
  });
  await context.race(link.subscribe(filter, context.plan.qos));
  return link;
}

/** Connects a publisher to send `payload` to each of `topics` in turn. */
export async function openPublisher(
  context: LoadContext,
  index: number,
  topics: readonly string[],
  payload: Uint8Array,
  options: { readonly retain?: boolean; readonly limit?: number } = {},
): Promise<Publisher> {
  const { plan } = context;
  const link = await openLink(context, {
    clientId: `${plan.clientIdPrefix}p${numbered(index)}`,
  });
  const isBulk = plan.qos === 0 && plan.windowCount === 0;
  const ring = encodeRing({
    protocol: plan.protocol,
    topics,
    payload,
    qos: plan.qos,
    retain: options.retain ?? false,
    countMin: Math.max(plan.windowCount, 1),
    bytesMin: isBulk ? RING_BYTES : 0,
  });
  const limit = options.limit ?? Number.POSITIVE_INFINITY;
  const publisher = new Publisher(link, ring, plan.windowCount, limit);
  link.player = publisher;
  return publisher;
}

/** Starts the messages; the returned function stops them. */
function startFlow(context: LoadContext, publishers: readonly Publisher[]): () => void {
  const { plan } = context;
  if (plan.workload === 'latency') return startPaced(context, publishers);
  if (plan.qos === 0 && plan.windowCount === 0) {
    const pump = new Pump(publishers);
    pump.start();
    return () => pump.stop();
  }
  for (const publisher of publishers) publisher.start();
  return () => {
    for (const publisher of publishers) publisher.stop();
  };
}

/**
 * Sends at an even rate, each message stamped with the time it was due, not the time it was
 * sent: a generator that is late must not hide what it delayed. It turns without sleeping,
 * because timers of a millisecond would send in bursts.
 */
function startPaced(context: LoadContext, publishers: readonly Publisher[]): () => void {
  const { plan, share } = context;
  const startMs = context.nowMs();
  const periodMs = (1000 / plan.ratePerSecond) * share.count;
  let next = 0;
  let isStopped = publishers.length === 0;
  const turn = (): void => {
    if (isStopped) return;
    const nowMs = context.nowMs();
    for (let count = 0; count < publishers.length; count++) {
      const dueMs = startMs + next * periodMs;
      if (dueMs > nowMs) break;
      if (!publishers[next % publishers.length]!.sendStamped(dueMs)) context.refused += 1;
      next += 1;
    }
    setImmediate(turn);
  };
  turn();
  return () => {
    isStopped = true;
  };
}

/** `undefined` where nothing is credited: QoS 1 and 2 have acknowledgements, bulk no window. */
function creditingOf(
  context: LoadContext,
  publishers: readonly Publisher[],
  ownSubscribers: number,
): Crediting | undefined {
  const { plan, share } = context;
  if (plan.qos > 0 || plan.windowCount === 0 || plan.workload === 'latency') return undefined;
  const forgive = (): void => {
    for (const publisher of publishers) publisher.credit(publisher.sent - publisher.done);
  };
  if (plan.workload !== 'fan-out' && plan.workload !== 'fan-in') {
    const delivered = (subscriber: number, count: number): void => {
      const publisher = publishers[(subscriber - share.index) / share.count];
      publisher?.credit(Math.min(count, publisher.sent - publisher.done));
    };
    return { delivered, forgive };
  }
  let tally = 0;
  const delivered = (_: number, count: number): void => {
    tally += count;
    const each = Math.floor(tally / (ownSubscribers * publishers.length));
    if (each === 0) return;
    tally -= each * ownSubscribers * publishers.length;
    for (const publisher of publishers) {
      publisher.credit(Math.min(each, publisher.sent - publisher.done));
    }
  };
  return { delivered, forgive };
}

interface Watched {
  readonly delivered: () => number;
  readonly publishers: readonly Publisher[];
  readonly crediting: Crediting | undefined;
}

/** Tells progress, forgives lost QoS 0 messages, and fails the run when nothing moves. */
function watchFlow(context: LoadContext, stage: Stage, watched: Watched): () => void {
  const periodMs = 250;
  let last = -1;
  let idleMs = 0;
  let turns = 0;
  return context.clock.every(periodMs, () => {
    const count = watched.delivered() + watched.publishers.reduce((sum, p) => sum + p.done, 0);
    idleMs = count === last ? idleMs + periodMs : 0;
    if (idleMs > 0) watched.crediting?.forgive();
    if (idleMs >= context.plan.stallMs) context.fail(`nothing moved for ${idleMs} ms`);
    last = count;
    turns += 1;
    if (turns % 4 === 0) stage.progress('running', watched.delivered());
  });
}

/** True when all has come, or nothing comes any more; false when time is up before that. */
async function settle(
  context: LoadContext,
  delivered: () => number,
  expected: () => number,
): Promise<boolean> {
  const endMs = context.nowMs() + context.plan.settleMs;
  let last = delivered();
  let sinceMs = context.nowMs();
  while (context.nowMs() < endMs) {
    if (context.share.count === 1 && delivered() >= expected()) return true;
    await context.pause(10);
    const current = delivered();
    if (current !== last) sinceMs = context.nowMs();
    else if (context.nowMs() - sinceMs > QUIET_MS) return true;
    last = current;
  }
  return false;
}

function sentBy(publishers: readonly Publisher[]): number {
  return publishers.reduce((sum, publisher) => sum + publisher.sent, 0);
}
