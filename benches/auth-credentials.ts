/**
 * Registered devices by the hundred thousand: what they cost the broker in memory, and how long
 * one of them waits for its CONNACK, or an operator for the first list.
 */
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { openOpenApi, type VendorClient } from '../test/harness/vendor-clients.ts';
import { closeConnection, type Login, openConnection } from './auth-client.ts';
import { inLanes, type Line, median, pause, quantile, type Section } from './auth-measure.ts';
import {
  ADMIN,
  clientIdOf,
  createScene,
  DEVICES,
  GROUP,
  type Process,
  type Scene,
  type Scope,
  sign,
  userNameOf,
} from './auth-scene.ts';

const REGISTER_AT_ONCE = 1000;
/** Of those who connect, so that the bench need not keep a million secrets. */
const KNOWN_COUNT = 20_000;
const CONNECTS = 5000;
/** One at a time shows how long a device waits; many, what it takes of the processor. */
const AT_ONCE = 16;
const PAGE_SIZE = 100;
const PROBE_EVERY_MS = 5;
const QUIET_MS = 1000;
const QUIET_SHARE = 0.03;
const QUIET_TRIES_MAX = 60;

interface Connects {
  readonly ms: readonly number[];
  readonly usPerConnect: number;
}

interface Registered {
  readonly logins: readonly Login[];
  readonly seconds: number;
  readonly usEach: number;
  readonly diskBytes: number;
}

interface Visit {
  readonly startBytes: number;
  readonly afterBytes: number;
  readonly connects: Connects;
}

interface List {
  readonly total: number;
  readonly ms: number;
  readonly cpuMs: number;
  /** The longest another client waited for its CONNACK meanwhile. */
  readonly stallMs: number;
}

/** The same broker with no credentials but a few, and with all of them. */
export async function measureCredentials(scope: Scope, count: number): Promise<Section> {
  const few = await createScene(scope);
  const small = await register(few, Math.min(count, KNOWN_COUNT));
  const before = await visit(few, small.logins, async () => undefined);
  const many = await createScene(scope);
  const registered = await register(many, count);
  let lists: readonly List[] = [];
  const after = await visit(many, registered.logins, async (broker) => {
    lists = await listThrice(broker);
  });
  const line = (name: string, registeredCount: number, one: Visit): Line => ({
    name: `${registeredCount.toLocaleString('en')} credentials, ${name}`,
    figures: [
      one.startBytes / 2 ** 20,
      one.afterBytes / 2 ** 20,
      median(one.connects.ms),
      quantile(one.connects.ms, 0.99),
      one.connects.usPerConnect,
    ],
  });
  return {
    title: `${count.toLocaleString('en')} device credentials`,
    columns: ['MB at start', `MB after ${2 * CONNECTS} connects`, 'p50 ms', 'p99 ms', 'us CPU'],
    lines: [
      line('known devices', small.logins.length, before),
      line('random devices', count, after),
    ],
    notes: [
      'MB is memory of the process itself (RssAnon). No device connects twice. p50 and p99: from ' +
        `socket to CONNACK, one after the other. CPU: ${AT_ONCE} under way, and their ends.`,
      `Registering ${count}: ${registered.seconds.toFixed(1)} s, ` +
        `${registered.usEach.toFixed(0)} us of processor time each; ` +
        `${(registered.diskBytes / 2 ** 20).toFixed(0)} MB on disk.`,
      ...lists.map(
        (list, index) =>
          `ListDeviceCredentialClientId ${['the first', 'again', 'the last page'][index]}: ` +
          `${list.ms.toFixed(0)} ms, ${list.cpuMs.toFixed(0)} ms of processor time; a client who ` +
          `connected meanwhile waited ${list.stallMs.toFixed(0)} ms at most. Total ${list.total}.`,
      ),
    ],
  };
}

