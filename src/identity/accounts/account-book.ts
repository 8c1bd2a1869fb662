/**
 * All accounts and access keys, in memory: a few thousand at most, so every look-up is answered at
 * once, and unknown keys cost no visit to the store.
 *
 * Rows come in by `take...` from reads, writes and watches; versions tell which is newest. Whoever
 * holds an `AccountEntry` sees its present rights.
 */
import { Fault } from '#base';
import type { Version } from '#ports';
import type { AccountRow, KeyRow } from './account-rows.ts';
import { ANYTHING, BUILT_IN_POLICIES, createPolicy, type Policy, parsePolicy } from './policy.ts';
import { createRights, type Principal, type Rights, type RightsSource } from './rights.ts';

/** The account that was there first. It may do everything and cannot be removed. */
export const MAIN_ACCOUNT_ID = 'main';

/** `withdrawn`: the key opens nothing any more; `rights`: it opens other things than before. */
export type KeyChange = 'withdrawn' | 'rights';
export type KeyListener = (change: KeyChange) => void;

/** What is known of a key that somebody has named. */
export interface FoundKey {
  readonly secret: string;
  readonly active: boolean;
  /** A temporary key past its time. */
  readonly expired: boolean;
  readonly principal: Principal;
  readonly rights: Rights;
}

const NOTHING = createPolicy([]);

export class AccountEntry implements RightsSource {
  readonly id: string;
  readonly unlimited: boolean;
  row: AccountRow;
  /** Of the row. */
  rowVersion: Version;
  policy: Policy;
  version = 1;
  removed = false;

  constructor(id: string, row: AccountRow, rowVersion: Version) {
    this.id = id;
    this.unlimited = id === MAIN_ACCOUNT_ID;
    this.row = row;
    this.rowVersion = rowVersion;
    this.policy = policyOf(id, row);
  }

  update(row: AccountRow, rowVersion: Version): void {
    this.row = row;
    this.rowVersion = rowVersion;
    this.policy = policyOf(this.id, row);
    this.version++;
  }

  remove(): void {
    this.removed = true;
    this.policy = NOTHING;
    this.version++;
  }
}

/** A policy that cannot be read here, written by a newer node, leaves no rights at all. */
function policyOf(id: string, { policies }: AccountRow): Policy {
  if (id === MAIN_ACCOUNT_ID) return createPolicy([ANYTHING]);
  try {
    return createPolicy(
      policies.map(({ name, document }) => {
        const policy = document === undefined ? BUILT_IN_POLICIES.get(name) : parsePolicy(document);
        if (policy === undefined)
          throw new Fault('notFound', `no built-in policy is named ${name}`);
        return policy;
      }),
    );
  } catch (error) {
    if (error instanceof Fault) return NOTHING;
    throw error;
  }
}

export interface KeyEntry {
  readonly id: string;
  readonly row: KeyRow;
  readonly rowVersion: Version;
  /** Made when it is first asked for. */
  found: FoundKey | undefined;
}

/**
 * Removed, and older news of it may still come: this process has not heard of its own removal
 * from the store yet, or the first reading goes on.
 */
interface Gone {
  readonly goneVersion: Version;
}

type Slot<T extends object> = T | Gone;

export class AccountBook {
  readonly #accounts = new Map<string, Slot<AccountEntry>>();
  readonly #keys = new Map<string, Slot<KeyEntry>>();
  readonly #listeners = new Map<string, Set<KeyListener>>();
  #loading = true;

