/**
 * The users SCRAM knows: one row each, with salted keys, never a password.
 *
 * They are looked up in the store; what is in memory is only who is connected. A user who is
 * removed or gets another password is disconnected everywhere; other rules count at once.
 */
import { createHmac } from 'node:crypto';
import { assert, type Clock, Fault, type Random } from '#base';
import type { Row, RowChange, Store, Table } from '#ports';
import type { LiveClient, Permissions } from '../authenticator.ts';
import { type PageRequest, readPage, type RecordPage } from '../custom/record-page.ts';
import { deriveScramKeys, KEY_BYTES, type ScramKeys } from './scram-keys.ts';
import { prepare } from './scram-message.ts';
import { type TopicRule, TopicRules } from '../topic-rules.ts';

/** Rows go with their instance. */
export const SCRAM_USER_TABLE = 'scram-users';
const SETTING_TABLE = 'scram-settings';
const NOBODY_ROW = 'nobody';

export const SCRAM_ITERATIONS_MIN = 4_096;
export const SCRAM_ITERATIONS_MAX = 1_000_000;
/** The client has to compute as many: devices are small. */
export const SCRAM_ITERATIONS = 10_000;
export const SCRAM_RULE_COUNT_MAX = 100;
const SALT_BYTES = 16;
const USER_NAME_BYTES_MAX = 256;
const PASSWORD_BYTES_MAX = 1_024;

export interface ScramUser {
  readonly userName: string;
  readonly iterations: number;
  /** `undefined`: everything is allowed. */
  readonly rules: readonly TopicRule[] | undefined;
  readonly updatedMs: number;
}

export interface ScramUserChange {
  readonly userName: string;
  /** `undefined`: it stays; a new user needs one. */
  readonly password?: string | undefined;
  readonly iterations?: number | undefined;
  /** `undefined`: they stay; `all`: everything is allowed, as for a new user. */
  readonly rules?: readonly TopicRule[] | 'all' | undefined;
}

/** A user as it was when it was looked up. */
export interface ScramCredential {
  readonly instanceId: string;
  readonly userName: string;
  readonly keys: ScramKeys;
  readonly rules: readonly TopicRule[] | undefined;
  readonly version: number;
}

/** A connection's permissions, kept current. */
export interface ScramPermissions extends Permissions {
  /** Connected; returns what to do when it no longer is. */
  join(client: LiveClient): () => void;
}

export interface ScramUsers {
  /** Makes or changes a user. Refusals: `invalidParameter`. */
  set(instanceId: string, change: ScramUserChange): Promise<void>;
  /** Refusals: `notFound`. */
  remove(instanceId: string, userName: string): Promise<void>;
  list(instanceId: string, page: PageRequest): Promise<RecordPage<ScramUser>>;
  /** `userName` is prepared. */
  find(instanceId: string, userName: string): Promise<ScramCredential | undefined>;
  /** Keys that fit no password, the same each time. */
  keysOfNobody(instanceId: string, userName: string): ScramKeys;
  follow(credential: ScramCredential): ScramPermissions;
  close(): void;
}

export interface ScramUsersOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
}

export async function openScramUsers(options: ScramUsersOptions): Promise<ScramUsers> {
  const nobodyKey = await readNobodyKey(options);
  return new ScramUserStore(options, nobodyKey);
}

/** All nodes and all restarts agree on it, or salts would tell who exists. */
async function readNobodyKey({ store, random }: ScramUsersOptions): Promise<Uint8Array> {
  const table = store.table(SETTING_TABLE);
  await table.put(NOBODY_ROW, random.bytes(KEY_BYTES), 'absent');
  const row = await table.get(NOBODY_ROW);
  assert(row !== undefined, 'a row that was put is there');
  return row.value;
}

/** What a row holds, as JSON. */
interface Stored {
  readonly salt: string;
  readonly iterations: number;
  readonly storedKey: string;
  readonly serverKey: string;
  readonly rules: readonly TopicRule[] | null;
  readonly updatedMs: number;
}

class ScramUserStore implements ScramUsers {
  readonly #options: ScramUsersOptions;
  readonly #table: Table;
  readonly #nobodyKey: Uint8Array;
  readonly #live = new Map<string, Set<Followed>>();
  readonly #stop: () => void;

