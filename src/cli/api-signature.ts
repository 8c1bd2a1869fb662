/**
 * A request to the control API, signed as the vendor's newer SDKs do: ACS3-HMAC-SHA256.
 *
 * Written apart from the server's own reading of signatures, so that the two check each other.
 */
import { createHash, createHmac } from 'node:crypto';
import { type Clock, type Random, showSecond } from '#base';

export interface ApiKey {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  /** With a temporary key. */
  readonly securityToken?: string | undefined;
}

export interface ApiRequest {
  /** As it will be sent in the Host header, port included. */
  readonly host: string;
  readonly action: string;
  readonly version: string;
  readonly parameters: readonly (readonly [name: string, value: string])[];
  readonly key: ApiKey;
}

export interface SignedApiRequest {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** A form to POST to `/`, and the headers that go with it. */
export function signApiRequest(
  request: ApiRequest,
  clock: Clock,
  random: Random,
): SignedApiRequest {
  const { action, version, key } = request;
  const form = new URLSearchParams();
  for (const [name, value] of request.parameters) form.append(name, value);
  const body = form.toString();
  const bodyHash = createHash('sha256').update(body).digest('hex');
  const headers: Record<string, string> = {
    host: request.host,
    'content-type': 'application/x-www-form-urlencoded',
    'x-acs-action': action,
    'x-acs-version': version,
    'x-acs-date': showSecond(clock.nowMs()),
    'x-acs-signature-nonce': Buffer.from(random.bytes(16)).toString('hex'),
    'x-acs-content-sha256': bodyHash,
  };
  if (key.securityToken !== undefined) headers['x-acs-security-token'] = key.securityToken;
  const names = Object.keys(headers).sort();
  const lines = names.map((name) => `${name}:${headers[name]}\n`).join('');
  const canonical = ['POST', '/', '', lines, names.join(';'), bodyHash].join('\n');
  const hash = createHash('sha256').update(canonical).digest('hex');
  const text = `ACS3-HMAC-SHA256\n${hash}`;
  const signature = createHmac('sha256', key.accessKeySecret).update(text).digest('hex');
  const parts = [
    `Credential=${key.accessKeyId}`,
    `SignedHeaders=${names.join(';')}`,
    `Signature=${signature}`,
  ];
  return { body, headers: { ...headers, authorization: `ACS3-HMAC-SHA256 ${parts.join(',')}` } };
}
