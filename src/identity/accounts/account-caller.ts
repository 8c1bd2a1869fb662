/**
 * A connection that was let in by an access key: it may do what the key's account may, and for as
 * long as the key is good.
 *
 * Publishing is the action `mq:PUB` on the topic, subscribing `mq:SUB` on all that a filter covers.
 */
import type { FoundKey, KeyChange } from './account-book.ts';
import type { Accounts } from './accounts.ts';
import type {
  Caller,
  ConnectRequest,
  LiveClient,
  Permissions,
  Refusal,
  Verdict,
} from '../authenticator.ts';
import type { Rights } from './rights.ts';

const PUBLISH = 'mq:PUB';
const SUBSCRIBE = 'mq:SUB';

const NO_RIGHTS: Refusal = {
  refused: 'notAuthorized',
  detail: 'the account may do nothing in this instance',
};

/** The verdict on whoever has proven the key. */
export function admit(request: ConnectRequest, key: FoundKey, accounts: Accounts): Verdict {
  if (!key.active || key.expired) return { refused: 'accessKeyInactive' };
  const { rights } = key;
  const instanceId = request.instance.id;
  // Whoever may do nothing must not take over the sessions of others either.
  if (!reaches(rights, instanceId)) return NO_RIGHTS;
  return new AccountCaller(request, key, accounts);
}

function reaches(rights: Rights, instanceId: string): boolean {
  return rights.reaches(PUBLISH, instanceId) || rights.reaches(SUBSCRIBE, instanceId);
}

class AccountCaller implements Caller {
  readonly instance: Caller['instance'];
  readonly userName: string | undefined;
  readonly permissions: Permissions | undefined;
  readonly #accessKeyId: string;
  readonly #rights: Rights;
  readonly #accounts: Accounts;

  constructor(request: ConnectRequest, { principal, rights }: FoundKey, accounts: Accounts) {
    this.instance = request.instance;
    this.userName = request.userName;
    this.permissions = rights.unlimited
      ? undefined
      : new AccountPermissions(rights, request.instance.id);
    this.#accessKeyId = principal.accessKeyId;
    this.#rights = rights;
    this.#accounts = accounts;
  }

  connected(client: LiveClient): () => void {
    const stop = this.#accounts.watch(this.#accessKeyId, (change) => this.#heard(change, client));
    // It may have been withdrawn while the session was fetched; the broker finishes first.
    const key = this.#accounts.lookUp(this.#accessKeyId, undefined);
    if (key?.active !== true) queueMicrotask(() => client.disconnect('credentialRevoked'));
    return stop;
  }

  #heard(change: KeyChange, client: LiveClient): void {
    if (change === 'withdrawn') client.disconnect('credentialRevoked');
    else if (!reaches(this.#rights, this.instance.id)) client.disconnect('permissionWithdrawn');
    else client.permissionsChanged();
  }
}

class AccountPermissions implements Permissions {
  readonly #rights: Rights;
  readonly #instanceId: string;

  constructor(rights: Rights, instanceId: string) {
    this.#rights = rights;
    this.#instanceId = instanceId;
  }

  get version(): number {
    return this.#rights.version;
  }

  mayPublish(topic: string): boolean {
    return this.#rights.may(PUBLISH, this.#instanceId, topic);
  }

  maySubscribe(filter: string): boolean {
    return this.#rights.mayAll(SUBSCRIBE, this.#instanceId, filter);
  }
}
