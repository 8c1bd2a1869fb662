/**
 * Builds what knows who is calling: the stores of accounts, tokens, credentials and certificates,
 * and the one authenticator that asks every way of proving who one is, in order.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, Fault, type Log, type Random, TimerWheel } from '#base';
import type { Settings } from '#config';
import {
  type AdminKey,
  type Accounts,
  type Authenticator,
  type AuthenticationWay,
  type Bans,
  type Certificates,
  createAccessKeyWay,
  createAddressGate,
  createAuthenticator,
  createBans,
  createCertificateWay,
  createCustomAuthWay,
  createDeviceCredentialWay,
  createHttpWay,
  createJwtWay,
  createOpenWay,
  createScramMethod,
  createSecretBox,
  createSignatureWay,
  createTokenWay,
  type CustomAuth,
  type DeviceCredentials,
  loadSecretKey,
  openAccounts,
  openCertificates,
  openCustomAuth,
  openDeviceCredentials,
  openScramUsers,
  openTokens,
  type ScramUsers,
  type SecretBox,
  TokenNotices,
  type Tokens,
} from '#identity';
import type { Instances } from '#instances';
import type { Store } from '#ports';

/** The services behind the authenticator, which the control door changes. */
export interface Identities {
  readonly authenticator: Authenticator;
  readonly accounts: Accounts;
  readonly tokens: Tokens;
  readonly deviceCredentials: DeviceCredentials;
  readonly customAuth: CustomAuth;
  readonly certificates: Certificates;
  readonly scramUsers: ScramUsers;
  readonly bans: Bans;
  readonly box: SecretBox;
  /** The admin key of a fresh store: to be shown once. */
  readonly firstKey: { readonly id: string; readonly secret: string } | undefined;
  close(): void;
}

export interface IdentityGround {
  readonly settings: Settings;
  readonly store: Store;
  readonly instances: Instances;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const SECRET_KEY_BYTES = 32;

type Services = Omit<Identities, 'authenticator' | 'close'>;

/** Opens everything that knows callers. */
export async function composeIdentities(ground: IdentityGround): Promise<Identities> {
  const wheel = new TimerWheel(ground.clock);
  const services = await openServices(ground);
  const { ways, close } = createWays(ground, services, wheel);
  const { settings, instances, random, log } = ground;
  const { certificates, customAuth, scramUsers, bans } = services;
  const addresses = createAddressGate(log);
  const authenticator = createAuthenticator({
    instances,
    defaultInstanceId: settings.defaultInstance,
    instanceOfName: (serverName) => certificates.servers.instanceOf(serverName),
    addressPermitted: (instance, address) => addresses.permits(instance, address),
    doorman: bans,
    isBlacklisted: (instanceId, clientId) => customAuth.isBlacklisted(instanceId, clientId),
    certificates,
    ways,
    methods: [createScramMethod({ users: scramUsers, random })],
  });
  return {
    ...services,
    authenticator,
    close: () => {
      close();
      services.tokens.close();
      services.deviceCredentials.close();
      customAuth.close();
      certificates.close();
      scramUsers.close();
      services.accounts.close();
      wheel.stop();
    },
  };
}

async function openServices(ground: IdentityGround): Promise<Services> {
  const { settings, store, clock, random, log } = ground;
  const key = settings.memory
    ? random.bytes(SECRET_KEY_BYTES)
    : loadSecretKey(join(settings.data, 'secret.key'), random);
  const box = createSecretBox(key, random);
  const adminKey = readAdminKey(settings.adminKeyFile);
  const { accounts, firstKey } = await openAccounts({
    store,
    box,
    clock,
    random,
    ...(adminKey !== undefined && { adminKey }),
  });
  return {
    accounts,
    firstKey,
    box,
    tokens: await openTokens({ store, key, clock, random, log }),
    deviceCredentials: openDeviceCredentials({ store, box, clock, random }),
    customAuth: await openCustomAuth({ store, box, clock, log }),
    certificates: await openCertificates({ store, clock, random, log, secretBox: box }),
    scramUsers: await openScramUsers({ store, clock, random }),
    bans: createBans(clock),
  };
}

/** The order in which callers are asked who they are: the first way that knows them decides. */
function createWays(
  { settings, clock, random }: IdentityGround,
  services: Services,
  wheel: TimerWheel,
): { readonly ways: readonly AuthenticationWay[]; readonly close: () => void } {
  const { accounts, tokens, deviceCredentials, customAuth, certificates, box } = services;
  const notices = new TokenNotices({ tokens, clock, wheel });
  const http = createHttpWay({ clock, random, wheel, box });
  const jwt = createJwtWay({ clock, wheel, box });
  const ways = [
    createSignatureWay({ accounts, clock }),
    createTokenWay({ notices, accounts }),
    createDeviceCredentialWay({ credentials: deviceCredentials }),
    createCustomAuthWay(customAuth),
    createCertificateWay(certificates),
    jwt,
    http,
    ...(settings.open ? [createOpenWay(settings.defaultInstance)] : []),
    createAccessKeyWay(accounts),
  ];
  const close = (): void => {
    jwt.close();
    http.close();
  };
  return { ways, close };
}

/** `{"accessKeyId","accessKeySecret"}`; the error names the file and never what is in it. */
function readAdminKey(path: string | undefined): AdminKey | undefined {
  if (path === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const why = error instanceof SyntaxError ? 'it is not JSON' : (error as Error).message;
    throw new Fault('invalidParameter', `cannot read the admin key file ${path}: ${why}`);
  }
  const { accessKeyId, accessKeySecret } = (value ?? {}) as Partial<AdminKey>;
  if (typeof accessKeyId !== 'string' || typeof accessKeySecret !== 'string') {
    const expected = 'expected {"accessKeyId": "...", "accessKeySecret": "..."}';
    throw new Fault('invalidParameter', `bad admin key file ${path}: ${expected}`);
  }
  return { accessKeyId, accessKeySecret };
}