async function register(scene: Scene, count: number): Promise<Registered> {
  const workbench = await scene.open();
  const { deviceCredentials } = workbench.identities;
  const logins: Login[] = [];
  const stride = Math.max(1, Math.floor(count / KNOWN_COUNT));
  const start = process.cpuUsage();
  const startMs = performance.now();
  await inLanes(count, REGISTER_AT_ONCE, async (index) => {
    const clientId = clientIdOf(index);
    const made = await deviceCredentials.register(DEVICES, clientId);
    if (index % 100_000 === 99_999) console.error(`registered ${index + 1}`);
    if (index % stride !== 0) return;
    const userName = userNameOf('DeviceCredential', made.accessKeyId);
    logins.push({ clientId, userName, password: sign(made.accessKeySecret, clientId) });
  });
  const seconds = (performance.now() - startMs) / 1000;
  const { user, system } = process.cpuUsage(start);
  await workbench.close();
  const disk = execFileSync('du', ['-s', '--block-size=1', scene.directory], { encoding: 'utf8' });
  return {
    logins,
    seconds,
    usEach: (user + system) / count,
    diskBytes: Number(disk.split('\t')[0]),
  };
}

/** A fresh process on the directory: its memory, connects, and `more`. */
async function visit(
  scene: Scene,
  logins: readonly Login[],
  more: (broker: Process) => Promise<void>,
): Promise<Visit> {
  const broker = await scene.start('--control', 'http://127.0.0.1:0');
  await quiet(broker);
  const startBytes = broker.anonymousBytes();
  const connects = await connectSome(broker, logins);
  await quiet(broker);
  const afterBytes = broker.anonymousBytes();
  await more(broker);
  await broker.stop();
  return { startBytes, afterBytes, connects };
}

/** Waits while the broker still brings what it found in its journal to where it belongs. */
async function quiet(broker: Process): Promise<void> {
  for (let tries = 0; tries < QUIET_TRIES_MAX; tries++) {
    const before = broker.cpuUs();
    await pause(QUIET_MS);
    if (broker.cpuUs() - before < QUIET_SHARE * QUIET_MS * 1000) return;
  }
}

async function connectSome(broker: Process, logins: readonly Login[]): Promise<Connects> {
  const left = [...logins];
  const door = { port: broker.port('mqtt') };
  const count = Math.min(CONNECTS, Math.floor(left.length / 2));
  const ms: number[] = [];
  const connectOne = async (): Promise<void> => {
    const at = randomInt(left.length);
    const login = left[at]!;
    left[at] = left.at(-1)!;
    left.pop();
    const startMs = performance.now();
    const socket = await openConnection(door, login);
    ms.push(performance.now() - startMs);
    await closeConnection(socket);
  };
  await inLanes(count, 1, connectOne);
  const waits = [...ms];
  const cpuBefore = broker.cpuUs();
  await inLanes(count, AT_ONCE, connectOne);
  return { ms: waits, usPerConnect: (broker.cpuUs() - cpuBefore) / count };
}

async function listThrice(broker: Process): Promise<readonly List[]> {
  const access = {
    url: `http://127.0.0.1:${broker.port('http')}`,
    keyId: ADMIN.accessKeyId,
    secret: ADMIN.accessKeySecret,
  };
  const client = openOpenApi('@alicloud/openapi-core', access, 'ACS3-HMAC-SHA256');
  const first = await list(broker, client, 1);
  const again = await list(broker, client, 1);
  return [first, again, await list(broker, client, Math.ceil(first.total / PAGE_SIZE))];
}

async function list(broker: Process, client: VendorClient, page: number): Promise<List> {
  let isDone = false;
  let stallMs = 0;
  const probing = (async () => {
    for (let i = 0; !isDone; i++) {
      const startMs = performance.now();
      const door = { port: broker.port('mqtt') };
      const socket = await openConnection(door, { clientId: `probe-${page}-${i}` });
      stallMs = Math.max(stallMs, performance.now() - startMs);
      socket.destroy();
      await pause(PROBE_EVERY_MS);
    }
  })();
  const cpuBefore = broker.cpuUs();
  const startMs = performance.now();
  const answer = await client.call('ListDeviceCredentialClientId', {
    InstanceId: DEVICES,
    GroupId: GROUP,
    PageNo: String(page),
    PageSize: String(PAGE_SIZE),
  });
  const ms = performance.now() - startMs;
  const cpuMs = (broker.cpuUs() - cpuBefore) / 1000;
  isDone = true;
  await probing;
  const found = answer['DeviceCredentialClientIdList'] as { readonly Total?: string } | undefined;
  return { total: Number(found?.Total), ms, cpuMs, stallMs };
}
