/**
 * A broker process with its control doors open, HTTP and HTTPS, every kind of listener, and an
 * administrator who calls as a user's program does: with the vendor's client.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type BrokerProcess, type Scope, startBroker } from './broker-process.ts';
import { createAuthority } from './certificates.ts';
import { type DeviceAuthority, openWorkshop } from './device-authority.ts';
import { unique } from './wire-client.ts';
import {
  type Answer,
  openOpenApi,
  type VendorAccess,
  type VendorClient,
  type VendorFailure,
} from './vendor-clients.ts';

const ADMIN = { keyId: 'testAdminKey', secret: 'testAdminSecret' } as const;

/** Where clients go who name no instance; it is a test's to create. */
export const DEFAULT_INSTANCE = 'mqtt-default';

const LISTEN = ['mqtt', 'mqtts', 'ws', 'wss'] as const;
const DOORS = ['http', 'https'] as const;

export interface ControlBroker {
  readonly process: BrokerProcess;
  url(scheme: (typeof LISTEN)[number] | (typeof DOORS)[number]): string;
  /** Who signed the certificates of the broker, PEM. */
  readonly authority: string;
  readonly authorityFile: string;
  /** Of the devices; each instance registers it for itself. */
  readonly deviceAuthority: DeviceAuthority;
  /** What must not be in its log; tests add theirs. */
  readonly secrets: Set<string>;
  readonly admin: VendorClient;
  readonly adminAccess: VendorAccess;
  /** A new account that may do everything, so that its rates are its own. */
  createAccount(): Promise<VendorAccess>;
  /** A compatible instance with group `GID_test` and parent topic `news`. */
  createInstance(settings?: Answer): Promise<string>;
}

/** Lives as long as `scope`. */
export async function startControlBroker(scope: Scope): Promise<ControlBroker> {
  const directory = await mkdtemp(join(tmpdir(), 'ternmq-control-'));
  scope.after(() => rm(directory, { recursive: true, force: true }));
  const adminKeyFile = join(directory, 'admin.json');
  const key = { accessKeyId: ADMIN.keyId, accessKeySecret: ADMIN.secret };
  await writeFile(adminKeyFile, JSON.stringify(key));
  const sync = { after: (cleanUp: () => void) => scope.after(async () => cleanUp()) };
  const authority = createAuthority(sync);
  const { certificateFile, keyFile } = authority.issue('localhost');
  const deviceAuthority = openWorkshop(sync).authority();
  const options: Readonly<Record<string, string>> = {
    '--admin-key-file': adminKeyFile,
    '--default-instance': DEFAULT_INSTANCE,
    '--log-level': 'debug', // the most that it may ever say
    '--tls-cert': certificateFile,
    '--tls-key': keyFile,
    '--tls-client-cert': 'optional',
    '--control-cert': certificateFile,
    '--control-key': keyFile,
  };
  const process = await startBroker(scope, {
    closed: true,
    listen: LISTEN.map((scheme) => `${scheme}://127.0.0.1:0`),
    args: [
      ...DOORS.flatMap((scheme) => ['--control', `${scheme}://127.0.0.1:0`]),
      ...Object.entries(options).flat(),
    ],
  });
  const url: ControlBroker['url'] = (scheme) =>
    process.urls.find((one) => one.startsWith(`${scheme}://`))!.replace(/\/$/, '');
  const adminAccess = { url: url('http'), ...ADMIN };
  const admin = patient(openOpenApi('@alicloud/openapi-core', adminAccess, 'ACS3-HMAC-SHA256'));
  const secrets = new Set<string>([ADMIN.secret]);
  return {
    process,
    secrets,
    url,
    authority: authority.certificate,
    authorityFile: authority.certificateFile,
    deviceAuthority,
    admin,
    adminAccess,
    createAccount: async () => {
      const access = await createAccount(admin, url('http'));
      secrets.add(access.secret);
      return access;
    },
    createInstance: (settings) => createInstance(admin, settings),
  };
}

/** Calls again where it called too often, as long after as it is told. */
function patient(client: VendorClient): VendorClient {
  return {
    call: async (action, parameters) => {
      for (;;) {
        try {
          return await client.call(action, parameters);
        } catch (error) {
          const { code, retryAfter } = error as VendorFailure;
          if (code !== 'Throttling.User' || retryAfter === undefined) throw error;
          await delay(retryAfter);
        }
      }
    },
  };
}

async function createAccount(admin: VendorClient, url: string): Promise<VendorAccess> {
  const answer = await admin.call('CreateAccount', { AccountName: unique('backend-') });
  const { AccountId } = answer['Account'] as { readonly AccountId: string };
  await admin.call('AttachPolicy', { AccountId, PolicyName: 'AliyunMQFullAccess' });
  const { AccessKey } = (await admin.call('CreateAccessKey', { AccountId })) as {
    readonly AccessKey: { readonly AccessKeyId: string; readonly AccessKeySecret: string };
  };
  return { url, keyId: AccessKey.AccessKeyId, secret: AccessKey.AccessKeySecret };
}

async function createInstance(admin: VendorClient, settings: Answer = {}): Promise<string> {
  const { InstanceId } = (await admin.call('CreateInstance', {
    InstanceId: unique('mqtt-'),
    ...settings,
  })) as { readonly InstanceId: string };
  await admin.call('CreateGroupId', { InstanceId, GroupId: 'GID_test' });
  await admin.call('CreateTopic', { InstanceId, Topic: 'news' });
  return InstanceId;
}

/** Fails where the broker has written a secret into its log. */
export function assertSecretsKept({ process, secrets }: ControlBroker): void {
  const log = process.output();
  assert.match(log, /debug/, 'it says much');
  assert.ok(secrets.size > 1);
  for (const secret of secrets) assert.ok(!log.includes(secret), `${secret} is in the log`);
}
