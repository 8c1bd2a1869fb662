/**
 * What permissions cost a broker from end to end: its processor time per message, with clients who
 * may do everything and with clients whose every PUBLISH is looked up among ten thousand rules.
 */
import type { Workload } from '../src/cli/load/plan.ts';
import { runLoad } from '../src/cli/load/load.ts';
import { inLanes, type Line, median, pause, type Section } from './auth-measure.ts';
import { createScene, DEFAULT, type Process, type Scope, type Workbench } from './auth-scene.ts';
import { planOf, ROWS } from './workloads.ts';

const USERS = { 'one rule': 'one', '10,000 rules': 'many' } as const;
const RULE_COUNT = 10_000;
const SITES = 50;
const PASSWORD = 'benchPassword';
const DEADLINE_MS = 60_000;
const TRIES_MAX = 5;
const BUSY_PAUSE_MS = 3000;

const ROW_IDS = ['pairs-qos0', 'wildcards-qos0'] as const;

/** Microseconds of the broker's processor time for one message received, delivered and all. */
export async function measureFlow(scope: Scope, runs: number): Promise<Section> {
  const scene = await createScene(scope);
  const workbench = await scene.open();
  await seed(workbench);
  await workbench.close();
  const broker = await scene.start();
  const lines: Line[] = [];
  for (const id of ROW_IDS) {
    const found = new Map<string, number[]>(Object.keys(USERS).map((name) => [name, []]));
    found.set('no permissions', []);
    for (let run = 0; run < runs; run++) {
      for (const [name, values] of found) {
        values.push(await usPerMessage(broker, id, USERS[name as keyof typeof USERS]));
      }
    }
    const free = median(found.get('no permissions')!);
    for (const [name, values] of found) {
      const us = median(values);
      lines.push({ name: `${id}, ${name}`, figures: [us, us / free, spread(values)] });
    }
  }
  await broker.stop();
  return {
    title: 'PUBLISH at QoS 0 from end to end, us of processor time of the broker for one message',
    columns: ['us', 'times no permissions', 'runs'],
    lines,
    notes: [
      'pairs: one topic each; wildcards: 20,000 topics, 400 of each client, and 50 subscribers.',
    ],
  };
}

function spread(values: readonly number[]): string {
  return values.map((value) => value.toFixed(2)).join(' ');
}

async function usPerMessage(
  broker: Process,
  id: string,
  userName: string | undefined,
): Promise<number> {
  const row = ROWS.find((one) => one.id === id)!;
  const endpoint = { host: '127.0.0.1', port: broker.port('mqtt'), pid: broker.pid };
  const plan = {
    ...planOf(row, endpoint, false),
    ...(userName !== undefined && { userName, password: PASSWORD }),
  };
  let result = await runLoad(plan, { processes: 1, deadlineMs: DEADLINE_MS });
  for (let tries = 1; result.failure !== undefined; tries++) {
    // A broker that does not get the processor refuses clients for a while.
    if (tries === TRIES_MAX) throw new Error(`${id}: ${result.failure}`);
    await pause(BUSY_PAUSE_MS);
    result = await runLoad(plan, { processes: 1, deadlineMs: DEADLINE_MS });
  }
  const rate = result.measures.find(({ name }) => name === 'delivered')!.value;
  return (result.broker!.cpuPercent * 10_000) / rate;
}

/** One user with a rule for everything, and one with thousands, of which one or two speak. */
async function seed({ instances, identities }: Workbench): Promise<void> {
  const instance = instances.find(DEFAULT)!;
  const { customAuth } = identities;
  for (const userName of Object.values(USERS)) {
    await customAuth.addIdentity(instance, {
      type: 'USER',
      userName,
      clientId: '',
      signMode: 'ORIGIN',
      secret: PASSWORD,
    });
  }
  const everything = { topic: 'bench/#', effect: 'ALLOW' } as const;
  const both = { type: 'USER', action: 'PUB_SUB' } as const;
  await customAuth.addPermission(instance, { ...both, ...everything, identity: USERS['one rule'] });
  const rules = filters();
  await inLanes(rules.length, 200, async (index) => {
    const { topic, effect } = rules[index]!;
    const rule = { ...both, topic, effect, identity: USERS['10,000 rules'] };
    await customAuth.addPermission(instance, rule);
  });
}

function filters(): { readonly topic: string; readonly effect: 'ALLOW' | 'DENY' }[] {
  const workloads: readonly Workload[] = ['pairs', 'wildcards'];
  const allowed = workloads.flatMap((workload) =>
    Array.from(
      { length: SITES },
      (_, site) => `bench/${workload}/${String(site).padStart(5, '0')}`,
    ),
  );
  return Array.from({ length: RULE_COUNT }, (_, i) => {
    if (i < allowed.length) return { topic: `${allowed[i]!}/#`, effect: 'ALLOW' };
    const site = String(i % SITES).padStart(5, '0');
    if (i % 2 === 0) return { topic: `bench/wildcards/${site}/secret-${i}/#`, effect: 'ALLOW' };
    return { topic: `factory/${site}/+/line-${i}`, effect: 'DENY' };
  });
}