  account(id: string): AccountEntry | undefined {
    return present(this.#accounts.get(id));
  }

  key(id: string): KeyEntry | undefined {
    return present(this.#keys.get(id));
  }

  accounts(): AccountEntry[] {
    return [...this.#accounts.values()].flatMap((slot) => present(slot) ?? []);
  }

  keysOf(accountId: string): KeyEntry[] {
    const keys = [...this.#keys.values()].flatMap((slot) => present(slot) ?? []);
    return keys.filter((key) => key.row.accountId === accountId);
  }

  /** `undefined`: no such key, or its account is gone. */
  find(id: string): FoundKey | undefined {
    const key = this.key(id);
    const account = key && this.account(key.row.accountId);
    if (key === undefined || account === undefined) return undefined;
    return (key.found ??= foundKey(key, account));
  }

  listen(keyId: string, listener: KeyListener): () => void {
    const listeners = this.#listeners.get(keyId) ?? new Set();
    this.#listeners.set(keyId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0 || this.#listeners.get(keyId) !== listeners) return;
      this.#listeners.delete(keyId);
    };
  }

  /** Every row has been read once; from now on there is only news. */
  loaded(): void {
    this.#loading = false;
    for (const slots of [this.#accounts, this.#keys]) {
      for (const [id, slot] of slots) if (present<object>(slot) === undefined) slots.delete(id);
    }
  }

  /** The row as of `version`; `undefined`: it is not there. */
  takeAccount(id: string, row: AccountRow | undefined, version: Version): void {
    const slot = this.#accounts.get(id);
    if (version <= versionOf(slot)) return;
    const known = present(slot);
    if (row === undefined) {
      this.#remove(this.#accounts, id, version);
      known?.remove();
    } else if (known === undefined) {
      this.#accounts.set(id, new AccountEntry(id, row, version));
    } else {
      known.update(row, version);
    }
    this.#tellKeysOf(id);
  }

  /** As `takeAccount`. */
  takeKey(id: string, row: KeyRow | undefined, version: Version): void {
    if (version <= versionOf(this.#keys.get(id))) return;
    if (row === undefined) this.#remove(this.#keys, id, version);
    else this.#keys.set(id, { id, row, rowVersion: version, found: undefined });
    this.#tell(id);
  }

  /** The row was removed by this process, when it was at `version`. */
  dropAccount(id: string, version: Version): void {
    const known = this.account(id);
    if (known === undefined || known.rowVersion > version) return;
    this.#accounts.set(id, { goneVersion: version });
    known.remove();
    this.#tellKeysOf(id);
  }

  /** As `dropAccount`. */
  dropKey(id: string, version: Version): void {
    const known = this.key(id);
    if (known === undefined || known.rowVersion > version) return;
    this.#keys.set(id, { goneVersion: version });
    this.#tell(id);
  }

  #remove(slots: Map<string, Slot<object>>, id: string, version: Version): void {
    if (this.#loading) slots.set(id, { goneVersion: version });
    else slots.delete(id);
  }

  #tellKeysOf(accountId: string): void {
    for (const keyId of this.#listeners.keys()) {
      if (this.key(keyId)?.row.accountId === accountId) this.#tell(keyId);
    }
  }

  #tell(keyId: string): void {
    const listeners = this.#listeners.get(keyId);
    if (listeners === undefined) return;
    const change = this.find(keyId)?.active === true ? 'rights' : 'withdrawn';
    for (const listener of listeners) listener(change);
  }
}

function present<T extends object>(slot: Slot<T> | undefined): T | undefined {
  return slot === undefined || 'goneVersion' in slot ? undefined : slot;
}

function versionOf(slot: Slot<AccountEntry | KeyEntry> | undefined): Version {
  if (slot === undefined) return 0;
  return 'goneVersion' in slot ? slot.goneVersion : slot.rowVersion;
}

function foundKey({ id, row }: KeyEntry, account: AccountEntry): FoundKey {
  return describe({ id, secret: row.secret, active: row.active, expired: false }, account);
}

/** What a key is good for, with the rights of its account, or fewer. */
export function describe(
  key: {
    readonly id: string;
    readonly secret: string;
    readonly active: boolean;
    readonly expired: boolean;
  },
  account: AccountEntry,
  narrowing?: Policy,
): FoundKey {
  const rights = createRights(account, narrowing);
  const { id, secret, active, expired } = key;
  const { may, mayAll } = rights;
  const principal = { accountId: account.id, accessKeyId: id, may, mayAll };
  return { secret, active, expired, principal, rights };
}
