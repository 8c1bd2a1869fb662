/**
 * Custom authentication: user names of the customer's own, what they may do, and who may not
 * connect at all.
 *
 * Adding never replaces: a row that is there already is refused (`alreadyExists`), as changing
 * and deleting one that is not there is (`notFound`). Changes act on live connections.
 */
import { type Clock, Fault, type FaultCode, type Log } from '#base';
import type { Instance } from '#instances';
import type { Row, RowChange, Store, Table } from '#ports';
import type { LiveClient } from '../authenticator.ts';
import {
  CLIENT_ID_CHARS_MAX,
  type FieldFlaw,
  identityFlaw,
  permissionFlaw,
  textFlaw,
  USER_NAME_CHARS_MAX,
} from './custom-flaws.ts';
import {
  BUCKETS,
  blackClientOf,
  blackRowKey,
  type CustomIdentity,
  type CustomPermission,
  type CustomTables,
  customTables,
  type IdentityKey,
  type IdentityType,
  identityOf,
  identityRowKey,
  instanceOf,
  keyName,
  openRowCounts,
  type PermissionKey,
  permissionKeyOf,
  permissionRowKey,
  type RowCounts,
  readIdentity,
  readPermission,
  writeIdentity,
  writePermission,
} from './custom-records.ts';
import { type LiveRules, openRuleSets, type RuleSets } from './live-rules.ts';
import { type PageRequest, type RecordPage, readPage } from './record-page.ts';
import type { SecretBox } from '../secret-box.ts';

/** An identity as its row stood when it was asked. */
export interface FoundIdentity extends CustomIdentity {
  readonly rowKey: string;
  readonly rowVersion: number;
}

export interface IdentityQuery extends PageRequest, Partial<IdentityKey> {}
export interface PermissionQuery extends PageRequest, Partial<PermissionKey> {}
export interface BlackQuery extends PageRequest {
  readonly clientId?: string;
}

export interface CustomAuth {
  addIdentity(instance: Instance, identity: CustomIdentity): Promise<void>;
  /** The same secret and mode again change nothing, so nobody is disconnected for it. */
  updateIdentity(instance: Instance, identity: CustomIdentity): Promise<void>;
  deleteIdentity(instance: Instance, key: IdentityKey): Promise<void>;
  queryIdentities(instance: Instance, query: IdentityQuery): Promise<RecordPage<CustomIdentity>>;

  addPermission(instance: Instance, permission: CustomPermission): Promise<void>;
  updatePermission(instance: Instance, permission: CustomPermission): Promise<void>;
  deletePermission(instance: Instance, key: PermissionKey): Promise<void>;
  queryPermissions(
    instance: Instance,
    query: PermissionQuery,
  ): Promise<RecordPage<CustomPermission>>;

  addBlack(instance: Instance, clientId: string): Promise<void>;
  deleteBlack(instance: Instance, clientId: string): Promise<void>;
  queryBlack(instance: Instance, query: BlackQuery): Promise<RecordPage<string>>;

  /** Asked for every way of authentication; instances without a blacklist pay nothing. */
  isBlacklisted(instanceId: string, clientId: string): boolean | Promise<boolean>;
  /** Hears of each client put on a blacklist. Returns the way to stop. */
  onBlacklisted(listener: (instanceId: string, clientId: string) => void): () => void;

  /** That of the user with this client before that of the user. At once where there can be none. */
  findIdentity(
    instanceId: string,
    userName: string,
    clientId: string,
  ): undefined | Promise<FoundIdentity | undefined>;
  rulesFor(instanceId: string, userName: string, clientId: string): Promise<LiveRules>;
  /** A client proved to be `identity` and was accepted. Returns what to do when it has ended. */
  connected(
    instanceId: string,
    identity: FoundIdentity,
    rules: LiveRules,
    client: LiveClient,
  ): () => void;

  identityCount(instanceId: string): number;
  /** Permissions and blacklist together. */
  permissionCount(instanceId: string): number;
  close(): void;
}

const BLACK_ROW: Uint8Array = Buffer.from('{"fresh":true}');

