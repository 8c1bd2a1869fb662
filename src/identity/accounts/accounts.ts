/**
 * Accounts, their access keys and their policies: whoever calls the control API, and whoever
 * signs in with an access key.
 *
 * Secrets are sealed, not hashed, since signatures are HMACs of them. Rows are written to the
 * store and read back by watching it, so that the change of another node acts here as well.
 */
import { type Clock, Fault, type Random } from '#base';
import type { Store, Table, Version } from '#ports';
import {
  AccountBook,
  type AccountEntry,
  describe,
  type FoundKey,
  type KeyEntry,
  type KeyListener,
  MAIN_ACCOUNT_ID,
} from './account-book.ts';
import {
  type AccountRow,
  type AttachedPolicy,
  decodeAccount,
  decodeKey,
  encodeAccount,
  encodeKey,
  type KeyRow,
} from './account-rows.ts';
import { BUILT_IN_POLICIES, createPolicy, parsePolicy, type Policy } from './policy.ts';
import { RecentMap } from '../recent-map.ts';
import { sameSecret } from '../same-secret.ts';
import type { SecretBox } from '../secret-box.ts';
import {
  openTemporaryKey,
  sealTemporaryKey,
  TEMPORARY_PREFIX,
  type TemporaryClaim,
  type TemporaryKey,
} from './temporary-key.ts';

export type { Principal } from './rights.ts';

/** A key and its secret, as shown once. */
export interface AccessKey {
  readonly id: string;
  readonly secret: string;
}

/** The admin key of a fresh data directory, from a file. */
export interface AdminKey {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
}

export interface Account {
  readonly id: string;
  readonly name: string;
  readonly main: boolean;
  readonly createdMs: number;
  readonly policies: readonly AttachedPolicy[];
}

/** A key without its secret. */
export interface AccessKeySummary {
  readonly id: string;
  readonly accountId: string;
  readonly active: boolean;
  readonly createdMs: number;
}

export const ACCOUNT_COUNT_MAX = 1_000;
export const KEYS_PER_ACCOUNT_MAX = 20;
export const POLICIES_PER_ACCOUNT_MAX = 10;
export const TEMPORARY_SECONDS_MAX = 43_200;
const TEMPORARY_POLICY_CHARS_MAX = 2_048;

const ACCOUNTS = 'accounts';
const KEYS = 'account-keys';
const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const KEY_ID = /^[A-Za-z0-9._-]{1,128}$/;
const SECRET = /^[\x21-\x7e]{1,128}$/;
const TRIES_MAX = 8;
const OPENED_TOKENS_MAX = 256;

export interface AccountsOptions {
  readonly store: Store;
  readonly box: SecretBox;
  readonly clock: Clock;
  readonly random: Random;
  readonly adminKey?: AdminKey | undefined;
}

/**
 * Opens the accounts of a store. A fresh one gets a main account and its first key, which is
 * `firstKey` if it was made here: to be shown once.
 */
export async function openAccounts(
  options: AccountsOptions,
): Promise<{ accounts: Accounts; firstKey: AccessKey | undefined }> {
  const accounts = new Accounts(options);
  try {
    await accounts.load();
    const firstKey = await accounts.begin(options.adminKey);
    return { accounts, firstKey };
  } catch (error) {
    accounts.close();
    throw error;
  }
}

interface OpenedToken {
  readonly claim: TemporaryClaim;
  readonly narrowing: Policy | undefined;
}

export class Accounts {
  readonly #box: SecretBox;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #accounts: Table;
  readonly #keys: Table;
  readonly #book = new AccountBook();
  /** Good ones: whoever has one sends it with every request. */
  readonly #openedTokens = new RecentMap<OpenedToken>(OPENED_TOKENS_MAX);
  readonly #stops: (() => void)[] = [];
  #latestChange: Promise<unknown> = Promise.resolve();

  constructor({ store, box, clock, random }: AccountsOptions) {
    this.#box = box;
    this.#clock = clock;
    this.#random = random;
    this.#accounts = store.table(ACCOUNTS);
    this.#keys = store.table(KEYS);
  }

