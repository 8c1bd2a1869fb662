/**
 * The one authenticator of a broker: finds the instance a caller wants, asks what can refuse it
 * at once, then the ways of authentication in their order until one knows the caller.
 *
 * Answers without a promise wherever nothing has to be looked up, so that a storm of connects
 * costs no more than its signatures.
 */
import type { FaultCode } from '#base';
import { type Instance, type Instances, splitClientId } from '#instances';
import {
  type AuthenticationWay,
  type Authenticator,
  type Caller,
  type ConnectAttempt,
  type ConnectRequest,
  type Exchange,
  type ExchangeStep,
  isRefusal,
  type LiveClient,
  type Refusal,
  type Verdict,
} from './authenticator.ts';
import { parseUserName } from './user-name.ts';

/** Counts failures, and refuses those who fail too often. */
export interface Doorman {
  ask(address: string, instanceId: string, clientId: string): FaultCode | undefined;
  failed(address: string, instanceId: string, clientId: string): void;
  succeeded(address: string, instanceId: string, clientId: string): void;
}

/** Judges client certificates, whatever else the caller shows. */
export interface CertificateGuard<Identity> {
  guard(
    request: ConnectRequest,
  ): Refusal | Identity | undefined | Promise<Refusal | Identity | undefined>;
  watch(identity: Identity, client: LiveClient): () => void;
}

/** One method of enhanced authentication (MQTT 5.0 section 4.12). */
export interface ExchangeMethod {
  readonly method: string;
  begin(request: ConnectRequest): Exchange;
}

export interface ChainParts<Identity extends object> {
  readonly instances: Instances;
  /** Where a caller goes who names no instance. */
  readonly defaultInstanceId: string;
  /** The instance that has that host name for its own. */
  readonly instanceOfName: (serverName: string) => string | undefined;
  readonly addressPermitted: (instance: Instance, address: string) => boolean;
  readonly doorman: Doorman;
  readonly isBlacklisted: (instanceId: string, clientId: string) => boolean | Promise<boolean>;
  readonly certificates: CertificateGuard<Identity>;
  readonly ways: readonly AuthenticationWay[];
  readonly methods: readonly ExchangeMethod[];
}

/** What a guesser hears; the rest are honest clients with something that has ended. */
const GUESSES: ReadonlySet<FaultCode> = new Set([
  'badUserOrPassword',
  'badSignature',
  'tokenForged',
  'jwtInvalid',
  'certificateMismatch',
  'authServiceDenied',
]);

export function createAuthenticator<Identity extends object>(
  parts: ChainParts<Identity>,
): Authenticator {
  return new Chain(parts);
}

class Chain<Identity extends object> implements Authenticator {
  readonly #parts: ChainParts<Identity>;

  constructor(parts: ChainParts<Identity>) {
    this.#parts = parts;
  }

  authenticate(attempt: ConnectAttempt): Verdict | Promise<Verdict> {
    const request = this.#request(attempt);
    if ('refused' in request) return request;
    const { certificates, isBlacklisted } = this.#parts;
    const listed = isBlacklisted(request.instance.id, request.clientId);
    if (listed instanceof Promise) return this.#afterLookUps(request, listed);
    if (listed) return { refused: 'clientBlacklisted' };
    const identity = certificates.guard(request);
    if (identity instanceof Promise) return this.#afterLookUps(request, listed, identity);
    return this.#judge(request, identity);
  }

  exchange(method: string, attempt: ConnectAttempt): Exchange | undefined {
    const known = this.#parts.methods.find((one) => one.method === method);
    if (known === undefined) return undefined;
    const request = this.#request(attempt);
    if ('refused' in request) return { step: () => ({ verdict: request }) };
    const exchange = known.begin(request);
    let guarded = false;
    let identity: Identity | undefined;
    return {
      step: async (data): Promise<ExchangeStep> => {
        if (!guarded) {
          const found = await this.#guards(request);
          if (found !== undefined && isRefused(found)) return { verdict: found };
          guarded = true;
          identity = found;
        }
        const step = await exchange.step(data);
        if ('more' in step) return step;
        return { ...step, verdict: this.#conclude(request, step.verdict, identity) };
      },
    };
  }

  /** Where the caller wants to go, if nothing speaks against it from the start. */
  #request(attempt: ConnectAttempt): ConnectRequest | Refusal {
    const instance = this.#locate(attempt);
    if ('refused' in instance) return instance;
    if (instance.withdrawn) return { refused: 'serverUnavailable', instance };
    const { address, clientId } = attempt;
    if (clientId.length > instance.limits.clientIdCharsMax) {
      return { refused: 'clientIdNotValid', instance };
    }
    if (!this.#parts.addressPermitted(instance, address)) {
      return { refused: 'addressDenied', instance };
    }
    const banned = this.#parts.doorman.ask(address, instance.id, clientId);
    return banned === undefined ? { ...attempt, instance } : { refused: banned, instance };
  }

