/**
 * The workloads that go step by step: many idle connections, sessions that are away while
 * messages come, retained messages stored and replayed. Each step is a phase with its own rate.
 */
import { systemRandom } from '#base';
import { CONNECTS_AT_ONCE, openPublisher, type Stage } from './flow-workloads.ts';
import { startGauge, type Use } from './gauge.ts';
import { type Link, openAll, openLink } from './link.ts';
import type { LoadContext } from './load-context.ts';
import { indexesOf, type Phase, type WorkerReport } from './plan.ts';
import type { Publisher } from './publisher.ts';
import { Subscriber } from './subscriber.ts';
import { numbered } from './topology.ts';

const IDLE_KEEP_ALIVE_SECONDS = 600;
const REPLAYS_MIN = 3;
const REPLAYS_MAX = 50;
/** How long idle connections stand before memory is read. */
const IDLE_MS = 1500;

/** Opens idle connections and leaves them open while the broker's memory is read. */
export async function runConnect(context: LoadContext, stage: Stage): Promise<WorkerReport> {
  const { plan, share } = context;
  await stage.barrier('ready');
  const gauge = startGauge(context);
  const startMs = context.nowMs();
  let opened = 0;
  const links = await openAll(
    context,
    indexesOf(plan.connections, share),
    2 * CONNECTS_AT_ONCE,
    async (index) => {
      const link = await openLink(context, {
        clientId: `${plan.clientIdPrefix}i${numbered(index)}`,
        keepAliveSeconds: IDLE_KEEP_ALIVE_SECONDS,
        index,
      });
      opened += 1;
      if (opened % 1000 === 0) stage.progress('connected', opened);
      return link;
    },
  );
  const endMs = context.nowMs();
  const cpuPercent = gauge().broker?.cpuPercent ?? 0;
  await stage.barrier('connected');
  await context.pause(IDLE_MS);
  const use = gauge();
  await stage.barrier('measured');
  const phase: Phase = { name: 'connects', unit: 'conn/s', count: links.length, startMs, endMs };
  context.closing = true;
  for (const link of links) link.destroy();
  return report(context, [phase], {
    ...use,
    ...(use.broker && { broker: { ...use.broker, cpuPercent } }),
  });
}

/** Sessions subscribe and leave, messages come for them, all return at once and take them. */
export async function runOffline(context: LoadContext, stage: Stage): Promise<WorkerReport> {
  const { plan, share } = context;
  const sessions = indexesOf(plan.connections, share);
  const topic = (index: number): string => `${plan.topicPrefix}/${numbered(index)}`;
  const clientId = (index: number): string => `${plan.clientIdPrefix}o${numbered(index)}`;
  await openAll(context, sessions, CONNECTS_AT_ONCE, async (index) => {
    const link = await openLink(context, { clientId: clientId(index), clean: false });
    await context.race(link.subscribe(topic(index), 1));
    await link.close();
  });
  await stage.barrier('sessions stored');

  const gauge = startGauge(context);
  const fillers = Math.min(plan.publishers, plan.connections);
  const filled = await fill(context, stage, fillers, (publisher) => {
    const all = Array.from({ length: plan.connections }, (_, index) => index);
    return all.filter((index) => index % fillers === publisher).map(topic);
  });
  await stage.barrier('filled');

  const expected = sessions.length * plan.messagesPerSession;
  let delivered = 0;
  const startMs = context.nowMs();
  let endMs = startMs;
  const onDelivered = (count: number): void => {
    delivered += count;
    endMs = context.nowMs();
  };
  const links = await openAll(context, sessions, CONNECTS_AT_ONCE, (index) =>
    openLink(context, {
      clientId: clientId(index),
      clean: false,
      player: new Subscriber({ onDelivered }),
    }),
  );
  await context.until(
    `draining ${expected} messages`,
    () => delivered >= expected,
    () => delivered,
  );
  const use = gauge();
  const drained: Phase = { name: 'drain', unit: 'msg/s', count: delivered, startMs, endMs };
  stage.progress('drained', delivered);
  await stage.barrier('drained');
  await Promise.all(links.map((link) => link.close()));
  await forget(context, sessions, clientId);
  return {
    ...report(context, [filled.phase, drained], use),
    published: filled.sent,
    delivered,
    expected,
  };
}

/** A clean connection under each name, so that no session stays behind. */
async function forget(
  context: LoadContext,
  sessions: readonly number[],
  clientId: (index: number) => string,
): Promise<void> {
  await openAll(context, sessions, CONNECTS_AT_ONCE, async (index) => {
    const link = await openLink(context, { clientId: clientId(index) });
    await link.close();
  });
  context.closing = true;
}

async function fill(
  context: LoadContext,
  stage: Stage,
  fillers: number,
  topicsOf: (publisher: number) => readonly string[],
): Promise<{ phase: Phase; sent: number }> {
  const { plan, share } = context;
  const payload = systemRandom.bytes(plan.payloadBytes);
  const publishers = await openAll(context, indexesOf(fillers, share), 10, (index) => {
    const topics = topicsOf(index);
    const limit = topics.length * plan.messagesPerSession;
    return openPublisher(context, index, topics, payload, { limit });
  });
  await stage.barrier('publishers connected');
  const startMs = context.nowMs();
  for (const publisher of publishers) publisher.start();
  const stopWatch = watchDone(context, stage, 'filling', publishers);
  const wanted = publishers.reduce((sum, publisher) => sum + publisher.limit, 0);
  await context.until(
    `filling ${wanted} messages`,
    () => doneBy(publishers) >= wanted,
    () => doneBy(publishers),
  );
  stopWatch();
  const endMs = context.nowMs();
  const sent = doneBy(publishers);
  return { phase: { name: 'fill', unit: 'msg/s', count: sent, startMs, endMs }, sent };
}

