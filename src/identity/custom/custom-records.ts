/**
 * The rows of custom authentication: identities, permissions, and the connection blacklist.
 *
 * Keys are made so that what a CONNECT asks is a `get` or one short scan; buckets of names make
 * a page of a long list a scan of few rows. In memory there is a count per instance only.
 *
 *   identities   <instance>/<type>/<bucket>/<user>[/<client>]
 *   permissions  <instance>/<type>/<bucket>/<identity>/<topic>
 *   blacklist    <instance>/<bucket>/<client>
 */
import { assert } from '#base';
import type { Row, RowChange, Store, Table } from '#ports';
import type { SecretBox } from '../secret-box.ts';
import type { TopicRule } from '../topic-rules.ts';

/** `USER`: a user name alone; `CLIENT`: a user name with one client identifier. */
export type IdentityType = 'USER' | 'CLIENT';
/** `ORIGIN`: the password is the secret; `SIGNED`: Base64(HMAC-SHA1(secret, client identifier)). */
export type SignMode = 'ORIGIN' | 'SIGNED';
export type PermitAction = 'PUB' | 'SUB' | 'PUB_SUB';
export type RuleEffect = 'ALLOW' | 'DENY';

export interface IdentityKey {
  readonly type: IdentityType;
  readonly userName: string;
  /** '' with `USER`. */
  readonly clientId: string;
}

export interface CustomIdentity extends IdentityKey {
  readonly signMode: SignMode;
  readonly secret: string;
}

export interface PermissionKey {
  readonly type: IdentityType;
  /** A user name, or a client identifier. */
  readonly identity: string;
  readonly topic: string;
}

export interface CustomPermission extends PermissionKey {
  readonly action: PermitAction;
  readonly effect: RuleEffect;
}

/** `fresh` marks a row that was not there before, so that a watcher can count. */
interface StoredIdentity {
  readonly fresh: boolean;
  readonly signMode: SignMode;
  readonly sealed: string;
}

interface StoredPermission {
  readonly fresh: boolean;
  readonly action: PermitAction;
  readonly effect: RuleEffect;
}

const BUCKET_COUNT = 256;

/** What the names of every bucket begin with, ascending. */
export const BUCKETS: readonly string[] = Array.from({ length: BUCKET_COUNT }, (_, bucket) =>
  bucketName(bucket),
);

/** A name within a key, behind its bucket; U+0000 was refused before. */
export function keyName(name: string): string {
  let hash = 0x811c9dc5; // FNV-1a
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return bucketName((hash ^ (hash >>> 16)) & (BUCKET_COUNT - 1)) + escape(name);
}

function bucketName(bucket: number): string {
  return `${bucket.toString(16).padStart(2, '0')}/`;
}

function escape(name: string): string {
  return name.replaceAll('%', '%25').replaceAll('/', '%2F');
}

function unescape(part: string): string {
  return part.replaceAll('%2F', '/').replaceAll('%25', '%');
}

export function identityRowKey(instanceId: string, key: IdentityKey): string {
  const name = `${instanceId}/${key.type}/${keyName(key.userName)}`;
  return key.type === 'USER' ? name : `${name}/${escape(key.clientId)}`;
}

/** What the keys of all rules of one identity begin with, the slash at the end included. */
export function rulesPrefix(instanceId: string, type: IdentityType, identity: string): string {
  return `${instanceId}/${type}/${keyName(identity)}/`;
}

export function permissionRowKey(instanceId: string, key: PermissionKey): string {
  return rulesPrefix(instanceId, key.type, key.identity) + key.topic;
}

const RULES_PREFIX_SLASHES = 4;

/** The length of the `rulesPrefix` that the key begins with. */
export function rulesPrefixLength(key: string): number {
  let end = 0;
  for (let i = 0; i < RULES_PREFIX_SLASHES; i++) end = key.indexOf('/', end) + 1;
  return end;
}

export function blackRowKey(instanceId: string, clientId: string): string {
  return `${instanceId}/${keyName(clientId)}`;
}

export function instanceOf(key: string): string {
  return key.slice(0, key.indexOf('/'));
}

export function identityOf(key: string): IdentityKey {
  const [, type, , userName, clientId] = key.split('/');
  assert(userName !== undefined, 'an identity row names its user');
  return {
    type: type === 'USER' ? 'USER' : 'CLIENT',
    userName: unescape(userName),
    clientId: unescape(clientId ?? ''),
  };
}

