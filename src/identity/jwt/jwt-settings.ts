/**
 * The settings of JWT authentication: `instance.authentication.jwt`.
 *
 * A key is of one kind, secret or public, and only algorithms of that kind are ever tried with it.
 */
import { type SealedText, SettingsReader } from '../auth-settings.ts';
import { isRecord } from '../permission-rules.ts';

export const SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const;
export const PUBLIC_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const;

/** A public key as RFC 7517 writes it. */
export type PublicJwk = Readonly<Record<string, unknown>> & { readonly kty: string };

/** Where the keys are: one of these. */
export type JwtKeys =
  | { readonly kind: 'inline'; readonly keys: readonly PublicJwk[] }
  | { readonly kind: 'url'; readonly url: string; readonly ca: string | undefined }
  | { readonly kind: 'secret'; readonly secret: SealedText; readonly base64: boolean };

export interface JwtSettings {
  readonly keys: JwtKeys;
  readonly algorithms: readonly string[];
  /** One of them must be `iss`. */
  readonly issuers: readonly string[] | undefined;
  /** One of them must be in `aud`. */
  readonly audiences: readonly string[] | undefined;
  /** Where the token is. */
  readonly from: 'password' | 'username';
  /** The claim that must equal the client identifier. */
  readonly clientIdClaim: string | undefined;
  /** The claim that must equal the user name, where CONNECT has one beside the token. */
  readonly userNameClaim: string | undefined;
  /** The claim with the permissions; without it everything is allowed. */
  readonly aclClaim: string;
  readonly expiryRequired: boolean;
  /** How wrong the issuer's clock may be. */
  readonly toleranceSeconds: number;
  readonly timeoutMs: number;
}

const INLINE_COUNT_MAX = 20;
const NAMES_MAX = 20;
/** Of private keys, and of secret ones. */
const PRIVATE_FIELDS: readonly string[] = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/** Throws `invalidParameter`. */
export function readJwtSettings(value: unknown): JwtSettings {
  const reader = new SettingsReader('jwt', value);
  const keys = readKeys(reader);
  const known: readonly string[] = keys.kind === 'secret' ? SECRET_ALGORITHMS : PUBLIC_ALGORITHMS;
  const usual = keys.kind === 'secret' ? ['HS256'] : PUBLIC_ALGORITHMS;
  const algorithms = reader.texts('algorithms', NAMES_MAX) ?? usual;
  if (!algorithms.every((each) => known.includes(each))) {
    throw reader.bad('algorithms', `must be of ${known.join(', ')} with such keys`);
  }
  const settings = {
    keys,
    algorithms,
    issuers: reader.texts('issuer', NAMES_MAX),
    audiences: reader.texts('audience', NAMES_MAX),
    from: reader.oneOf('from', ['password', 'username'], 'password'),
    clientIdClaim: reader.text('clientIdClaim', 256),
    userNameClaim: reader.text('userNameClaim', 256),
    aclClaim: reader.text('aclClaim', 256) ?? 'acl',
    expiryRequired: reader.flag('expiryRequired', true),
    toleranceSeconds: reader.number('toleranceSeconds', { min: 0, max: 300, usual: 10 }),
    timeoutMs: reader.number('timeoutMs', { min: 100, max: 30_000, usual: 3_000 }),
  };
  reader.end();
  return settings;
}

function readKeys(reader: SettingsReader): JwtKeys {
  const given = ['jwks', 'jwksUrl', 'secret'].filter((field) => reader.has(field));
  if (given.length !== 1) throw reader.bad('jwks', 'or jwksUrl or secret is needed, and only one');
  if (!reader.has('secret') && reader.has('secretIsBase64')) {
    throw reader.bad('secretIsBase64', 'goes with a secret');
  }
  if (!reader.has('jwksUrl') && reader.has('ca')) throw reader.bad('ca', 'goes with a jwksUrl');
  const secret = reader.sealed('secret');
  if (secret !== undefined) {
    return { kind: 'secret', secret, base64: reader.flag('secretIsBase64', false) };
  }
  const url = reader.url('jwksUrl');
  if (url !== undefined) return { kind: 'url', url, ca: reader.certificates('ca') };
  const set = reader.record('jwks');
  const keys = publicKeysOf(set) ?? [];
  const all = set?.['keys'];
  const fits = keys.length > 0 && keys.length <= INLINE_COUNT_MAX;
  if (!fits || !Array.isArray(all) || all.length !== keys.length) {
    throw reader.bad('jwks', `must be {"keys": [...]} with 1 to ${INLINE_COUNT_MAX} public keys`);
  }
  return { kind: 'inline', keys };
}

/** The public keys of a JWK set; `undefined` where it is none. */
export function publicKeysOf(set: unknown): readonly PublicJwk[] | undefined {
  if (!isRecord(set) || !Array.isArray(set['keys'])) return undefined;
  const keys: readonly unknown[] = set['keys'];
  return keys.filter(isPublicKey);
}

function isPublicKey(key: unknown): key is PublicJwk {
  if (!isRecord(key) || typeof key['kty'] !== 'string' || key['kty'] === 'oct') return false;
  return !PRIVATE_FIELDS.some((field) => field in key);
}
