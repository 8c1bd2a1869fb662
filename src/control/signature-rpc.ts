/**
 * Signatures of the older SDKs: HMAC-SHA1, version 1.0, over every parameter of the request.
 *
 * The signature and what belongs to it are parameters themselves, in the query or in a form
 * body. Headers are not signed, so nothing of a header is believed: the action least of all.
 */
import { createHmac } from 'node:crypto';
import { ApiFault } from './api-fault.ts';
import { canonicalPairs, encodePercent, type Pair } from './percent-encoding.ts';
import { isSameSecretly, type SignatureClaim, type SignedRequest } from './signature.ts';

/** Parameters that are the gateway's and no action's. */
export const RPC_PARAMETERS: ReadonlySet<string> = new Set([
  'AccessKeyId',
  'Action',
  'Format',
  'SecurityToken',
  'Signature',
  'SignatureMethod',
  'SignatureNonce',
  'SignatureType',
  'SignatureVersion',
  'Timestamp',
  'Version',
]);

/** True where the request is to be read by `readRpc`. */
export function isRpc(request: SignedRequest): boolean {
  return [...request.query, ...request.form].some(([name]) => name === 'Signature');
}

/** Reads the claim; an `ApiFault` where something of it is missing, twice there or unknown. */
export function readRpc(request: SignedRequest): SignatureClaim {
  const pairs = [...request.query, ...request.form];
  const values = readOwn(pairs);
  const demand = (name: string): string => {
    const value = values.get(name);
    if (value !== undefined && value !== '') return value;
    throw new ApiFault('Missing%s', `${name} is missing.`, { parameter: name });
  };
  const signature = demand('Signature');
  if (demand('SignatureMethod') !== 'HMAC-SHA1' || (values.get('SignatureType') ?? '') !== '') {
    throw new ApiFault('InvalidSignatureMethod');
  }
  if (demand('SignatureVersion') !== '1.0') {
    const text = 'SignatureVersion can be 1.0 only.';
    throw new ApiFault('Invalid%s', text, { parameter: 'SignatureVersion' });
  }
  const stringToSign = (): string => {
    const signed = canonicalPairs(pairs.filter(([name]) => name !== 'Signature'));
    return `${request.method}&%2F&${encodePercent(signed)}`;
  };
  return {
    accessKeyId: demand('AccessKeyId'),
    securityToken: values.get('SecurityToken') || undefined,
    action: demand('Action'),
    version: demand('Version'),
    nonce: demand('SignatureNonce'),
    timestamp: demand('Timestamp'),
    stringToSign,
    isSignedWith: (secret, text) => {
      const ours = createHmac('sha1', `${secret}&`).update(text).digest('base64');
      return isSameSecretly(ours, signature);
    },
  };
}

function readOwn(pairs: readonly Pair[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const [name, value] of pairs) {
    if (!RPC_PARAMETERS.has(name)) continue;
    if (values.has(name)) {
      throw new ApiFault('Invalid%s', `${name} is there twice.`, { parameter: name });
    }
    values.set(name, value);
  }
  return values;
}