  constructor(options: ScramUsersOptions, nobodyKey: Uint8Array) {
    this.#options = options;
    this.#nobodyKey = nobodyKey;
    this.#table = options.store.table(SCRAM_USER_TABLE);
    this.#stop = this.#table.watch('', (change) => this.#changed(change));
  }

  async set(instanceId: string, change: ScramUserChange): Promise<void> {
    const userName = checkedName(change.userName);
    const rules = checkedRules(change.rules);
    const { iterations } = change;
    const derived =
      change.password === undefined ? undefined : await this.#derive(change.password, iterations);
    const key = keyOf(instanceId, userName);
    for (;;) {
      const row = await this.#table.get(key);
      const before = row === undefined ? undefined : readStored(row.value);
      const keys = derived ?? before;
      if (keys === undefined) throw bad('a new user needs a password');
      if (derived === undefined && iterations !== undefined && iterations !== keys.iterations) {
        throw bad('other iterations need the password');
      }
      const { salt, storedKey, serverKey } = keys;
      const stored: Stored = {
        salt,
        iterations: keys.iterations,
        storedKey,
        serverKey,
        rules: rules === undefined ? (before?.rules ?? null) : rules === 'all' ? null : rules,
        updatedMs: this.#options.clock.nowMs(),
      };
      const value = Buffer.from(JSON.stringify(stored));
      if ((await this.#table.put(key, value, row?.version ?? 'absent')) !== undefined) return;
    }
  }

  async remove(instanceId: string, userName: string): Promise<void> {
    const prepared = prepare(userName);
    const removed =
      prepared !== undefined && (await this.#table.remove(keyOf(instanceId, prepared)));
    if (!removed) throw new Fault('notFound', 'the SCRAM user does not exist');
  }

  list(instanceId: string, page: PageRequest): Promise<RecordPage<ScramUser>> {
    const home = `${instanceId}/`;
    return readPage(this.#table, page, {
      home,
      prefixes: [home],
      takes: () => true,
      read: ({ key, value }) => {
        const { iterations, rules, updatedMs } = readStored(value);
        return {
          userName: key.slice(home.length),
          iterations,
          rules: rules ?? undefined,
          updatedMs,
        };
      },
    });
  }

  async find(instanceId: string, userName: string): Promise<ScramCredential | undefined> {
    if (Buffer.byteLength(userName) > USER_NAME_BYTES_MAX) return undefined;
    const row = await this.#table.get(keyOf(instanceId, userName));
    return row === undefined ? undefined : credentialOf(instanceId, userName, row);
  }

  keysOfNobody(instanceId: string, userName: string): ScramKeys {
    const derive = (what: string): Buffer =>
      createHmac('sha256', this.#nobodyKey)
        .update(`${what}\0${keyOf(instanceId, userName)}`)
        .digest();
    return {
      salt: derive('salt').subarray(0, SALT_BYTES),
      iterations: SCRAM_ITERATIONS,
      storedKey: derive('stored key'),
      serverKey: derive('server key'),
    };
  }

  follow(credential: ScramCredential): ScramPermissions {
    return new Followed(this, credential);
  }

  close(): void {
    this.#stop();
    this.#live.clear();
  }

  /** The user may have changed since it was looked up: whoever joins is compared with the store. */
  join(followed: Followed): () => void {
    const key = keyOf(followed.credential.instanceId, followed.credential.userName);
    let all = this.#live.get(key);
    if (all === undefined) this.#live.set(key, (all = new Set()));
    all.add(followed);
    void this.#table.get(key).then(
      (row) => followed.changed(row),
      () => followed.changed(undefined), // a store that cannot be read vouches for nobody
    );
    const group = all;
    return () => {
      group.delete(followed);
      if (group.size === 0 && this.#live.get(key) === group) this.#live.delete(key);
    };
  }

  #changed({ key, value, version }: RowChange): void {
    const all = this.#live.get(key);
    if (all === undefined) return;
    const row = value === undefined ? undefined : { key, value, version };
    for (const followed of all) followed.changed(row);
  }

  async #derive(password: string, iterations = SCRAM_ITERATIONS): Promise<Keys> {
    const whole = Number.isInteger(iterations);
    if (!whole || iterations < SCRAM_ITERATIONS_MIN || iterations > SCRAM_ITERATIONS_MAX) {
      throw bad(`iterations are ${SCRAM_ITERATIONS_MIN} to ${SCRAM_ITERATIONS_MAX}`);
    }
    const prepared = prepare(password);
    if (prepared === undefined || Buffer.byteLength(prepared) > PASSWORD_BYTES_MAX) {
      throw bad(`a password is 1 to ${PASSWORD_BYTES_MAX} bytes without control characters`);
    }
    const salt = this.#options.random.bytes(SALT_BYTES);
    const keys = await deriveScramKeys(prepared, salt, iterations);
    const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    return {
      salt: encode(salt),
      iterations,
      storedKey: encode(keys.storedKey),
      serverKey: encode(keys.serverKey),
    };
  }
}

type Keys = Pick<Stored, 'salt' | 'iterations' | 'storedKey' | 'serverKey'>;

class Followed implements ScramPermissions {
  version = 1;
  readonly credential: ScramCredential;
  readonly #users: ScramUserStore;
  #rowVersion: number;
  #rules: TopicRules | undefined;
  #client: LiveClient | undefined = undefined;

