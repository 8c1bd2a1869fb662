/**
 * HTTP authentication: a service of the customer's decides who may connect and what they may do.
 *
 * Fail-closed: unless the instance says otherwise, no answer means no. A decision that ends while
 * its client is connected is asked for again shortly before; a client the service no longer wants
 * is disconnected then, and nobody stays on a decision that has ended.
 */
import { createHmac, createSecretKey } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import { type Clock, Fault, type Random, type TimerWheel } from '#base';
import type { AuthenticationWay, ConnectRequest, Refusal, Verdict } from '../authenticator.ts';
import { openText, type SealedText } from '../auth-settings.ts';
import { ExpiringCache } from './expiring-cache.ts';
import type { HttpDecision } from './http-answer.ts';
import { HeldDecision } from './http-decision.ts';
import { createHttpService, type HttpService, type ServiceAnswer } from './http-service.ts';
import { readHttpSettings } from './http-settings.ts';
import { PerInstance } from '../per-instance.ts';
import type { SecretBox } from '../secret-box.ts';
import { TopicRules } from '../topic-rules.ts';

export interface HttpWayOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** For decisions that end. */
  readonly wheel: TimerWheel;
  /** Opens the sealed headers. */
  readonly box: SecretBox;
}

/** The way, for all instances that have settings for it. */
export interface HttpWay extends AuthenticationWay {
  close(): void;
}

const SERVICE_COUNT_MAX = 1_000;
const CACHED_COUNT_MAX = 10_000;
const USER_NAME_CHARS_MAX = 1_024;
const PASSWORD_BYTES_MAX = 16_384;

/** A service, and the number that tells its answers from those of others. */
interface Numbered {
  readonly number: number;
  readonly service: HttpService;
}

export function createHttpWay(options: HttpWayOptions): HttpWay {
  const { clock, random, wheel, box } = options;
  const services = openServices(clock, box);
  const decide = createDecider(clock, random);

  const admit = (request: ConnectRequest, decision: Allowed): Verdict => {
    const { instance, userName } = request;
    const { rules, expireAtMs } = decision;
    if (expireAtMs !== undefined && expireAtMs <= clock.nowMs()) {
      return { refused: 'authServiceDenied', detail: 'the HTTP service allowed until earlier' };
    }
    if (expireAtMs === undefined) {
      const permissions = rules === undefined ? undefined : new TopicRules(rules);
      return { instance, userName, permissions };
    }
    const held = new HeldDecision({
      clock,
      random,
      wheel,
      rules,
      expireAtMs,
      ask: async () => {
        const service = services.tryOf(instance);
        if (service === undefined) return { outcome: 'denied', detail: 'no HTTP service is set' };
        return decide(service, request, true);
      },
      failOpen: () => services.tryOf(instance)?.service.settings.failOpen ?? false,
    });
    return { instance, userName, permissions: held, connected: (client) => held.begin(client) };
  };

  const judge = async (
    service: Numbered,
    request: ConnectRequest,
  ): Promise<Verdict | undefined> => {
    const { failOpen } = service.service.settings;
    const answer = await decide(service, request, false);
    if (answer.outcome === 'allowed') return admit(request, answer);
    return refusalOf(request, answer, failOpen);
  };

  return {
    authenticate(request) {
      let service: Numbered | undefined;
      try {
        service = services.of(request.instance);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        return { refused: 'authServiceDown', detail: 'HTTP authentication is not set up' };
      }
      if (service === undefined) return undefined;
      return unaskable(request) ?? judge(service, request);
    },
    close() {
      for (const { service } of services.all()) service.close();
    },
  };
}

type Allowed = Extract<HttpDecision, { readonly outcome: 'allowed' }>;

function openServices(clock: Clock, box: SecretBox): PerInstance<Numbered> {
  let made = 0;
  const open = (secret: SealedText): string => openText(box, secret);
  return new PerInstance<Numbered>({
    field: 'http',
    countMax: SERVICE_COUNT_MAX,
    make: (raw) => {
      const settings = readHttpSettings(raw);
      return { number: ++made, service: createHttpService({ clock, settings, open }) };
    },
  });
}

/** `fresh`: whatever was answered before. */
type Decide = (
  service: Numbered,
  request: ConnectRequest,
  fresh: boolean,
) => Promise<ServiceAnswer>;

/** Asks a service, or remembers what it said to the very same question. */
function createDecider(clock: Clock, random: Random): Decide {
  const cache = new ExpiringCache<HttpDecision>(clock, CACHED_COUNT_MAX);
  const processKey = createSecretKey(random.bytes(32)); // from bytes it is slow
  return async ({ number, service }, request, fresh) => {
    const body = bodyOf(request);
    const key = createHmac('sha256', processKey)
      .update(`${number}\0`)
      .update(body)
      .digest('base64');
    const cached = fresh ? undefined : cache.get(key);
    if (cached !== undefined) return cached;
    const { clientId, userName } = request;
    const answer = await service.ask(body, { clientId, userName });
    const { cacheSeconds, denyCacheSeconds } = service.settings;
    if (answer.outcome === 'denied') cache.set(key, answer, denyCacheSeconds * 1000);
    if (answer.outcome === 'allowed') cache.set(key, answer, cacheSeconds * 1000);
    return answer;
  };
}

/** What any other answer than `allowed` means for the client. */
function refusalOf(
  { instance, userName }: ConnectRequest,
  answer: Exclude<ServiceAnswer, Allowed>,
  failOpen: boolean,
): Verdict | undefined {
  const { outcome, detail } = answer;
  switch (outcome) {
    case 'ignored':
      return undefined;
    case 'denied':
      return { refused: 'authServiceDenied', detail };
    case 'busy':
      return { refused: 'serverBusy', detail };
    case 'wrong':
      return { refused: 'authServiceDown', detail };
    case 'failed':
      return failOpen
        ? { instance, userName, permissions: undefined }
        : { refused: 'authServiceDown', detail };
    default:
      return outcome satisfies never;
  }
}

/** What need not bother the service: JSON holds text only, and in bounds. */
function unaskable({ userName, password }: ConnectRequest): Refusal | undefined {
  if (userName !== undefined && userName.length > USER_NAME_CHARS_MAX) {
    return { refused: 'userNameMalformed', detail: 'user name too long' };
  }
  if (password === undefined) return undefined;
  if (password.length > PASSWORD_BYTES_MAX) {
    return { refused: 'passwordMalformed', detail: 'password too long' };
  }
  return isUtf8(password) ? undefined : { refused: 'passwordMalformed' };
}

function bodyOf(request: ConnectRequest): Buffer {
  const { userName, password, clientId, address, instance, protocolVersion } = request;
  return Buffer.from(
    JSON.stringify({
      username: userName ?? null,
      password: password === undefined ? null : Buffer.from(password).toString('utf8'),
      clientId,
      ipaddress: address,
      instanceId: instance.id,
      protocolVersion,
    }),
  );
}
