/**
 * What both generations of request signature have in common: a request taken apart, and a claim
 * read from it that still has to be proven with the secret of the key it names.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Pair } from './percent-encoding.ts';

/** A request as far as signatures look at it. */
export interface SignedRequest {
  readonly method: string;
  /** By lower-case name; each that counts is there once. */
  readonly headers: ReadonlyMap<string, string>;
  readonly query: readonly Pair[];
  /** Of a form body; empty where the body is none. */
  readonly form: readonly Pair[];
  readonly body: Uint8Array;
}

/** What a request says of itself. Nothing of it is true until `isSignedWith`. */
export interface SignatureClaim {
  readonly accessKeyId: string;
  readonly securityToken: string | undefined;
  readonly action: string;
  readonly version: string;
  readonly nonce: string;
  /** `YYYY-MM-DDThh:mm:ssZ`, unchecked. */
  readonly timestamp: string;
  /** Told to a caller whose signature differs: it holds nothing but the request. Costly. */
  stringToSign(): string;
  /** Whether the request is signed with `secret`, and is what was signed. */
  isSignedWith(secret: string, stringToSign: string): boolean;
}

/** Compares without telling by time where two texts differ; their lengths are no secret. */
export function isSameSecretly(one: string, other: string): boolean {
  const left = Buffer.from(one);
  const right = Buffer.from(other);
  return left.length === right.length && timingSafeEqual(left, right);
}