  #locate({ userName, serverName, listenerInstanceId }: ConnectAttempt): Instance | Refusal {
    const { instances, defaultInstanceId } = this.#parts;
    const named = userName === undefined ? undefined : parseUserName(userName)?.instanceId;
    const byName = serverName === undefined ? undefined : this.#locateByName(serverName);
    const fallback = listenerInstanceId ?? defaultInstanceId;
    const instance =
      named === undefined ? (byName ?? instances.find(fallback)) : instances.find(named);
    if (instance === undefined) return { refused: 'instanceUnknown' };
    // A host name, or a listener, that is one instance's is no way into another.
    const own = listenerInstanceId ?? byName?.id;
    return own === undefined || own === instance.id ? instance : { refused: 'instanceMismatch' };
  }

  /** By a host name that was set for it, or by `<instance id>.<domain>`. */
  #locateByName(serverName: string): Instance | undefined {
    const { instances, instanceOfName } = this.#parts;
    const id = instanceOfName(serverName);
    if (id !== undefined) return instances.find(id);
    const dot = serverName.indexOf('.');
    return instances.findByHostLabel(dot < 0 ? serverName : serverName.slice(0, dot));
  }

  async #afterLookUps(
    request: ConnectRequest,
    listed: boolean | Promise<boolean>,
    identity?: Promise<Refusal | Identity | undefined>,
  ): Promise<Verdict> {
    if (await listed) return { refused: 'clientBlacklisted' };
    return await this.#judge(request, await (identity ?? this.#parts.certificates.guard(request)));
  }

  async #guards(request: ConnectRequest): Promise<Refusal | Identity | undefined> {
    const { certificates, isBlacklisted } = this.#parts;
    const listed = await isBlacklisted(request.instance.id, request.clientId);
    return listed ? { refused: 'clientBlacklisted' } : await certificates.guard(request);
  }

  #judge(
    request: ConnectRequest,
    found: Refusal | Identity | undefined,
  ): Verdict | Promise<Verdict> {
    if (found !== undefined && isRefused(found)) return this.#conclude(request, found, undefined);
    return this.#ask(request, found, 0);
  }

  /** Asks the ways from `first` on. */
  #ask(
    request: ConnectRequest,
    identity: Identity | undefined,
    first: number,
  ): Verdict | Promise<Verdict> {
    const { ways } = this.#parts;
    for (let i = first; i < ways.length; i++) {
      const verdict = ways[i]!.authenticate(request);
      if (verdict === undefined) continue;
      if (!(verdict instanceof Promise)) return this.#conclude(request, verdict, identity);
      return verdict.then((answer) =>
        answer === undefined
          ? this.#ask(request, identity, i + 1)
          : this.#conclude(request, answer, identity),
      );
    }
    const refused = request.userName === undefined ? 'notAuthorized' : 'badUserOrPassword';
    return this.#conclude(request, { refused }, identity);
  }

  #conclude(request: ConnectRequest, verdict: Verdict, identity: Identity | undefined): Verdict {
    const { doorman, certificates } = this.#parts;
    const { address, instance, clientId } = request;
    // A verdict may have taken long, and one of the same name may be there by now.
    if (instance.removed) return { refused: 'instanceUnknown' };
    if (isRefusal(verdict)) {
      if (GUESSES.has(verdict.refused)) doorman.failed(address, instance.id, clientId);
      return { ...verdict, instance };
    }
    const refused = clientIdFault(request, verdict);
    if (refused !== undefined) return { refused, instance };
    doorman.succeeded(address, instance.id, clientId);
    if (identity === undefined) return verdict;
    return watched(verdict, (client) => certificates.watch(identity, client));
  }

  /** Whoever was blacklisted while the verdict was on its way was not online to be told. */
  accepted({ instance }: Caller, client: LiveClient): void {
    const listed = this.#parts.isBlacklisted(instance.id, client.clientId);
    if (listed === false) return;
    Promise.resolve(listed).then(
      (found) => {
        if (found) client.disconnect('clientBlacklisted');
      },
      () => client.disconnect('storeUnavailable'),
    );
  }
}

function isRefused(found: Refusal | object): found is Refusal {
  return 'refused' in found;
}

/** In a compatible instance a client identifier names its group, and the group must exist. */
function clientIdFault(request: ConnectRequest, caller: Caller): FaultCode | undefined {
  const { instance, clientId } = request;
  if (instance.kind !== 'compatible' || caller.anyClientId === true) return undefined;
  const parts = splitClientId(caller.assignedClientId ?? clientId);
  if (parts === undefined) return 'clientIdNotValid';
  return instance.hasGroup(parts.groupId) ? undefined : 'groupUnknown';
}

/** The same caller, and somebody more who watches its connection. */
function watched(caller: Caller, watch: (client: LiveClient) => () => void): Caller {
  return {
    instance: caller.instance,
    userName: caller.userName,
    permissions: caller.permissions,
    ...(caller.assignedClientId !== undefined && { assignedClientId: caller.assignedClientId }),
    ...(caller.anyClientId !== undefined && { anyClientId: caller.anyClientId }),
    ...(caller.upload !== undefined && { upload: (payload) => caller.upload!(payload) }),
    ...(caller.refused !== undefined && {
      refused: (action, topic) => caller.refused!(action, topic),
    }),
    connected: (client) => {
      const own = caller.connected?.(client);
      const stop = watch(client);
      return () => {
        own?.();
        stop();
      };
    },
  };
}