  /** Reads what is there and listens to what changes. */
  async load(): Promise<void> {
    const book = this.#book;
    this.#stops.push(
      this.#accounts.watch('', ({ key, value, version }) => {
        book.takeAccount(key, value && orNothing(() => decodeAccount(value)), version);
      }),
      this.#keys.watch('', ({ key, value, version }) => {
        book.takeKey(key, value && orNothing(() => decodeKey(key, value, this.#box)), version);
      }),
    );
    for await (const rows of this.#accounts.scan('')) {
      for (const { key, value, version } of rows) {
        book.takeAccount(key, decodeAccount(value), version);
      }
    }
    for await (const rows of this.#keys.scan('')) {
      for (const { key, value, version } of rows) {
        book.takeKey(key, decodeKey(key, value, this.#box), version);
      }
    }
    book.loaded();
  }

  /** Makes the main account and its key where there is none. */
  async begin(adminKey: AdminKey | undefined): Promise<AccessKey | undefined> {
    if (adminKey !== undefined) checkAdminKey(adminKey);
    const fresh = this.#book.keysOf(MAIN_ACCOUNT_ID).length === 0;
    if (!fresh) {
      if (adminKey !== undefined) this.#expectAdminKey(adminKey);
      return undefined;
    }
    const key =
      adminKey === undefined
        ? this.#newKey()
        : { id: adminKey.accessKeyId, secret: adminKey.accessKeySecret };
    const createdMs = this.#clock.nowMs();
    const main = { name: MAIN_ACCOUNT_ID, createdMs, policies: [] };
    const row = { accountId: MAIN_ACCOUNT_ID, secret: key.secret, active: true, createdMs };
    const [, made] = await Promise.all([
      this.#putAccount(MAIN_ACCOUNT_ID, main), // it may be there already, without a key
      this.#putKey(key.id, row),
    ]);
    if (!made) throw new Fault('alreadyExists', 'the admin key is the key of another account');
    return adminKey === undefined ? key : undefined;
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#stops.length = 0;
  }

  /** A key by its identifier; a temporary one only with its token. */
  findKey(accessKeyId: string, securityToken: string | undefined): Promise<FoundKey | undefined> {
    return Promise.resolve(this.lookUp(accessKeyId, securityToken));
  }

  /** As `findKey`, at once. */
  lookUp(accessKeyId: string, securityToken: string | undefined): FoundKey | undefined {
    if (securityToken === undefined) return this.#book.find(accessKeyId);
    const opened = this.#openToken(securityToken);
    if (opened === undefined || opened.claim.accessKeyId !== accessKeyId) return undefined;
    const { secret, accountId, expiresMs } = opened.claim;
    const account = this.#book.account(accountId);
    if (account === undefined) return undefined;
    const expired = this.#clock.nowMs() >= expiresMs;
    const key = { id: accessKeyId, secret, active: true, expired };
    return describe(key, account, opened.narrowing);
  }

  /** Hears of every change to the key or its account, until the returned function is called. */
  watch(accessKeyId: string, listener: KeyListener): () => void {
    return this.#book.listen(accessKeyId, listener);
  }

  /** Every account, the oldest first. */
  list(): Account[] {
    return this.#book.accounts().map(showAccount).sort(byAge);
  }

  /** The account, or a `notFound` fault. */
  get(accountId: string): Account {
    return showAccount(this.#entry(accountId));
  }

  create(name: string): Promise<Account> {
    return this.#inTurn(async () => {
      if (!NAME.test(name)) {
        throw refused('an account name has 1 to 64 letters, digits, dots, dashes or underscores');
      }
      const accounts = this.#book.accounts();
      if (accounts.some((one) => one.row.name === name)) {
        throw new Fault('alreadyExists', `an account named ${name} exists`);
      }
      if (accounts.length >= ACCOUNT_COUNT_MAX) {
        throw new Fault('overCapacity', `there are ${ACCOUNT_COUNT_MAX} accounts, no more fit`);
      }
      const id = `ac-${Buffer.from(this.#random.bytes(8)).toString('hex')}`;
      await this.#putAccount(id, { name, createdMs: this.#clock.nowMs(), policies: [] });
      return this.get(id);
    });
  }

  /** Removes the account with all its keys. */
  delete(accountId: string): Promise<void> {
    return this.#inTurn(async () => {
      const account = this.#entry(accountId);
      if (accountId === MAIN_ACCOUNT_ID) throw refused('the main account cannot be deleted');
      const keys = this.#book.keysOf(accountId);
      await Promise.all([
        this.#accounts.remove(accountId),
        ...keys.map((key) => this.#keys.remove(key.id)),
      ]);
      this.#book.dropAccount(accountId, account.rowVersion);
      for (const key of keys) this.#book.dropKey(key.id, key.rowVersion);
    });
  }

  /** The new key; its secret is never shown again. */
  createKey(accountId: string): Promise<AccessKey> {
    return this.#inTurn(async () => {
      this.#entry(accountId);
      if (this.#book.keysOf(accountId).length >= KEYS_PER_ACCOUNT_MAX) {
        throw new Fault('overCapacity', `the account has ${KEYS_PER_ACCOUNT_MAX} keys already`);
      }
      const key = this.#newKey();
      const createdMs = this.#clock.nowMs();
      await this.#putKey(key.id, { accountId, secret: key.secret, active: true, createdMs });
      return key;
    });
  }

  /** The account's keys, the oldest first. */
  listKeys(accountId: string): AccessKeySummary[] {
    this.#entry(accountId);
    return this.#book.keysOf(accountId).map(showKey).sort(byAge);
  }

  /** The key without its secret, or a `notFound` fault. */
  getKey(accessKeyId: string): AccessKeySummary {
    return showKey(this.#keyEntry(accessKeyId));
  }

  setKeyActive(accessKeyId: string, active: boolean): Promise<void> {
    return this.#inTurn(async () => {
      const key = this.#keyEntry(accessKeyId);
      if (key.row.active === active) return;
      if (!active) this.#keepOneKey(key);
      const row = { ...key.row, active };
      if (!(await this.#putKey(accessKeyId, row, key.rowVersion))) throw changedMeanwhile();
    });
  }

  deleteKey(accessKeyId: string): Promise<void> {
    return this.#inTurn(async () => {
      const key = this.#keyEntry(accessKeyId);
      this.#keepOneKey(key);
      await this.#keys.remove(accessKeyId);
      this.#book.dropKey(accessKeyId, key.rowVersion);
    });
  }

  /** Attaches a built-in policy, or a document under a name; the name's earlier one is replaced. */
  attachPolicy(accountId: string, name: string, document?: string): Promise<void> {
    return this.#inTurn(async () => {
      if (accountId === MAIN_ACCOUNT_ID)
        throw refused('the main account may do everything as it is');
      if (document === undefined) {
        if (!BUILT_IN_POLICIES.has(name)) throw refused('no built-in policy has that name');
      } else {
        if (BUILT_IN_POLICIES.has(name)) throw refused('a built-in policy has that name');
        if (!NAME.test(name)) throw refused('the name of a policy is not well formed');
        parsePolicy(document);
      }
      const policy = document === undefined ? { name } : { name, document };
      await this.#changePolicies(accountId, (policies) => [
        ...policies.filter((one) => one.name !== name),
        policy,
      ]);
    });
  }

  detachPolicy(accountId: string, name: string): Promise<void> {
    return this.#inTurn(async () => {
      await this.#changePolicies(accountId, (policies) => {
        const rest = policies.filter((one) => one.name !== name);
        if (rest.length === policies.length) {
          throw new Fault('notFound', 'no policy of that name is attached');
        }
        return rest;
      });
    });
  }

  /** A key that ends by itself, with the account's rights or fewer; nothing is stored. */
  createTemporaryKey(accountId: string, durationSeconds: number, policy?: string): TemporaryKey {
    this.#entry(accountId);
    const known = Number.isInteger(durationSeconds) && durationSeconds > 0;
    if (!known || durationSeconds > TEMPORARY_SECONDS_MAX) {
      throw refused(`a temporary key lasts 1 to ${TEMPORARY_SECONDS_MAX} seconds`);
    }
    if (policy !== undefined) {
      if (policy.length > TEMPORARY_POLICY_CHARS_MAX) {
        throw refused(
          `a temporary key's policy has ${TEMPORARY_POLICY_CHARS_MAX} characters at most`,
        );
      }
      parsePolicy(policy);
    }
    const expiresMs = this.#clock.nowMs() + durationSeconds * 1_000;
    return sealTemporaryKey({ accountId, expiresMs, policy }, this.#box, this.#random);
  }

  /** Changes are made one after the other, so that what one has checked stays true for it. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#latestChange.then(change);
    this.#latestChange = done.catch(() => undefined); // its caller hears of the failure
    return done;
  }

  #newKey(): AccessKey {
    return {
      id: `ak-${Buffer.from(this.#random.bytes(6)).toString('hex')}`,
      secret: Buffer.from(this.#random.bytes(24)).toString('base64url'),
    };
  }

  #expectAdminKey({ accessKeyId, accessKeySecret }: AdminKey): void {
    const key = this.#book.key(accessKeyId);
    const known = key?.row.accountId === MAIN_ACCOUNT_ID;
    if (known && sameSecret(key.row.secret, accessKeySecret)) return;
    throw new Fault(
      'alreadyExists',
      'the admin key file names another key than this data directory has. It counts on a fresh ' +
        'data directory only: leave it out, or name the key that was there first',
    );
  }

  #openToken(securityToken: string): OpenedToken | undefined {
    const known = this.#openedTokens.get(securityToken);
    if (known !== undefined) return known;
    const claim = openTemporaryKey(securityToken, this.#box);
    if (claim === undefined) return undefined;
    const { policy } = claim;
    const narrowing = policy === undefined ? undefined : createPolicy([parsePolicy(policy)]);
    const opened = { claim, narrowing };
    this.#openedTokens.set(securityToken, opened);
    return opened;
  }

  #entry(accountId: string): AccountEntry {
    const account = this.#book.account(accountId);
    if (account === undefined) throw new Fault('notFound', 'no such account');
    return account;
  }

  #keyEntry(accessKeyId: string): KeyEntry {
    const key = this.#book.key(accessKeyId);
    if (key === undefined) throw new Fault('notFound', 'no such access key');
    return key;
  }

  /** Nobody may lock the owner out. */
  #keepOneKey({ id, row }: KeyEntry): void {
    if (row.accountId !== MAIN_ACCOUNT_ID || !row.active) return;
    const others = this.#book.keysOf(MAIN_ACCOUNT_ID).filter((key) => key.id !== id);
    if (others.some((key) => key.row.active)) return;
    throw refused('it is the last active key of the main account');
  }

  async #changePolicies(
    accountId: string,
    change: (policies: readonly AttachedPolicy[]) => readonly AttachedPolicy[],
  ): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const stored = await this.#accounts.get(accountId);
      if (stored === undefined) throw new Fault('notFound', 'no such account');
      const row = decodeAccount(stored.value);
      const policies = change(row.policies);
      if (policies.length > POLICIES_PER_ACCOUNT_MAX) {
        throw new Fault(
          'overCapacity',
          `an account has ${POLICIES_PER_ACCOUNT_MAX} policies at most`,
        );
      }
      if (await this.#putAccount(accountId, { ...row, policies }, stored.version)) return;
    }
    throw changedMeanwhile();
  }

  /** False: the row is not as expected. */
  async #putAccount(
    id: string,
    row: AccountRow,
    expected: Version | 'absent' = 'absent',
  ): Promise<boolean> {
    const version = await this.#accounts.put(id, encodeAccount(row), expected);
    if (version !== undefined) this.#book.takeAccount(id, row, version);
    return version !== undefined;
  }

  async #putKey(
    id: string,
    row: KeyRow,
    expected: Version | 'absent' = 'absent',
  ): Promise<boolean> {
    const version = await this.#keys.put(id, encodeKey(id, row, this.#box), expected);
    if (version !== undefined) this.#book.takeKey(id, row, version);
    return version !== undefined;
  }
}

