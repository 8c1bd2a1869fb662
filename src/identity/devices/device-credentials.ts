/**
 * Device credentials: a key pair for one client identifier each, by the million.
 *
 * Rows stay in the store: a bounded number of those last used is in memory. A client's row lies in
 * one of 4,096 buckets of its group, by a hash of its name. Lists go bucket by bucket, so that a
 * page costs a page however large the group is; see `device-groups.ts`.
 */
import { createHash } from 'node:crypto';
import { type Clock, Fault, type Random } from '#base';
import type { Row, Store, Table } from '#ports';
import { BUCKET_DIGITS, DeviceGroups } from './device-groups.ts';
import { RecentMap } from '../recent-map.ts';
import type { SecretBox } from '../secret-box.ts';

export interface DeviceCredential {
  readonly instanceId: string;
  readonly clientId: string;
  /** `DC.` and more; public. */
  readonly accessKeyId: string;
  /** `DC.` and more; a secret. */
  readonly accessKeySecret: string;
  readonly createdMs: number;
  readonly updatedMs: number;
}

export interface DevicePageRequest {
  readonly instanceId: string;
  readonly groupId: string;
  readonly pageSize: number;
  /** Counted from 1; where there is a `nextToken`, that one says where to go on. */
  readonly pageNumber: number;
  /** Of the page before; '' begins. */
  readonly nextToken: string;
}

export interface DevicePage {
  readonly clientIds: readonly string[];
  /** '' after the last page. */
  readonly nextToken: string;
  readonly total: number;
}

export interface DeviceCredentials {
  /** A new pair for the client, instead of the one it may have. */
  register(instanceId: string, clientId: string): Promise<DeviceCredential>;
  find(instanceId: string, clientId: string): Promise<DeviceCredential | undefined>;
  /** Whose key that is. */
  findClientId(instanceId: string, accessKeyId: string): Promise<string | undefined>;
  /** A new pair for a client that has one; else a Fault `notFound`. */
  refresh(instanceId: string, clientId: string): Promise<DeviceCredential>;
  /** Takes the client's pair away; a Fault `notFound` where it has none. */
  unregister(instanceId: string, clientId: string): Promise<void>;
  /** Clients of a group that have credentials, in an order of no meaning that stays the same. */
  list(request: DevicePageRequest): Promise<DevicePage>;
  /** Tells when a client's pair was replaced or taken away. Returns the way to stop. */
  onChanged(instanceId: string, clientId: string, listener: () => void): () => void;
  /** How many credentials are in memory just now. */
  readonly cachedCount: number;
  close(): void;
}

const TABLE = 'device-credentials';
const INDEX_TABLE = 'device-credential-keys';
const COUNT_TABLE = 'device-credential-counts';
/** Keys begin with the instance. */
export const DEVICE_CREDENTIAL_TABLES: readonly string[] = [TABLE, INDEX_TABLE, COUNT_TABLE];
const CACHED_COUNT_MAX = 10_000;
const KEY_PART_CHARS_MAX = 4_096; // encoded and twice in a key, they stay within its bound
const ACCESS_KEY_ID_BYTES = 16;
const SECRET_BYTES = 24;
const PREFIX = 'DC.';
const SEPARATOR = '@@@';

interface Options {
  readonly store: Store;
  readonly box: SecretBox;
  readonly clock: Clock;
  readonly random: Random;
  readonly cachedCountMax?: number;
}

/** The credentials in that store; nothing is read before it is asked for. */
export function openDeviceCredentials(options: Options): DeviceCredentials {
  return new StoredCredentials(options);
}

class StoredCredentials implements DeviceCredentials {
  readonly #options: Options;
  readonly #table: Table;
  /** `<instanceId>/<accessKeyId>` -> client identifier. */
  readonly #index: Table;
  readonly #groups: DeviceGroups;
  /** By row key. */
  readonly #cached: RecentMap<DeviceCredential>;
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #stopWatching: () => void;
  /** Counts changes: what was read before one is not to be kept after it. */
  #changeCount = 0;