  constructor(users: ScramUserStore, credential: ScramCredential) {
    this.#users = users;
    this.credential = credential;
    this.#rowVersion = credential.version;
    this.#rules = compiled(credential.rules);
  }

  mayPublish(topic: string): boolean {
    return this.#rules === undefined || this.#rules.mayPublish(topic);
  }

  maySubscribe(filter: string): boolean {
    return this.#rules === undefined || this.#rules.maySubscribe(filter);
  }

  join(client: LiveClient): () => void {
    this.#client = client;
    const leave = this.#users.join(this);
    return () => {
      this.#client = undefined;
      leave();
    };
  }

  /** `undefined`: the row is not there. */
  changed(row: Row | undefined): void {
    const client = this.#client;
    if (client === undefined || (row !== undefined && row.version <= this.#rowVersion)) return;
    const { instanceId, userName, keys } = this.credential;
    const now = row === undefined ? undefined : credentialOf(instanceId, userName, row);
    if (now === undefined || Buffer.compare(now.keys.storedKey, keys.storedKey) !== 0) {
      client.disconnect('credentialRevoked');
      return;
    }
    this.#rowVersion = now.version;
    this.#rules = compiled(now.rules);
    this.version++;
    client.permissionsChanged();
  }
}

function credentialOf(instanceId: string, userName: string, row: Row): ScramCredential {
  const { salt, iterations, storedKey, serverKey, rules } = readStored(row.value);
  const keys = {
    salt: Buffer.from(salt, 'base64'),
    iterations,
    storedKey: Buffer.from(storedKey, 'base64'),
    serverKey: Buffer.from(serverKey, 'base64'),
  };
  return { instanceId, userName, keys, rules: rules ?? undefined, version: row.version };
}

function compiled(rules: readonly TopicRule[] | undefined): TopicRules | undefined {
  return rules === undefined ? undefined : new TopicRules(rules);
}

function readStored(value: Uint8Array): Stored {
  return JSON.parse(Buffer.from(value).toString('utf8')) as Stored; // rows are ours
}

function keyOf(instanceId: string, userName: string): string {
  return `${instanceId}/${userName}`;
}

function checkedName(userName: string): string {
  const prepared = prepare(userName);
  if (prepared === undefined || Buffer.byteLength(prepared) > USER_NAME_BYTES_MAX) {
    throw bad(`a user name is 1 to ${USER_NAME_BYTES_MAX} bytes without control characters`);
  }
  return prepared;
}

function checkedRules(rules: ScramUserChange['rules']): ScramUserChange['rules'] {
  if (Array.isArray(rules) && rules.length > SCRAM_RULE_COUNT_MAX) {
    throw bad(`a user has ${SCRAM_RULE_COUNT_MAX} rules at most`);
  }
  return rules;
}

function bad(detail: string): Fault {
  return new Fault('invalidParameter', detail);
}
