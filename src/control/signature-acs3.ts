/**
 * Signatures of the newer SDKs: `ACS3-HMAC-SHA256` (and SM3) in the Authorization header.
 *
 * The header lists the headers it covers, and the list is obeyed as it comes: clients sign more
 * than they must. A body is covered by its hash, which is signed as a header.
 */
import { createHash, createHmac } from 'node:crypto';
import { ApiFault } from './api-fault.ts';
import { canonicalPairs } from './percent-encoding.ts';
import { isSameSecretly, type SignatureClaim, type SignedRequest } from './signature.ts';

const HASHES: ReadonlyMap<string, string> = new Map([
  ['ACS3-HMAC-SHA256', 'sha256'],
  ['ACS3-HMAC-SM3', 'sm3'],
]);

const CONTENT_HASH = 'x-acs-content-sha256'; // the same name whatever the hash

const MUST_BE_SIGNED = [
  'host',
  'x-acs-action',
  'x-acs-content-sha256',
  'x-acs-date',
  'x-acs-signature-nonce',
  'x-acs-version',
];

/** These count as well, and so must be signed where they are sent. */
const SIGNED_WHERE_SENT = ['x-acs-security-token', 'x-acs-accesskey-id'];

const SHAPE =
  /^(ACS3-[A-Z0-9-]+) +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-f]+)$/;

/** True where the request is to be read by `readAcs3`. */
export function isAcs3(headers: ReadonlyMap<string, string>): boolean {
  return headers.get('authorization')?.startsWith('ACS3-') === true;
}

/** Reads the claim; an `ApiFault` where it is incomplete or the body is not the one signed. */
export function readAcs3(request: SignedRequest): SignatureClaim {
  const { headers } = request;
  const [, method, accessKeyId, signedHeaders, signature] =
    SHAPE.exec(headers.get('authorization') ?? '') ?? [];
  if (method === undefined || accessKeyId === undefined || signature === undefined) {
    throw new ApiFault('IncompleteSignature', 'The Authorization header is not well formed.');
  }
  const hash = HASHES.get(method);
  if (hash === undefined) throw new ApiFault('InvalidSignatureMethod');
  const signed = new Set(signedHeaders!.split(';'));
  for (const name of [...MUST_BE_SIGNED, ...SIGNED_WHERE_SENT.filter((one) => headers.has(one))]) {
    if (!signed.has(name) || !headers.has(name)) {
      throw new ApiFault('IncompleteSignature', `The header ${name} must be sent and signed.`);
    }
  }
  const header = (name: string): string => headers.get(name)?.trim() ?? '';
  const canonicalHeaders = [...signed].map((name) => `${name}:${header(name)}\n`).join('');
  // The path is always `/`: a request for another never gets here.
  const stringToSign = (): string => {
    const query = canonicalPairs(request.query);
    const ending = `${canonicalHeaders}\n${signedHeaders}\n${header(CONTENT_HASH)}`;
    const text = `${request.method}\n/\n${query}\n${ending}`;
    return `${method}\n${createHash(hash).update(text).digest('hex')}`;
  };
  return {
    accessKeyId,
    securityToken: headers.get('x-acs-security-token') || undefined,
    action: header('x-acs-action'),
    version: header('x-acs-version'),
    nonce: header('x-acs-signature-nonce'),
    timestamp: header('x-acs-date'),
    stringToSign,
    isSignedWith: (secret, text) => {
      const ours = createHmac(hash, secret).update(text).digest('hex');
      const bodyHash = createHash(hash).update(request.body).digest('hex');
      return isSameSecretly(ours, signature) && isSameSecretly(bodyHash, header(CONTENT_HASH));
    },
  };
}
