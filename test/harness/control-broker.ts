/**
 * A broker process with its control doors open, HTTP and HTTPS, every kind of listener, and an
 * administrator who calls as a user's program does: with the vendor's client.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrokerProcess, type Scope, startBroker } from './broker-process.ts';
import { createAuthority } from './certificates.ts';
import { type DeviceAuthority, openWorkshop } from './device-authority.ts';
import { unique } from './wire-client.ts';
import {
  type Answer,
  openOpenApi,
  type VendorAccess,
  type VendorClient,
} from './vendor-clients.ts';

const ADMIN = { keyId: 'testAdminKey', secret: 'testAdminSecret' } as const;

const LISTEN = ['mqtt', 'mqtts', 'ws', 'wss'] as const;
const DOORS = ['http', 'https'] as const;

export interface ControlBroker {
  readonly process: BrokerProcess;
  url(scheme: (typeof LISTEN)[number] | (typeof DOORS)[number]): string;
  /** Who signed the certificates of the broker, PEM. */
  readonly authority: string;
  readonly authorityFile: string;
  /** Whose client certificates the TLS listeners take. */
  readonly deviceAuthority: DeviceAuthority;
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
  const deviceAuthorityFile = join(directory, 'devices.pem');
  await writeFile(deviceAuthorityFile, deviceAuthority.certificate);
  const options: Readonly<Record<string, string>> = {
    '--admin-key-file': adminKeyFile,
    '--tls-cert': certificateFile,
    '--tls-key': keyFile,
    '--tls-ca': deviceAuthorityFile,
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
  const admin = openOpenApi('@alicloud/openapi-core', adminAccess, 'ACS3-HMAC-SHA256');
  return {
    process,
    url,
    authority: authority.certificate,
    authorityFile: authority.certificateFile,
    deviceAuthority,
    admin,
    adminAccess,
    createAccount: () => createAccount(admin, url('http')),
    createInstance: (settings) => createInstance(admin, settings),
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
