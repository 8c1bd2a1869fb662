/**
 * Who sent this request: claim read, time and key checked, signature proven, nonce taken.
 *
 * In that order, so that what is learnt of a key, and what is remembered of a nonce, only ever
 * comes of a request whose sender holds the secret.
 */
import type { Accounts, Principal } from '#identity';
import { ApiFault } from './api-fault.ts';
import type { Nonces } from './nonces.ts';
import type { SignatureClaim, SignedRequest } from './signature.ts';
import { isAcs3, readAcs3 } from './signature-acs3.ts';
import { isRpc, readRpc, RPC_PARAMETERS } from './signature-rpc.ts';

/** A request whose sender is known. */
export interface ProvenRequest {
  readonly principal: Principal;
  readonly action: string;
  readonly version: string;
  /** The action's own, by exact name; the gateway's are left out. */
  readonly parameters: ReadonlyMap<string, string>;
}

const NONCE_CHARS_MAX = 256;

/** More than a message of 64 KiB needs, escaped twice. */
const SHOWN_CHARS_MAX = 512 * 1024;

/** Proves the request, or throws the `ApiFault` that says why it is refused. */
export async function authenticateRequest(
  request: SignedRequest,
  accounts: Accounts,
  nonces: Nonces,
): Promise<ProvenRequest> {
  const acs3 = isAcs3(request.headers);
  if (!acs3 && !isRpc(request)) {
    throw new ApiFault('IncompleteSignature', 'The request is not signed.');
  }
  const claim = acs3 ? readAcs3(request) : readRpc(request);
  const timestampMs = readTimestamp(claim.timestamp);
  nonces.checkTime(timestampMs);
  if (claim.nonce === '' || claim.nonce.length > NONCE_CHARS_MAX) {
    throw new ApiFault('IncompleteSignature', 'The nonce is empty or too long.');
  }
  const principal = await prove(claim, accounts);
  nonces.take(claim.accessKeyId, claim.nonce, timestampMs);
  const parameters = mergeParameters(request, acs3);
  return { principal, action: claim.action, version: claim.version, parameters };
}

async function prove(claim: SignatureClaim, accounts: Accounts): Promise<Principal> {
  const key = await accounts.findKey(claim.accessKeyId, claim.securityToken);
  if (key === undefined) {
    const temporary = claim.securityToken !== undefined;
    throw new ApiFault(temporary ? 'CheckAccountInfoFailed' : 'InvalidAccessKeyId.NotFound');
  }
  const stringToSign = claim.stringToSign();
  if (!claim.isSignedWith(key.secret, stringToSign)) throw signatureMismatch(stringToSign);
  if (key.expired) {
    throw new ApiFault('CheckAccountInfoFailed', 'The temporary credential has expired.');
  }
  if (!key.active) throw new ApiFault('InvalidAccessKeyId.Inactive');
  return key.principal;
}

/** Older SDKs take this text apart: one colon, and after it exactly what we signed. */
function signatureMismatch(stringToSign: string): ApiFault {
  const text = 'Specified signature does not match our calculation. server string to sign is:';
  const shown = stringToSign.slice(0, SHOWN_CHARS_MAX);
  return new ApiFault('SignatureDoesNotMatch', `${text}${shown}`);
}

function readTimestamp(text: string): number {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new ApiFault('InvalidTimeStamp.Format');
  return ms;
}

/** Query and form as one: clients differ in where they put what. */
function mergeParameters(request: SignedRequest, acs3: boolean): ReadonlyMap<string, string> {
  const merged = new Map<string, string>();
  for (const [name, value] of [...request.query, ...request.form]) {
    if (name === 'Format') checkFormat(value);
    if (!acs3 && RPC_PARAMETERS.has(name)) continue;
    if (merged.has(name) && merged.get(name) !== value) {
      const text = `${name} is there twice, with two values.`;
      throw new ApiFault('InvalidParameter.%s', text, { parameter: name });
    }
    merged.set(name, value);
  }
  return merged;
}

function checkFormat(format: string): void {
  if (!/^(json)?$/i.test(format)) throw new ApiFault('InvalidParameter.Format');
}
