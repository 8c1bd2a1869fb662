/**
 * Signature mode: the caller has the secret of an access key, and signs its client identifier.
 *
 *   user name  Signature|<AccessKeyId>|<InstanceId>
 *   password   Base64(HMAC-SHA1(secret, client identifier))
 *
 *   user name  SignatureV2|<AccessKeyId>|<InstanceId>|<milliseconds since 1970>
 *   password   Base64(HMAC-SHA256(secret, client identifier "\n" milliseconds "\n" InstanceId))
 *
 * The first is the product's and good for ever. The second is an addition: it is good for five
 * minutes around its time and for one instance, so that listening in gains little. The client
 * identifier may hold line feeds; the rest cannot, so the text has one reading.
 */
import { createHmac } from 'node:crypto';
import type { Clock } from '#base';
import { admit } from './account-caller.ts';
import type { Accounts } from './accounts.ts';
import type { AuthenticationWay, ConnectRequest, Refusal, Verdict } from '../authenticator.ts';
import { sameSecret } from '../same-secret.ts';
import { type ParsedUserName, parseUserName } from '../user-name.ts';

export { type ParsedUserName, parseUserName, type UserNameMode } from '../user-name.ts';

export interface SignatureWayOptions {
  readonly accounts: Accounts;
  readonly clock: Clock;
}

/** How far the caller's clock may be from ours. */
const SIGNATURE_AGE_MS_MAX = 5 * 60_000;

const BAD_SIGNATURE: Refusal = { refused: 'badSignature' };

/** `undefined` for user names of other modes. Answers at once. */
export function createSignatureWay(options: SignatureWayOptions): AuthenticationWay {
  const { accounts, clock } = options;

  const check = (request: ConnectRequest, name: ParsedUserName): Verdict => {
    const key = accounts.lookUp(name.keyId, undefined);
    // An unknown key is signed for as well: the time it takes tells nothing.
    const secret = key?.secret ?? 'nobody';
    const signed = sameSecret(request.password ?? '', sign(secret, request.clientId, name));
    if (key === undefined || !signed) return BAD_SIGNATURE;
    if (name.rest !== undefined) {
      const skewMs = Math.abs(clock.nowMs() - Number(name.rest));
      if (skewMs > SIGNATURE_AGE_MS_MAX) return { refused: 'signatureExpired' };
    }
    return admit(request, key, accounts);
  };

  return {
    authenticate(request) {
      const { userName } = request;
      if (userName === undefined || !/^Signature(?:V2)?\|/.test(userName)) return undefined;
      const name = parseUserName(userName);
      if (name === undefined) return { refused: 'userNameMalformed' };
      if (name.instanceId !== request.instance.id) return { refused: 'instanceMismatch' };
      return check(request, name);
    },
  };
}

function sign(secret: string, clientId: string, { rest, instanceId }: ParsedUserName): string {
  if (rest === undefined) return createHmac('sha1', secret).update(clientId).digest('base64');
  const text = `${clientId}\n${rest}\n${instanceId}`;
  return createHmac('sha256', secret).update(text).digest('base64');
}