/** Stores retained messages round after round, replays them to one new subscriber at a time. */
export async function runRetained(context: LoadContext, stage: Stage): Promise<WorkerReport> {
  const { plan, share } = context;
  const perPublisher = Math.max(1, Math.floor(plan.topics / plan.publishers));
  const topicsOf = (publisher: number): string[] =>
    Array.from(
      { length: perPublisher },
      (_, k) => `${plan.topicPrefix}/${numbered(publisher * perPublisher + k)}`,
    );
  const payload = systemRandom.bytes(plan.payloadBytes);
  const publishers = await openRetaining(context, topicsOf, payload);
  await stage.barrier('connected');
  const gauge = startGauge(context);
  const startMs = context.nowMs();
  for (const publisher of publishers) publisher.start();
  const stopWatch = watchDone(context, stage, 'storing', publishers);
  const isRoundDone = (): boolean => publishers.every((one) => one.done >= perPublisher);
  const isEnough = (): boolean => isRoundDone() && context.nowMs() - startMs >= plan.measureMs;
  await context.until('storing', isEnough, () => doneBy(publishers));
  for (const publisher of publishers) publisher.stop();
  const stored: Phase = {
    name: 'store',
    unit: 'msg/s',
    count: doneBy(publishers),
    startMs,
    endMs: context.nowMs(),
  };
  const isQuiet = (): boolean => publishers.every((one) => one.done >= one.sent);
  await context.until('storing', isQuiet, () => doneBy(publishers));
  stopWatch();
  await stage.barrier('stored');
  const total = perPublisher * plan.publishers;
  const phases = share.index === 0 ? [stored, await replay(context, stage, total)] : [stored];
  const use = gauge();
  await stage.barrier('replayed');
  await clear(context, topicsOf, perPublisher);
  context.closing = true;
  const sent = publishers.reduce((sum, publisher) => sum + publisher.sent, 0);
  return { ...report(context, phases, use), published: sent };
}

function openRetaining(
  context: LoadContext,
  topicsOf: (publisher: number) => readonly string[],
  payload: Uint8Array,
  limit: number = Number.POSITIVE_INFINITY,
): Promise<Publisher[]> {
  const indexes = indexesOf(context.plan.publishers, context.share);
  return openAll(context, indexes, 10, (index) => {
    const name = limit === Number.POSITIVE_INFINITY ? index : context.plan.publishers + index;
    return openPublisher(context, name, topicsOf(index), payload, { retain: true, limit });
  });
}

async function replay(context: LoadContext, stage: Stage, total: number): Promise<Phase> {
  const { plan } = context;
  const startMs = context.nowMs();
  let spentMs = 0;
  let count = 0;
  for (let round = 0; round < REPLAYS_MAX; round++) {
    if (round >= REPLAYS_MIN && spentMs >= plan.measureMs) break;
    let lastMs = 0;
    const onDelivered = (): void => {
      lastMs = context.nowMs();
    };
    const link: Link = await openLink(context, {
      clientId: `${plan.clientIdPrefix}r${numbered(round)}`,
      player: new Subscriber({ onDelivered }),
    });
    const fromMs = context.nowMs();
    await context.race(link.subscribe(`${plan.topicPrefix}/#`, 0));
    await context.until(
      `replaying ${total} messages`,
      () => link.reader.publishes >= total,
      () => link.reader.publishes,
    );
    spentMs += lastMs - fromMs;
    count += link.reader.publishes;
    stage.progress('replaying', count);
    await link.close();
  }
  // The connecting between replays is no part of them: the phase is as long as their sum.
  return { name: 'replay', unit: 'msg/s', count, startMs, endMs: startMs + spentMs };
}

/** An empty retained message to each topic: nothing stays behind. */
async function clear(
  context: LoadContext,
  topicsOf: (publisher: number) => readonly string[],
  perPublisher: number,
): Promise<void> {
  const publishers = await openRetaining(context, topicsOf, Buffer.alloc(0), perPublisher);
  for (const publisher of publishers) publisher.start();
  const isDone = (): boolean => publishers.every((publisher) => publisher.done >= perPublisher);
  await context.until('clearing', isDone, () => doneBy(publishers));
}

function watchDone(
  context: LoadContext,
  stage: Stage,
  step: string,
  publishers: readonly Publisher[],
): () => void {
  return context.clock.every(1000, () => stage.progress(step, doneBy(publishers)));
}

function doneBy(publishers: readonly Publisher[]): number {
  return publishers.reduce((sum, publisher) => sum + publisher.done, 0);
}

function report(context: LoadContext, phases: readonly Phase[], use: Use): WorkerReport {
  return {
    phases,
    published: 0,
    delivered: 0,
    expected: 0,
    settled: true,
    redelivered: context.redelivered,
    refused: context.refused,
    latencyUs: undefined,
    ...use,
  };
}