  constructor(options: Options) {
    this.#options = options;
    this.#table = options.store.table(TABLE);
    this.#index = options.store.table(INDEX_TABLE);
    this.#groups = new DeviceGroups(this.#table, options.store.table(COUNT_TABLE));
    this.#cached = new RecentMap(options.cachedCountMax ?? CACHED_COUNT_MAX);
    this.#stopWatching = this.#table.watch('', ({ key }) => {
      this.#forget(key);
      const listeners = this.#listeners.get(key);
      if (listeners !== undefined) for (const tell of listeners) tell();
    });
  }

  get cachedCount(): number {
    return this.#cached.size;
  }

  async register(instanceId: string, clientId: string): Promise<DeviceCredential> {
    return await this.#replace(instanceId, clientId, () => this.#options.clock.nowMs());
  }

  async refresh(instanceId: string, clientId: string): Promise<DeviceCredential> {
    return await this.#replace(instanceId, clientId, (before) => {
      if (before === undefined) throw noCredential();
      return before.createdMs;
    });
  }

  async unregister(instanceId: string, clientId: string): Promise<void> {
    const key = rowKey(instanceId, clientId);
    for (;;) {
      const removing = this.#groups.change(key, (row) => {
        if (row === undefined) throw noCredential();
        const before = this.#read(instanceId, clientId, row);
        // Issued together, durable together [ST10].
        const writing = this.#table.remove(key, row.version);
        this.#index.write(`${instanceId}/${before.accessKeyId}`, undefined);
        return { by: -1, writing };
      });
      if (await this.#written(key, removing)) return;
    }
  }

  async find(instanceId: string, clientId: string): Promise<DeviceCredential | undefined> {
    if (!isKeyPart(clientId)) return undefined;
    const key = rowKey(instanceId, clientId);
    const cached = this.#cached.get(key);
    if (cached !== undefined) return cached;
    const changeCount = this.#changeCount;
    const row = await this.#table.get(key);
    if (row === undefined) return undefined;
    const credential = this.#read(instanceId, clientId, row);
    if (changeCount === this.#changeCount) this.#cached.set(key, credential);
    return credential;
  }

  async findClientId(instanceId: string, accessKeyId: string): Promise<string | undefined> {
    if (accessKeyId.length > 64 || !isKeyPart(accessKeyId)) return undefined;
    const row = await this.#index.get(`${instanceId}/${accessKeyId}`);
    if (row === undefined) return undefined;
    const clientId = Buffer.from(row.value).toString();
    const credential = await this.find(instanceId, clientId);
    return credential?.accessKeyId === accessKeyId ? clientId : undefined;
  }

  async list(request: DevicePageRequest): Promise<DevicePage> {
    const { groupId, pageSize } = request;
    const nothing: DevicePage = { clientIds: [], nextToken: '', total: 0 };
    if (groupId !== '' && !isKeyPart(groupId)) return nothing;
    const prefix = groupPrefix(request.instanceId, groupId);
    const after = decodeNextToken(request.nextToken);
    if (after !== undefined && groupOf(after) !== groupId) throw badNextToken();
    const start =
      after === undefined
        ? { skip: (request.pageNumber - 1) * pageSize }
        : { afterBucket: bucketOf(after), afterClientId: after };
    const page = await this.#groups.page(prefix, start, pageSize);
    const last = page.clientIds.at(-1);
    return {
      clientIds: page.clientIds,
      nextToken: page.more && last !== undefined ? encodeNextToken(last) : '',
      total: page.total,
    };
  }

  onChanged(instanceId: string, clientId: string, listener: () => void): () => void {
    const key = rowKey(instanceId, clientId);
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(key);
    };
  }

  close(): void {
    this.#stopWatching();
    this.#groups.close();
    this.#listeners.clear();
  }

  async #replace(
    instanceId: string,
    clientId: string,
    createdMs: (before: DeviceCredential | undefined) => number,
  ): Promise<DeviceCredential> {
    if (!isKeyPart(clientId)) throw new Fault('invalidParameter', 'ClientId is not well formed');
    const { clock, random } = this.#options;
    const key = rowKey(instanceId, clientId);
    for (;;) {
      const accessKeyId = PREFIX + randomText(random, ACCESS_KEY_ID_BYTES);
      const accessKeySecret = PREFIX + randomText(random, SECRET_BYTES);
      const indexKey = `${instanceId}/${accessKeyId}`;
      let made: DeviceCredential | undefined;
      const putting = this.#groups.change(key, (row) => {
        const before = row && this.#read(instanceId, clientId, row);
        const times = { createdMs: createdMs(before), updatedMs: clock.nowMs() };
        made = { instanceId, clientId, accessKeyId, accessKeySecret, ...times };
        // Issued together, durable together [ST10]. Where another node was faster, the former key
        // is gone all the same.
        const writing = this.#table.put(key, this.#write(made), row?.version ?? 'absent');
        this.#index.write(indexKey, Buffer.from(clientId));
        if (before !== undefined) {
          this.#index.write(`${instanceId}/${before.accessKeyId}`, undefined);
        }
        return { by: row === undefined ? 1 : 0, writing };
      });
      if ((await this.#written(key, putting)) !== undefined) return made!;
      this.#index.write(indexKey, undefined);
    }
  }

  /** The outcome of a write; whatever it is, what was read before is not to be trusted. */
  async #written<Outcome>(key: string, writing: Promise<Outcome>): Promise<Outcome> {
    try {
      return await writing;
    } finally {
      this.#forget(key);
    }
  }

  #forget(key: string): void {
    this.#changeCount++;
    this.#cached.delete(key);
  }

  /** `created ms (8) | updated ms (8) | length (1) | access key id | sealed secret`. */
  #write(credential: DeviceCredential): Uint8Array {
    const id = Buffer.from(credential.accessKeyId);
    const head = Buffer.alloc(17);
    head.writeDoubleBE(credential.createdMs, 0);
    head.writeDoubleBE(credential.updatedMs, 8);
    head.writeUInt8(id.length, 16);
    return Buffer.concat([head, id, this.#options.box.seal(credential.accessKeySecret)]);
  }

  #read(instanceId: string, clientId: string, row: Row): DeviceCredential {
    const value = Buffer.from(row.value.buffer, row.value.byteOffset, row.value.length);
    const idEnd = 17 + value.readUInt8(16);
    return {
      instanceId,
      clientId,
      accessKeyId: value.toString('utf8', 17, idEnd),
      accessKeySecret: this.#options.box.open(value.subarray(idEnd)),
      createdMs: value.readDoubleBE(0),
      updatedMs: value.readDoubleBE(8),
    };
  }
}