interface Parts {
  readonly tables: CustomTables;
  readonly box: SecretBox;
  readonly log: Log;
  readonly identityCounts: RowCounts;
  readonly permissionCounts: RowCounts;
  readonly blackCounts: RowCounts;
  readonly ruleSets: RuleSets;
  /** By row key. */
  readonly provenClients: Map<string, Set<LiveClient>>;
  /** Told to go once; several things may end a client at the same time. */
  readonly ended: WeakSet<LiveClient>;
  readonly blackListeners: Set<(instanceId: string, clientId: string) => void>;
}

/** Counts the rows and begins to follow them. */
export async function openCustomAuth(options: {
  readonly store: Store;
  readonly box: SecretBox;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<CustomAuth> {
  const { box, clock, log } = options;
  const tables = customTables(options.store);
  const failed = (error: unknown): void => {
    log.error('rules of custom authentication could not be read', { error: String(error) });
  };
  const parts: Parts = {
    tables,
    box,
    log,
    identityCounts: await openRowCounts(tables.identities),
    permissionCounts: await openRowCounts(tables.permissions),
    blackCounts: await openRowCounts(tables.blackRows),
    ruleSets: openRuleSets(tables.permissions, clock, failed),
    provenClients: new Map(),
    ended: new WeakSet(),
    blackListeners: new Set(),
  };
  const stops = [
    tables.identities.watch('', (change) => credentialChanged(parts, change)),
    tables.blackRows.watch('', (change) => blacklistChanged(parts, change)),
  ];
  return {
    ...identityActions(parts),
    ...permissionActions(parts),
    ...blacklistActions(parts),
    ...connectActions(parts),
    close() {
      for (const stop of stops) stop();
      parts.ruleSets.close();
      parts.identityCounts.close();
      parts.permissionCounts.close();
      parts.blackCounts.close();
    },
  };
}

type IdentityActions = Pick<
  CustomAuth,
  'addIdentity' | 'updateIdentity' | 'deleteIdentity' | 'queryIdentities' | 'identityCount'
>;

function identityActions(parts: Parts): IdentityActions {
  const { box } = parts;
  const table = parts.tables.identities;
  return {
    async addIdentity(instance, identity) {
      refuse(identityFlaw(identity));
      const key = identityRowKey(instance.id, identity);
      const value = writeIdentity(identity, box, true);
      await addRow(table, key, value, {
        counts: parts.identityCounts,
        countMax: instance.limits.customAuthRowCountMax,
        others: 0,
      });
    },
    async updateIdentity(instance, identity) {
      refuse(identityFlaw(identity));
      await changeRow(table, identityRowKey(instance.id, identity), (row) => {
        const before = readIdentity(row, box);
        const same = before.secret === identity.secret && before.signMode === identity.signMode;
        return same ? undefined : writeIdentity(identity, box, false);
      });
    },
    async deleteIdentity(instance, key) {
      refuse(identityFlaw(key));
      await removeRow(table, identityRowKey(instance.id, key));
    },
    queryIdentities(instance, query) {
      const { type, userName, clientId } = query;
      return readPage(table, query, {
        home: `${instance.id}/`,
        // Only those of type CLIENT name one.
        prefixes: listPrefixes(instance.id, clientId === undefined ? type : 'CLIENT', userName),
        takes(rowKey) {
          const key = identityOf(rowKey);
          if (type !== undefined && key.type !== type) return false;
          if (userName !== undefined && key.userName !== userName) return false;
          return clientId === undefined || key.clientId === clientId;
        },
        read: (row) => readIdentity(row, box),
      });
    },
    identityCount: (instanceId) => parts.identityCounts.of(instanceId),
  };
}

type PermissionActions = Pick<
  CustomAuth,
  'addPermission' | 'updatePermission' | 'deletePermission' | 'queryPermissions' | 'permissionCount'
>;

function permissionActions(parts: Parts): PermissionActions {
  const table = parts.tables.permissions;
  return {
    async addPermission(instance, permission) {
      refuse(permissionFlaw(permission));
      const key = permissionRowKey(instance.id, permission);
      await addRow(table, key, writePermission(permission, true), {
        counts: parts.permissionCounts,
        countMax: instance.limits.customAuthRowCountMax,
        others: parts.blackCounts.of(instance.id),
      });
    },
    async updatePermission(instance, permission) {
      refuse(permissionFlaw(permission));
      const key = permissionRowKey(instance.id, permission);
      await changeRow(table, key, () => writePermission(permission, false));
    },
    async deletePermission(instance, key) {
      refuse(permissionFlaw(key));
      await removeRow(table, permissionRowKey(instance.id, key));
    },
    queryPermissions(instance, query) {
      const { type, identity, topic } = query;
      return readPage(table, query, {
        home: `${instance.id}/`,
        prefixes: listPrefixes(instance.id, type, identity),
        takes(rowKey) {
          const key = permissionKeyOf(rowKey);
          if (identity !== undefined && key.identity !== identity) return false;
          return topic === undefined || key.topic === topic;
        },
        read: (row) => readPermission(row.key, row.value),
      });
    },
    permissionCount: (instanceId) =>
      parts.permissionCounts.of(instanceId) + parts.blackCounts.of(instanceId),
  };
}

type BlacklistActions = Pick<
  CustomAuth,
  'addBlack' | 'deleteBlack' | 'queryBlack' | 'isBlacklisted' | 'onBlacklisted'
>;

function blacklistActions(parts: Parts): BlacklistActions {
  const table = parts.tables.blackRows;
  return {
    async addBlack(instance, clientId) {
      refuse(textFlaw('clientId', clientId, CLIENT_ID_CHARS_MAX));
      await addRow(table, blackRowKey(instance.id, clientId), BLACK_ROW, {
        counts: parts.blackCounts,
        countMax: instance.limits.customAuthRowCountMax,
        others: parts.permissionCounts.of(instance.id),
      });
    },
    async deleteBlack(instance, clientId) {
      refuse(textFlaw('clientId', clientId, CLIENT_ID_CHARS_MAX));
      await removeRow(table, blackRowKey(instance.id, clientId));
    },
    queryBlack(instance, query) {
      const home = `${instance.id}/`;
      const { clientId } = query;
      const names = clientId === undefined ? BUCKETS : [keyName(clientId)];
      return readPage(table, query, {
        home,
        prefixes: names.map((name) => home + name),
        takes: (key) => clientId === undefined || blackClientOf(key) === clientId,
        read: (row) => blackClientOf(row.key),
      });
    },
    isBlacklisted: (instanceId, clientId) => isBlack(parts, instanceId, clientId),
    onBlacklisted(listener) {
      parts.blackListeners.add(listener);
      return () => void parts.blackListeners.delete(listener);
    },
  };
}

type ConnectActions = Pick<CustomAuth, 'findIdentity' | 'rulesFor' | 'connected'>;

function connectActions(parts: Parts): ConnectActions {
  const { box } = parts;
  const table = parts.tables.identities;
  const find = async (instanceId: string, key: IdentityKey): Promise<FoundIdentity | undefined> => {
    const rowKey = identityRowKey(instanceId, key);
    const row = await table.get(rowKey);
    return row && { ...readIdentity(row, box), rowKey, rowVersion: row.version };
  };
  const findEither = async (
    instanceId: string,
    userName: string,
    clientId: string,
  ): Promise<FoundIdentity | undefined> => {
    const ofClient =
      clientId.length > CLIENT_ID_CHARS_MAX
        ? undefined
        : await find(instanceId, { type: 'CLIENT', userName, clientId });
    return ofClient ?? find(instanceId, { type: 'USER', userName, clientId: '' });
  };
  return {
    findIdentity(instanceId, userName, clientId) {
      if (parts.identityCounts.of(instanceId) === 0) return undefined;
      if (userName === '' || userName.length > USER_NAME_CHARS_MAX) return undefined;
      return findEither(instanceId, userName, clientId);
    },
    rulesFor(instanceId, userName, clientId) {
      // Nothing can be said of a longer one.
      const known = clientId.length > CLIENT_ID_CHARS_MAX ? '' : clientId;
      return parts.ruleSets.rulesFor(instanceId, userName, known);
    },
    connected(instanceId, identity, rules, client) {
      const leave = rules.join(client);
      const proven = parts.provenClients.get(identity.rowKey) ?? new Set();
      parts.provenClients.set(identity.rowKey, proven);
      proven.add(client);
      checkAgain(parts, instanceId, identity, client).catch((error: unknown) => {
        parts.log.error('a new client could not be checked again', { error: String(error) });
      });
      return () => {
        leave();
        proven.delete(client);
        if (proven.size === 0 && parts.provenClients.get(identity.rowKey) === proven) {
          parts.provenClients.delete(identity.rowKey);
        }
      };
    },
  };
}

/** What changed between the proof and the acceptance was heard by nobody. */
async function checkAgain(
  parts: Parts,
  instanceId: string,
  identity: FoundIdentity,
  client: LiveClient,
): Promise<void> {
  const row = await parts.tables.identities.get(identity.rowKey);
  if (row?.version !== identity.rowVersion) end(parts, client, 'credentialRevoked');
  else if (await isBlack(parts, instanceId, client.clientId)) {
    end(parts, client, 'clientBlacklisted');
  }
}

function isBlack(parts: Parts, instanceId: string, clientId: string): boolean | Promise<boolean> {
  if (parts.blackCounts.of(instanceId) === 0 || clientId.length > CLIENT_ID_CHARS_MAX) return false;
  const row = parts.tables.blackRows.get(blackRowKey(instanceId, clientId));
  return row.then((found) => found !== undefined);
}

function credentialChanged(parts: Parts, change: RowChange): void {
  const clients = parts.provenClients.get(change.key);
  if (clients === undefined) return;
  for (const client of clients) end(parts, client, 'credentialRevoked');
}

function blacklistChanged(parts: Parts, change: RowChange): void {
  if (change.value === undefined) return;
  const instanceId = instanceOf(change.key);
  const clientId = blackClientOf(change.key);
  for (const client of parts.ruleSets.clientsOf(instanceId, clientId)) {
    end(parts, client, 'clientBlacklisted');
  }
  for (const listener of parts.blackListeners) listener(instanceId, clientId);
}

function end(parts: Parts, client: LiveClient, code: FaultCode): void {
  if (parts.ended.has(client)) return;
  parts.ended.add(client);
  client.disconnect(code);
}

/** Where the rows of one name, or of all, can be; the prefixes are ascending. */
function listPrefixes(
  instanceId: string,
  type: IdentityType | undefined,
  name: string | undefined,
): readonly string[] {
  const types: readonly IdentityType[] = type === undefined ? ['CLIENT', 'USER'] : [type];
  const names = name === undefined ? BUCKETS : [keyName(name)];
  return types.flatMap((one) => names.map((within) => `${instanceId}/${one}/${within}`));
}

interface Capacity {
  readonly counts: RowCounts;
  readonly countMax: number;
  /** Rows of other tables that count against the same bound. */
  readonly others: number;
}

async function addRow(
  table: Table,
  key: string,
  value: Uint8Array,
  capacity: Capacity,
): Promise<void> {
  const instanceId = instanceOf(key);
  if (!capacity.counts.reserve(instanceId, capacity.countMax, capacity.others)) {
    if ((await table.get(key)) !== undefined) throw new Fault('alreadyExists');
    throw new Fault('overCapacity');
  }
  try {
    const version = await table.put(key, value, 'absent');
    if (version === undefined) throw new Fault('alreadyExists');
  } finally {
    capacity.counts.release(instanceId);
  }
}

const CHANGE_TRIES_MAX = 10;

/** `change` answers `undefined` where the row is as wanted. */
async function changeRow(
  table: Table,
  key: string,
  change: (row: Row) => Uint8Array | undefined,
): Promise<void> {
  for (let tries = 0; tries < CHANGE_TRIES_MAX; tries++) {
    const row = await table.get(key);
    if (row === undefined) throw new Fault('notFound');
    const value = change(row);
    if (value === undefined) return;
    if ((await table.put(key, value, row.version)) !== undefined) return;
  }
  throw new Fault('storeUnavailable', 'others change the row all the time');
}

async function removeRow(table: Table, key: string): Promise<void> {
  if (!(await table.remove(key))) throw new Fault('notFound');
}

function refuse(flaw: FieldFlaw | undefined): void {
  if (flaw !== undefined) throw new Fault('invalidParameter', flaw.reason);
}