export function permissionKeyOf(key: string): PermissionKey {
  const end = rulesPrefixLength(key);
  const [, type, , identity] = key.slice(0, end - 1).split('/');
  assert(identity !== undefined, 'a permission row names its identity');
  return {
    type: type === 'USER' ? 'USER' : 'CLIENT',
    identity: unescape(identity),
    topic: key.slice(end),
  };
}

export function blackClientOf(key: string): string {
  const [, , clientId] = key.split('/');
  assert(clientId !== undefined, 'a row of the blacklist names its client');
  return unescape(clientId);
}

export function writeIdentity(identity: CustomIdentity, box: SecretBox, fresh: boolean): Buffer {
  const sealed = Buffer.from(box.seal(identity.secret)).toString('base64');
  const stored: StoredIdentity = { fresh, signMode: identity.signMode, sealed };
  return Buffer.from(JSON.stringify(stored));
}

export function readIdentity(row: Row, box: SecretBox): CustomIdentity {
  const stored = JSON.parse(Buffer.from(row.value).toString()) as StoredIdentity;
  const secret = box.open(Buffer.from(stored.sealed, 'base64'));
  return { ...identityOf(row.key), signMode: stored.signMode, secret };
}

export function writePermission(permission: CustomPermission, fresh: boolean): Buffer {
  const { action, effect } = permission;
  const stored: StoredPermission = { fresh, action, effect };
  return Buffer.from(JSON.stringify(stored));
}

export function readPermission(key: string, value: Uint8Array): CustomPermission {
  const stored = JSON.parse(Buffer.from(value).toString()) as StoredPermission;
  return { ...permissionKeyOf(key), action: stored.action, effect: stored.effect };
}

export function ruleOf(permission: CustomPermission): TopicRule {
  return {
    effect: permission.effect === 'DENY' ? 'deny' : 'allow',
    publish: permission.action !== 'SUB',
    subscribe: permission.action !== 'PUB',
    filter: permission.topic,
  };
}

/** How many rows of a table each instance has. */
export interface RowCounts {
  of(instanceId: string): number;
  /** Takes a place before a row is added; false: there are `countMax` or more. */
  reserve(instanceId: string, countMax: number, others: number): boolean;
  /** Gives back what `reserve` took, once the row counts itself or was refused. */
  release(instanceId: string): void;
  close(): void;
}

/** Counts once, then follows the changes. */
export async function openRowCounts(table: Table): Promise<RowCounts> {
  const counts = new Map<string, number>();
  const reserved = new Map<string, number>();
  const change = (map: Map<string, number>, instanceId: string, by: number): void => {
    const count = (map.get(instanceId) ?? 0) + by;
    if (count > 0) map.set(instanceId, count);
    else map.delete(instanceId);
  };
  for await (const rows of table.scan('')) {
    for (const row of rows) change(counts, instanceOf(row.key), 1);
  }
  const stop = table.watch('', (row) => {
    const by = growth(row);
    if (by !== 0) change(counts, instanceOf(row.key), by);
  });
  const of = (instanceId: string): number =>
    (counts.get(instanceId) ?? 0) + (reserved.get(instanceId) ?? 0);
  return {
    of,
    reserve(instanceId, countMax, others) {
      if (of(instanceId) + others >= countMax) return false;
      change(reserved, instanceId, 1);
      return true;
    },
    release: (instanceId) => change(reserved, instanceId, -1),
    close: stop,
  };
}

function growth(change: RowChange): number {
  if (change.value === undefined) return -1;
  const stored = JSON.parse(Buffer.from(change.value).toString()) as { readonly fresh: boolean };
  return stored.fresh ? 1 : 0;
}

export interface CustomTables {
  readonly identities: Table;
  readonly permissions: Table;
  readonly blackRows: Table;
}

const TABLE_NAMES = ['custom-identities', 'custom-permissions', 'custom-blacklist'] as const;

/** Their rows go with their instance. */
export const CUSTOM_AUTH_TABLES: readonly string[] = TABLE_NAMES;

export function customTables(store: Store): CustomTables {
  const [identities, permissions, blackRows] = TABLE_NAMES;
  return {
    identities: store.table(identities),
    permissions: store.table(permissions),
    blackRows: store.table(blackRows),
  };
}
