/**
 * A data directory with what the measurements need in it, written by the broker's own services, and
 * broker processes on it. The directory and every process end with the bench.
 */
import { createHmac } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLmdbEngine } from '#adapters/lmdb';
import { silentLog, systemClock, systemRandom } from '#base';
import { readFlags, resolveOptions, SETTINGS } from '#config';
import { type Instances, openInstances } from '#instances';
import { composeIdentities, type Identities } from '../src/compose-identity.ts';
import { startBroker } from '../test/harness/broker-process.ts';
import { anonymousBytesOf, cpuUsOf, pin } from './auth-measure.ts';

export const ADMIN = { accessKeyId: 'benchAdminKey', accessKeySecret: 'benchAdminSecret' } as const;
/** A compatible instance, with one group. */
export const DEVICES = 'mqtt-bench';
export const GROUP = 'GID_bench';
/** Where callers go who name no instance; open. */
export const DEFAULT = 'default';
const BROKER_CORE = 0;

export interface Scope {
  after(cleanUp: () => Promise<void>): void;
}

/** The broker's services without the broker, on a directory that nobody else has open. */
export interface Workbench {
  readonly instances: Instances;
  readonly identities: Identities;
  close(): Promise<void>;
}

export interface Process {
  readonly pid: number;
  /** By scheme: `mqtt`, `mqtts`, `http`. */
  port(scheme: string): number;
  cpuUs(): number;
  anonymousBytes(): number;
  stop(): Promise<void>;
}

export interface Scene {
  readonly directory: string;
  open(): Promise<Workbench>;
  start(...args: readonly string[]): Promise<Process>;
}

/** An empty directory, and an admin key for what is opened in it. */
export async function createScene(scope: Scope): Promise<Scene> {
  const root = await mkdtemp(join(tmpdir(), 'ternmq-auth-bench-'));
  scope.after(() => rm(root, { recursive: true, force: true }));
  const directory = join(root, 'data');
  const adminKeyFile = join(root, 'admin.json');
  await writeFile(adminKeyFile, JSON.stringify(ADMIN));
  const common = ['--admin-key-file', adminKeyFile];
  return {
    directory,
    open: () => openWorkbench(['--open', '--data', directory, ...common]),
    start: (...args) => startProcess(scope, directory, [...common, ...args]),
  };
}

async function openWorkbench(argv: readonly string[]): Promise<Workbench> {
  const settings = resolveOptions(SETTINGS, [readFlags(SETTINGS, argv).source]).values;
  const ground = { clock: systemClock, random: systemRandom, log: silentLog };
  const engine = await openLmdbEngine({ directory: settings.data, ...ground });
  const { store } = engine;
  const instances = await openInstances({
    store,
    ...ground,
    defaultId: settings.defaultInstance,
    openDefault: true,
  });
  const identities = await composeIdentities({ settings, store, instances, ...ground });
  if (instances.find(DEVICES) === undefined) {
    await instances.create({ id: DEVICES, kind: 'compatible' });
    await instances.createGroup(DEVICES, GROUP, []);
    await instances.createTopic(DEVICES, 'bench');
  }
  return {
    instances,
    identities,
    close: async () => {
      identities.close();
      instances.close();
      await engine.close();
    },
  };
}

async function startProcess(
  scope: Scope,
  dataDirectory: string,
  args: readonly string[],
): Promise<Process> {
  const broker = await startBroker(scope, {
    dataDirectory,
    args,
    // As `npm start` has it, as far as an environment can say it.
    env: { NODE_OPTIONS: '--max-semi-space-size=32' },
  });
  pin(broker.pid, BROKER_CORE);
  const { pid } = broker;
  return {
    pid,
    port: (scheme) =>
      Number(new URL(broker.urls.find((url) => url.startsWith(`${scheme}:`))!).port),
    cpuUs: () => cpuUsOf(pid),
    anonymousBytes: () => anonymousBytesOf(pid),
    stop: () => broker.stop(),
  };
}

/** A user name of the product's kind, in the instance of the devices. */
export function userNameOf(mode: string, keyId: string): string {
  return `${mode}|${keyId}|${DEVICES}`;
}

/** The password of Signature and DeviceCredential. */
export function sign(secret: string, clientId: string): string {
  return createHmac('sha1', secret).update(clientId).digest('base64');
}

export function clientIdOf(index: number): string {
  return `${GROUP}@@@device-${index}`;
}
