/**
 * The keys an instance's JWTs are verified with, and the verification of signatures.
 *
 * Keys from a URL are kept for minutes and fetched anew in the background; an unknown key makes us
 * fetch as well, but not often, or forged tokens would be a hammer. Old keys serve for an hour
 * while the URL is down, then nobody gets in.
 */
import { createSecretKey, type KeyObject, type webcrypto } from 'node:crypto';
import { compactVerify, createLocalJWKSet, errors } from 'jose';
import { type Clock, Fault } from '#base';
import type { SealedText } from '../auth-settings.ts';
import { createHttpClient, type HttpClient } from '../http/http-client.ts';
import { type JwtSettings, type PublicJwk, publicKeysOf } from './jwt-settings.ts';

/** The payload's bytes; `forged`: not signed with our keys; `down`: the keys cannot be had. */
export type Verification = Uint8Array | 'forged' | 'down';

export interface JwtKeyRing {
  /** Never rejects. */
  verify(token: string): Promise<Verification>;
  close(): void;
}

export interface JwtKeyRingOptions {
  readonly clock: Clock;
  readonly settings: JwtSettings;
  open(secret: SealedText): string;
}

type CryptoKey = webcrypto.CryptoKey;
type KeySet = ReturnType<typeof createLocalJWKSet>;

const FRESH_MS = 600_000;
const STALE_MS = 3_600_000;
const COOL_DOWN_MS = 30_000;
/** The cool-down after a failure. */
const RETRY_MS = 5_000;
const TRIES_MAX = 20;
const KEY_SET_BYTES_MAX = 262_144;
const SECRET_BYTES_MIN = 32;

export function createJwtKeyRing(options: JwtKeyRingOptions): JwtKeyRing {
  const { settings } = options;
  const { keys } = settings;
  const algorithms = [...settings.algorithms];
  if (keys.kind === 'secret') {
    const key = createSecretKey(secretBytes(options.open(keys.secret), keys.base64));
    return { verify: (token) => tryKey(token, key, algorithms), close: () => undefined };
  }
  if (keys.kind === 'inline') {
    const set = keySetOf(keys.keys);
    return {
      verify: async (token) => known(await trySet(token, set, algorithms)),
      close: () => undefined,
    };
  }
  const remote = new RemoteKeySet(options.clock, keys.url, keys.ca, settings.timeoutMs);
  return {
    async verify(token) {
      const set = await remote.get();
      if (set === undefined) return 'down';
      const first = await trySet(token, set, algorithms);
      if (first !== 'unknownKey') return first;
      const newer = await remote.renew();
      if (newer === undefined || newer === set) return 'forged';
      return known(await trySet(token, newer, algorithms));
    },
    close: () => remote.close(),
  };
}

/** The bytes of a shared secret. Throws `invalidParameter` where it is too short to be one. */
export function secretBytes(secret: string, base64: boolean): Buffer {
  if (base64 && !/^[A-Za-z0-9+/_-]+={0,2}$/.test(secret)) {
    throw new Fault('invalidParameter', 'the secret of JWTs is not base64');
  }
  const bytes = Buffer.from(secret, base64 ? 'base64' : 'utf8');
  if (bytes.length >= SECRET_BYTES_MIN) return bytes;
  throw new Fault('invalidParameter', `the secret of JWTs needs ${SECRET_BYTES_MIN} bytes`);
}

/** Whatever is wrong with a token, its header, or its key: it is not one of ours. */
async function tryKey(
  token: string,
  key: KeyObject | CryptoKey,
  algorithms: string[],
): Promise<Uint8Array | 'forged'> {
  try {
    return (await compactVerify(token, key, { algorithms })).payload;
  } catch {
    return 'forged';
  }
}

async function trySet(
  token: string,
  set: KeySet,
  algorithms: string[],
): Promise<Uint8Array | 'forged' | 'unknownKey'> {
  try {
    return (await compactVerify(token, set, { algorithms })).payload;
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) return 'unknownKey';
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) return 'forged';
    // The token does not name its key, and several would do.
    let triesLeft = TRIES_MAX;
    for await (const key of error) {
      const verified = await tryKey(token, key, algorithms);
      if (verified !== 'forged') return verified;
      if (--triesLeft === 0) break;
    }
    return 'forged';
  }
}

function known(verified: Uint8Array | 'forged' | 'unknownKey'): Verification {
  return verified === 'unknownKey' ? 'forged' : verified;
}

function keySetOf(keys: readonly PublicJwk[]): KeySet {
  return createLocalJWKSet({ keys: keys.map((key) => ({ ...key })) });
}

class RemoteKeySet {
  readonly #clock: Clock;
  readonly #url: string;
  readonly #timeoutMs: number;
  readonly #client: HttpClient;
  #known: KeySet | undefined = undefined;
  #fetchedMs = Number.NEGATIVE_INFINITY;
  /** Of the last attempt, whatever came of it. */
  #triedMs = Number.NEGATIVE_INFINITY;
  #coolDownMs = COOL_DOWN_MS;
  #fetching: Promise<KeySet | undefined> | undefined = undefined;

  constructor(clock: Clock, url: string, ca: string | undefined, timeoutMs: number) {
    this.#clock = clock;
    this.#url = url;
    this.#timeoutMs = timeoutMs;
    this.#client = createHttpClient({ clock, socketCountMax: 1, ca });
  }

  /** The keys, waited for only where there are none to go on with. */
  async get(): Promise<KeySet | undefined> {
    const ageMs = this.#clock.monotonicMs() - this.#fetchedMs;
    if (ageMs < FRESH_MS) return this.#known;
    const renewed = this.renew();
    return ageMs < STALE_MS ? this.#known : renewed;
  }

  /** Newer keys; the same again within the cool-down; `undefined` where that fails. */
  renew(): Promise<KeySet | undefined> {
    if (this.#fetching !== undefined) return this.#fetching;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#triedMs < this.#coolDownMs) {
      return Promise.resolve(nowMs - this.#fetchedMs < STALE_MS ? this.#known : undefined);
    }
    this.#triedMs = nowMs;
    this.#coolDownMs = RETRY_MS; // until it has worked
    this.#fetching = this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  close(): void {
    this.#client.close();
  }

  async #fetch(): Promise<KeySet | undefined> {
    const reply = await this.#client.ask({
      method: 'GET',
      url: this.#url,
      headers: { accept: 'application/jwk-set+json, application/json' },
      body: undefined,
      answerBytesMax: KEY_SET_BYTES_MAX,
      timeoutMs: this.#timeoutMs,
    });
    if ('failed' in reply || reply.status !== 200) return undefined;
    try {
      const keys = publicKeysOf(JSON.parse(reply.body.toString('utf8')));
      if (keys === undefined) return undefined;
      this.#known = keySetOf(keys);
    } catch {
      return undefined;
    }
    this.#fetchedMs = this.#clock.monotonicMs();
    this.#coolDownMs = COOL_DOWN_MS;
    return this.#known;
  }
}
