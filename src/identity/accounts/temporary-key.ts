/**
 * Temporary access keys. The security token that goes with one is the key itself, sealed: nothing
 * is stored, so nothing accumulates, and it ends by itself.
 */
import type { Random } from '#base';
import type { SecretBox } from '../secret-box.ts';

export interface TemporaryKey {
  /** Begins with `STS.`. */
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  readonly securityToken: string;
  readonly expiresMs: number;
}

/** What a security token says. */
export interface TemporaryClaim {
  readonly accessKeyId: string;
  readonly secret: string;
  readonly accountId: string;
  readonly expiresMs: number;
  /** Rights are those of the account, and of this document. */
  readonly policy: string | undefined;
}

export const TEMPORARY_PREFIX = 'STS.';
const TOKEN_CHARS_MAX = 16_384;
/** Other sealed things are no tokens. */
const KIND = 'temporary-key';

/** Makes a key for the account, good until `expiresMs`. */
export function sealTemporaryKey(
  grant: Pick<TemporaryClaim, 'accountId' | 'expiresMs' | 'policy'>,
  box: SecretBox,
  random: Random,
): TemporaryKey {
  const accessKeyId = TEMPORARY_PREFIX + Buffer.from(random.bytes(12)).toString('hex');
  const accessKeySecret = Buffer.from(random.bytes(24)).toString('base64url');
  const { accountId, expiresMs, policy } = grant;
  const claim = [KIND, accessKeyId, accessKeySecret, accountId, expiresMs, policy ?? ''];
  const securityToken = Buffer.from(box.seal(JSON.stringify(claim))).toString('base64');
  return { accessKeyId, accessKeySecret, securityToken, expiresMs };
}

/** What the token says; `undefined`: it is not one of ours. */
export function openTemporaryKey(token: string, box: SecretBox): TemporaryClaim | undefined {
  if (token.length > TOKEN_CHARS_MAX) return undefined;
  const sealed = Buffer.from(token, 'base64');
  if (sealed.toString('base64') !== token) return undefined; // one token, one spelling
  let claim: unknown;
  try {
    claim = JSON.parse(box.open(sealed));
  } catch {
    return undefined; // forged, damaged, or sealed for something else
  }
  if (!Array.isArray(claim) || claim[0] !== KIND) return undefined;
  const [, accessKeyId, secret, accountId, expiresMs, policy]: unknown[] = claim;
  if (typeof accessKeyId !== 'string' || typeof secret !== 'string') return undefined;
  if (typeof accountId !== 'string' || typeof expiresMs !== 'number') return undefined;
  if (typeof policy !== 'string') return undefined;
  return { accessKeyId, secret, accountId, expiresMs, policy: policy === '' ? undefined : policy };
}