/** A row that cannot be read gives no right to anything. */
function orNothing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
}

function checkAdminKey({ accessKeyId, accessKeySecret }: AdminKey): void {
  if (!KEY_ID.test(accessKeyId) || accessKeyId.startsWith(TEMPORARY_PREFIX)) {
    throw refused('the accessKeyId of the admin key has other characters than A-Z a-z 0-9 . _ -');
  }
  if (!SECRET.test(accessKeySecret)) {
    throw refused('the accessKeySecret of the admin key is not 1 to 128 visible ASCII characters');
  }
}

function refused(detail: string): Fault {
  return new Fault('invalidParameter', detail);
}

function changedMeanwhile(): Fault {
  return new Fault('serverBusy', 'somebody else changed it at the same time; try again');
}

function showAccount({ id, row }: AccountEntry): Account {
  return { id, main: id === MAIN_ACCOUNT_ID, ...row };
}

function showKey({ id, row }: KeyEntry): AccessKeySummary {
  const { accountId, active, createdMs } = row;
  return { id, accountId, active, createdMs };
}

function byAge(
  one: { readonly id: string; readonly createdMs: number },
  other: { readonly id: string; readonly createdMs: number },
): number {
  return one.createdMs - other.createdMs || (one.id < other.id ? -1 : 1);
}
