/**
 * Tokens for devices: leave to publish or subscribe certain topics until a certain time.
 *
 * A token carries its own claims under a MAC, so issuing one costs no row however many are alive.
 * Only revocations are kept, each until its token would have expired anyway; all of them are in
 * memory, so that reading a token asks nobody.
 */
import {
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto';
import { assert, type Clock, Fault, type Log, type Random } from '#base';
import type { Store } from '#ports';
import { openRevocations } from './token-revocations.ts';
import { isTopicFilter } from '../topic-rules.ts';

/** `R` subscribes, `W` publishes, `RW` does both. */
export type TokenType = 'R' | 'W' | 'RW';

export interface Token {
  /** `<instanceId>/<unique id>`: what a revocation names. */
  readonly key: string;
  readonly instanceId: string;
  /** The access key that applied for it. */
  readonly accessKeyId: string;
  readonly type: TokenType;
  readonly filters: readonly string[];
  readonly issuedMs: number;
  readonly expireMs: number;
  /** Only this client may use it; `undefined`: whoever has it. */
  readonly clientId: string | undefined;
}

export interface TokenApplication {
  readonly instanceId: string;
  readonly accessKeyId: string;
  readonly actions: 'R' | 'W' | 'R,W';
  readonly resources: readonly string[];
  readonly expireMs: number;
  readonly clientId?: string | undefined;
}

/** Why a text is no token to go by. */
export type TokenFlaw = 'tokenForged' | 'tokenExpired' | 'tokenRevoked';

export interface Tokens {
  /** The token's text. A Fault `invalidParameter` where the application breaks a bound. */
  apply(application: TokenApplication): string;
  /** The claims of a good token of that instance. */
  read(instanceId: string, text: string): Token | TokenFlaw;
  /** True for a good token; false for anything else. */
  query(instanceId: string, text: string): boolean;
  /** Resolves once the token is refused everywhere; one that has expired needs nothing. */
  revoke(instanceId: string, text: string): Promise<void>;
  isRevoked(tokenKey: string): boolean;
  /** Tells the key of each token that is revoked from now on. Returns the way to stop. */
  onRevoked(listener: (tokenKey: string) => void): () => void;
  close(): void;
}

export const TOKEN_LIFE_MS_MIN = 60_000;
export const TOKEN_LIFE_MS_MAX: number = 30 * 24 * 3_600_000;
export const TOKEN_FILTER_COUNT_MAX = 100;
/** Longer texts are not looked at; it leaves room for 100 long filters. */
export const TOKEN_CHARS_MAX = 32_768;

const FORMAT = 1;
const MAC_BYTES = 32;
const HEAD_BYTES = 1 + MAC_BYTES;
const ID_BYTES = 12;

/** What is under the MAC, as JSON. */
interface Claims {
  readonly id: string;
  readonly in: string;
  readonly ak: string;
  readonly ty: TokenType;
  readonly fi: readonly string[];
  readonly at: number;
  readonly ex: number;
  readonly cl?: string;
}

export interface TokensOptions {
  readonly store: Store;
  /** The secret of this installation, 32 bytes: every node must have the same. */
  readonly key: Uint8Array;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Tokens under that key; reads what was revoked before. */
export async function openTokens(options: TokensOptions): Promise<Tokens> {
  const { clock } = options;
  assert(options.key.length === 32, 'a token key has 32 bytes');
  // Made once: from bytes, Node makes it anew for every token, which takes longer than the rest.
  const macKey = createSecretKey(
    Buffer.from(hkdfSync('sha256', options.key, '', 'ternmq token 1', 32)),
  );
  const revocations = await openRevocations(options);

  const read = (instanceId: string, text: string): Token | TokenFlaw => {
    const token = open(macKey, text);
    if (token === undefined || token.instanceId !== instanceId) return 'tokenForged';
    if (token.expireMs <= clock.nowMs()) return 'tokenExpired';
    return revocations.has(token.key) ? 'tokenRevoked' : token;
  };

  return {
    apply: (application) => issue(application, macKey, options),
    read,
    query: (instanceId, text) => typeof read(instanceId, text) !== 'string',
    async revoke(instanceId, text) {
      const token = read(instanceId, text);
      if (token === 'tokenForged') throw new Fault('invalidParameter', 'Token is not one of ours');
      if (typeof token === 'string') return;
      await revocations.add(token.key, token.expireMs);
    },
    isRevoked: (tokenKey) => revocations.has(tokenKey),
    onRevoked: (listener) => revocations.onAdded(listener),
    close: () => revocations.close(),
  };
}

function issue(application: TokenApplication, macKey: KeyObject, options: TokensOptions): string {
  const filters = checkFilters(application.resources);
  const nowMs = options.clock.nowMs();
  if (!(application.expireMs >= nowMs + TOKEN_LIFE_MS_MIN)) {
    throw new Fault('invalidParameter', 'ExpireTime is less than 60 seconds ahead');
  }
  const text = seal(macKey, {
    id: Buffer.from(options.random.bytes(ID_BYTES)).toString('base64url'),
    in: application.instanceId,
    ak: application.accessKeyId,
    ty: application.actions === 'R,W' ? 'RW' : application.actions,
    fi: filters,
    at: nowMs,
    ex: Math.floor(Math.min(application.expireMs, nowMs + TOKEN_LIFE_MS_MAX)),
    ...(application.clientId === undefined ? {} : { cl: application.clientId }),
  });
  if (text.length > TOKEN_CHARS_MAX) {
    throw new Fault('invalidParameter', 'Resources are too long for one token');
  }
  return text;
}

function checkFilters(resources: readonly string[]): readonly string[] {
  const filters = [...new Set(resources)].sort();
  if (resources.length < 1 || resources.length > TOKEN_FILTER_COUNT_MAX) {
    throw new Fault('invalidParameter', `Resources are 1 to ${TOKEN_FILTER_COUNT_MAX} topics`);
  }
  if (!filters.every(isTopicFilter)) {
    throw new Fault('invalidParameter', 'Resources hold something that is no topic filter');
  }
  return filters;
}

/** `FORMAT | MAC of the rest | claims`, in base64url: a form or a URL leaves no sign of it alone. */
function seal(macKey: KeyObject, claims: Claims): string {
  const body = Buffer.from(JSON.stringify(claims));
  return Buffer.concat([Buffer.of(FORMAT), mac(macKey, body), body]).toString('base64url');
}

function open(macKey: KeyObject, text: string): Token | undefined {
  if (text.length > TOKEN_CHARS_MAX) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length <= HEAD_BYTES || bytes[0] !== FORMAT) return undefined;
  // The decoder forgives much; a token has one spelling only.
  if (bytes.toString('base64url') !== text) return undefined;
  const body = bytes.subarray(HEAD_BYTES);
  if (!timingSafeEqual(bytes.subarray(1, HEAD_BYTES), mac(macKey, body))) return undefined;
  const claims = JSON.parse(body.toString()) as Claims; // we wrote it: the MAC says so
  return {
    key: `${claims.in}/${claims.id}`,
    instanceId: claims.in,
    accessKeyId: claims.ak,
    type: claims.ty,
    filters: claims.fi,
    issuedMs: claims.at,
    expireMs: claims.ex,
    clientId: claims.cl,
  };
}

function mac(macKey: KeyObject, body: Buffer): Buffer {
  return createHmac('sha256', macKey).update(Buffer.of(FORMAT)).update(body).digest();
}
