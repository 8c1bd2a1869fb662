/**
 * Accounts over a store in memory, two instances and a clock that tests move: what tests of ways
 * of authentication by access key begin with.
 */
import type { TestContext } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { type FaultCode, type Random, silentLog, systemRandom } from '#base';
import {
  type Accounts,
  type AdminKey,
  type AuthenticationWay,
  type Caller,
  type ConnectRequest,
  createSecretBox,
  isRefusal,
  type LiveClient,
  openAccounts,
  type SecretBox,
} from '#identity';
import { type Instance, type Instances, openInstances } from '#instances';
import type { Store } from '#ports';
import { ManualClock } from './manual-clock.ts';

export const ADMIN: AdminKey = { accessKeyId: 'ADMIN', accessKeySecret: 'admin-secret' };

export interface AccountScene {
  readonly store: Store;
  readonly box: SecretBox;
  readonly clock: ManualClock;
  readonly random: Random;
  readonly accounts: Accounts;
  readonly instances: Instances;
  /** `mqtt-1`. */
  readonly instance: Instance;
  /** `mqtt-2`. */
  readonly other: Instance;
  /** Accounts of the same store, as another node has them. */
  secondNode(adminKey?: AdminKey): Promise<Accounts>;
  /** An account with these policies, and a key of it. */
  addAccount(
    name: string,
    ...policies: readonly string[]
  ): Promise<{ accountId: string; keyId: string; secret: string }>;
}

/** Opens all of it, and closes it after the test. */
export async function openAccountScene(
  t: TestContext,
  adminKey: AdminKey = ADMIN,
): Promise<AccountScene> {
  const clock = new ManualClock();
  const random = systemRandom;
  const engine = openMemoryEngine({ clock });
  const { store } = engine;
  const box = createSecretBox(random.bytes(32), random);
  const open = async (key: AdminKey | undefined): Promise<Accounts> => {
    const { accounts } = await openAccounts({ store, box, clock, random, adminKey: key });
    t.after(() => accounts.close());
    return accounts;
  };
  const accounts = await open(adminKey);
  const instances = await openInstances({
    store,
    clock,
    random,
    log: silentLog,
    defaultId: 'default',
    openDefault: true,
  });
  t.after(() => instances.close());
  return {
    store,
    box,
    clock,
    random,
    accounts,
    instances,
    instance: await instances.create({ id: 'mqtt-1' }),
    other: await instances.create({ id: 'mqtt-2' }),
    secondNode: open,
    addAccount: async (name, ...policies) => {
      const { id: accountId } = await accounts.create(name);
      for (const [index, policy] of policies.entries()) {
        if (policy.startsWith('{')) await accounts.attachPolicy(accountId, `own-${index}`, policy);
        else await accounts.attachPolicy(accountId, policy);
      }
      const { id: keyId, secret } = await accounts.createKey(accountId);
      return { accountId, keyId, secret };
    },
  };
}

/** A policy of one statement. */
export function policy(
  effect: string,
  action: string | readonly string[],
  resource: string | readonly string[],
): string {
  return JSON.stringify({
    Version: '1',
    Statement: [{ Effect: effect, Action: action, Resource: resource }],
  });
}

/** A CONNECT to `instance`. */
export function connectRequest(
  instance: Instance,
  userName: string | undefined,
  password: string | undefined,
  clientId = 'GID_Test@@@0001',
): ConnectRequest {
  return {
    instance,
    protocolVersion: 5,
    clientId,
    userName,
    password: password === undefined ? undefined : Buffer.from(password),
    address: '127.0.0.1',
    listener: 'mqtt://127.0.0.1:1883',
    serverName: undefined,
    certificate: undefined,
    certificateVerified: false,
  };
}

/** The way's verdict in a word: a fault, `welcome`, or `not mine`. */
export async function verdictOf(way: AuthenticationWay, request: ConnectRequest): Promise<string> {
  const verdict = await way.authenticate(request);
  if (verdict === undefined) return 'not mine';
  return isRefusal(verdict) ? verdict.refused : 'welcome';
}

/** The caller; throws where the way does not welcome it. */
export async function callerOf(way: AuthenticationWay, request: ConnectRequest): Promise<Caller> {
  const verdict = await way.authenticate(request);
  if (verdict === undefined || isRefusal(verdict)) {
    throw new Error(`refused: ${verdict?.refused ?? 'not mine'}`);
  }
  return verdict;
}

/** A connection that writes down what is done to it. */
export class RecordedClient implements LiveClient {
  readonly clientId = 'GID_Test@@@0001';
  readonly address = '127.0.0.1';
  readonly events: string[] = [];

  notify(topic: string): void {
    this.events.push(`notify ${topic}`);
  }

  disconnect(code: FaultCode): void {
    this.events.push(`disconnect ${code}`);
  }

  permissionsChanged(): void {
    this.events.push('permissionsChanged');
  }
}
