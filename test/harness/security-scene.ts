/**
 * A broker process as its attacker meets it: a control door that takes requests signed, and
 * spoilt, by hand, and listeners that take bytes.
 */
import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type BrokerProcess, type Scope, startBroker } from './broker-process.ts';
import { connectClient, openClient, type V5Client } from './v5-client.ts';
import type { ConnectOptions } from './v5-packets.ts';

export interface Key {
  readonly id: string;
  readonly secret: string;
  readonly token?: string;
}

export type Fields = Readonly<Record<string, string>>;

export interface Answer {
  readonly status: number;
  readonly code: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What is done to a request before, and after, it is signed. */
export interface Spoil {
  readonly before?: Readonly<Record<string, string | undefined>>;
  readonly after?: Readonly<Record<string, string | undefined>>;
}

export interface SecurityScene {
  readonly broker: BrokerProcess;
  readonly admin: Key;
  readonly port: number;
  /** Signs ACS3; `key` undefined: not signed at all. Waits where it may not ask so often. */
  send(key: Key | undefined, action: string, fields?: Fields, spoil?: Spoil): Promise<Answer>;
  /** As the administrator, and it must succeed. */
  ok(action: string, fields?: Fields): Promise<Readonly<Record<string, unknown>>>;
  /** An account with these policy statements, and a key of it. */
  account(name: string, ...statements: readonly object[]): Promise<Key & { readonly of: string }>;
  /** A compatible instance with group `GID_test` and parent topic `news`. */
  instance(id: string, fields?: Fields): Promise<string>;
  connect(options: ConnectOptions): Promise<V5Client>;
  /** The CONNACK's reason. */
  tryConnect(options: ConnectOptions): Promise<number>;
}

const THROTTLED_MS = 100;

export const ADMIN: Key = { id: 'testAdminKey', secret: 'test-admin-secret-3f1c9a77' };

export async function openSecurityScene(
  scope: Scope,
  args: readonly string[] = [],
): Promise<SecurityScene> {
  const directory = await mkdtemp(join(tmpdir(), 'ternmq-security-'));
  scope.after(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, 'admin.json');
  const content = { accessKeyId: ADMIN.id, accessKeySecret: ADMIN.secret };
  await writeFile(file, JSON.stringify(content));
  const broker = await startBroker(scope, {
    closed: true,
    args: ['--control', 'http://127.0.0.1:0', '--admin-key-file', file, ...args],
  });
  const send: SecurityScene['send'] = async (key, action, fields = {}, spoil = {}) => {
    for (;;) {
      const answer = await post(broker.urls.at(-1)!, key, action, fields, spoil);
      if (answer.code !== 'Throttling.User') return answer;
      await delay(THROTTLED_MS); // a fast machine asks more often than one may
    }
  };
  const ok: SecurityScene['ok'] = async (action, fields) => {
    const { status, body } = await send(ADMIN, action, fields);
    assert.equal(status, 200, `${action}: ${JSON.stringify(body)}`);
    return body;
  };
  const ending = {
    after: (action: () => void | Promise<void>) => scope.after(async () => action()),
  };
  return {
    broker,
    admin: ADMIN,
    get port() {
      return broker.port;
    },
    send,
    ok,
    account: async (name, ...statements) => {
      const made = await ok('CreateAccount', { AccountName: name });
      const { AccountId } = made['Account'] as { readonly AccountId: string };
      if (statements.length > 0) {
        const PolicyDocument = JSON.stringify({ Version: '1', Statement: statements });
        await ok('AttachPolicy', { AccountId, PolicyName: 'own', PolicyDocument });
      }
      const { AccessKey } = (await ok('CreateAccessKey', { AccountId })) as {
        readonly AccessKey: { readonly AccessKeyId: string; readonly AccessKeySecret: string };
      };
      return { id: AccessKey.AccessKeyId, secret: AccessKey.AccessKeySecret, of: AccountId };
    },
    instance: async (InstanceId, fields = {}) => {
      await ok('CreateInstance', { InstanceId, ...fields });
      if (fields['Kind'] !== 'open') {
        await ok('CreateGroupId', { InstanceId, GroupId: 'GID_test' });
        await ok('CreateTopic', { InstanceId, Topic: 'news' });
      }
      return InstanceId;
    },
    connect: (options) => connectClient(ending, broker.port, options),
    tryConnect: async (options) => {
      const client = await openClient(ending, broker.port);
      client.sendConnect(options);
      const { reason } = await client.next('connack');
      client.drop();
      return reason;
    },
  };
}

async function post(
  url: string,
  key: Key | undefined,
  action: string,
  fields: Fields,
  spoil: Spoil,
): Promise<Answer> {
  const body = new URLSearchParams(fields).toString();
  const headers: Record<string, string | undefined> = {
    host: new URL(url).host,
    'content-type': 'application/x-www-form-urlencoded',
    'x-acs-action': action,
    'x-acs-version': '2020-04-20',
    'x-acs-date': `${new Date().toISOString().slice(0, 19)}Z`,
    'x-acs-signature-nonce': randomBytes(16).toString('hex'),
    'x-acs-content-sha256': createHash('sha256').update(body).digest('hex'),
    'x-acs-security-token': key?.token,
    ...spoil.before,
  };
  if (key !== undefined) headers['authorization'] = authorization(key, headers);
  Object.assign(headers, spoil.after);
  delete headers['host']; // fetch writes its own, and the same
  const sent = Object.entries(headers).filter(
    (one): one is [string, string] => one[1] !== undefined,
  );
  const response = await fetch(url, { method: 'POST', headers: sent, body });
  const parsed = (await response.json()) as Readonly<Record<string, unknown>>;
  const { Code } = parsed;
  const code = typeof Code === 'string' ? Code : '';
  return { status: response.status, code, body: parsed };
}

function authorization(key: Key, headers: Readonly<Record<string, string | undefined>>): string {
  const names = Object.keys(headers).filter((name) => headers[name] !== undefined);
  names.sort();
  const lines = names.map((name) => `${name}:${headers[name]!.trim()}\n`).join('');
  const list = names.join(';');
  const text = ['POST', '/', '', lines, list, headers['x-acs-content-sha256']].join('\n');
  const digest = createHash('sha256').update(text).digest('hex');
  const hmac = createHmac('sha256', key.secret).update(`ACS3-HMAC-SHA256\n${digest}`);
  return `ACS3-HMAC-SHA256 Credential=${key.id},SignedHeaders=${list},Signature=${hmac.digest('hex')}`;
}

/** The password of Signature and DeviceCredential mode. */
export function sign(secret: string, clientId: string | Uint8Array): string {
  return createHmac('sha1', secret).update(clientId).digest('base64');
}
