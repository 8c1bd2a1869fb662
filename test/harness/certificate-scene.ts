/** Instances, their certificates, and clients that show some. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { type FaultCode, silentLog, systemRandom } from '#base';
import {
  type AuthorityVerdict,
  CERTIFICATE_TABLES,
  type CertificateIdentity,
  type Certificates,
  type ConnectRequest,
  createSecretBox,
  type LiveClient,
  openCertificates,
  type Refusal,
} from '#identity';
import { type Instance, type Instances, openInstances } from '#instances';
import type { Store } from '#ports';
import type { DeviceAuthority, Issued } from './device-authority.ts';
import { ManualClock } from './manual-clock.ts';

// Ahead, so that certificates made meanwhile are valid.
const HOUR_MS = 60 * 60 * 1_000;
export const DAY_MS: number = 24 * 60 * 60 * 1_000;

export interface CertificateScene {
  readonly certificates: Certificates;
  readonly instances: Instances;
  readonly clock: ManualClock;
  readonly store: Store;
  readonly one: Instance;
  readonly two: Instance;
  /** The same store, as another node or a later start has it. */
  again(): Promise<Certificates>;
  register(authority: DeviceAuthority, instanceId?: string): Promise<AuthorityVerdict>;
  guard(shown: Issued | Uint8Array | undefined, changes?: Partial<ConnectRequest>): Answer;
}

type Answer = Promise<CertificateIdentity | Refusal | undefined>;

export async function openCertificateScene(t: TestContext): Promise<CertificateScene> {
  const clock = new ManualClock(Date.now() + HOUR_MS);
  const { store } = openMemoryEngine({ clock });
  const instances = await openInstances({
    store,
    clock,
    random: systemRandom,
    log: silentLog,
    defaultId: 'default',
    openDefault: true,
    ownedTables: CERTIFICATE_TABLES,
  });
  t.after(() => instances.close());
  const secretBox = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const again = async (): Promise<Certificates> => {
    const parts = { store, clock, random: systemRandom, log: silentLog, secretBox };
    const opened = await openCertificates(parts);
    t.after(() => opened.close());
    return opened;
  };
  const certificates = await again();
  const one = await instances.create({ id: 'one', kind: 'open' });
  const two = await instances.create({ id: 'two', kind: 'open' });
  return {
    certificates,
    instances,
    clock,
    store,
    one,
    two,
    again,
    register: async (authority, instanceId = 'one') => {
      const code = await certificates.createRegistrationCode(instanceId);
      const verification = authority.issue(code).certificate;
      const content = authority.certificate;
      return await certificates.registerAuthority({
        instanceId,
        name: 'ours',
        content,
        verification,
      });
    },
    guard: async (shown, changes) => {
      const certificate = shown === undefined || shown instanceof Uint8Array ? shown : shown.der;
      return await certificates.guard(request(one, certificate, changes));
    },
  };
}

export function request(
  instance: Instance,
  certificate: Uint8Array | undefined,
  changes: Partial<ConnectRequest> = {},
): ConnectRequest {
  return {
    instance,
    certificate,
    certificateVerified: false,
    protocolVersion: 5,
    clientId: 'device-1',
    userName: undefined,
    password: undefined,
    address: '127.0.0.1',
    listener: 'mqtts://127.0.0.1:8883',
    serverName: undefined,
    ...changes,
  };
}

export function accepted(answer: CertificateIdentity | Refusal | undefined): CertificateIdentity {
  assert.ok(answer !== undefined && !('refused' in answer), JSON.stringify(answer));
  return answer;
}

export function refusedAs(answer: unknown): FaultCode | undefined {
  return (answer as Partial<Refusal> | undefined)?.refused;
}

export interface Client extends LiveClient {
  readonly ends: FaultCode[];
}

export function client(): Client {
  const ends: FaultCode[] = [];
  return {
    clientId: 'device-1',
    address: '127.0.0.1',
    ends,
    notify: () => {},
    permissionsChanged: () => {},
    disconnect: (code) => void ends.push(code),
  };
}

/** Connects with a certificate that is new, and waits until it is registered. */
export async function connect(scene: CertificateScene, shown: Issued): Promise<Client> {
  const live = client();
  const identity = accepted(await scene.guard(shown));
  scene.certificates.watch(identity, live);
  await registered(scene, shown);
  return live;
}

export async function registered(scene: CertificateScene, shown: Issued): Promise<void> {
  for (;;) {
    const { rows } = await scene.certificates.devices('one', undefined, { from: 0, count: 100 });
    if (rows.some(({ serial }) => serial === shown.serial)) return;
  }
}

export function problem(verdict: AuthorityVerdict): string | undefined {
  return 'problem' in verdict ? verdict.problem : undefined;
}

export async function setCertificateAuth(scene: CertificateScene, settings: object): Promise<void> {
  await scene.instances.update('one', { authentication: { certificates: settings } });
}