function noCredential(): Fault {
  return new Fault('notFound', 'the client has no credential');
}

function badNextToken(): Fault {
  return new Fault('invalidParameter', 'NextToken is not one of ours');
}

/** The group in `GroupID@@@DeviceID`; '' for client identifiers of another form. */
function groupOf(clientId: string): string {
  const end = clientId.indexOf(SEPARATOR);
  return end < 0 ? '' : clientId.slice(0, end);
}

function bucketOf(clientId: string): string {
  return createHash('sha256').update(clientId).digest('hex').slice(0, BUCKET_DIGITS);
}

/** Groups are encoded: one with a slash must not lie within another. */
function groupPrefix(instanceId: string, groupId: string): string {
  return `${instanceId}/${encodeURIComponent(groupId)}/`;
}

function rowKey(instanceId: string, clientId: string): string {
  return `${groupPrefix(instanceId, groupOf(clientId))}${bucketOf(clientId)}/${clientId}`;
}

function isKeyPart(text: string): boolean {
  if (text.length === 0 || text.length > KEY_PART_CHARS_MAX) return false;
  return text.isWellFormed() && !text.includes('\0');
}

function encodeNextToken(clientId: string): string {
  return Buffer.from(clientId).toString('base64url');
}

function decodeNextToken(token: string): string | undefined {
  if (token === '') return undefined;
  const clientId = Buffer.from(token, 'base64url').toString();
  if (!isKeyPart(clientId) || encodeNextToken(clientId) !== token) throw badNextToken();
  return clientId;
}

function randomText(random: Random, size: number): string {
  return Buffer.from(random.bytes(size)).toString('base64url');
}
