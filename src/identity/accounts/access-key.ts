/**
 * Access key mode: user name = access key, password = its secret, in clear, as every MQTT client
 * can send them. For a broker nearby, or behind TLS; signatures keep the secret at home.
 */
import { createHash } from 'node:crypto';
import { admit } from './account-caller.ts';
import type { Accounts } from './accounts.ts';
import type { AuthenticationWay, Refusal } from '../authenticator.ts';
import { sameSecret } from '../same-secret.ts';

const USER_NAME_CHARS_MAX = 128;
const PASSWORD_BYTES_MAX = 1_024;

const BAD_PASSWORD: Refusal = { refused: 'badUserOrPassword' };

/** `undefined` where the user name is no access key: others may know it. Answers at once. */
export function createAccessKeyWay(accounts: Accounts): AuthenticationWay {
  return {
    authenticate(request) {
      const { userName, password } = request;
      if (userName === undefined || userName.length > USER_NAME_CHARS_MAX) return undefined;
      const key = accounts.lookUp(userName, undefined);
      if (key === undefined) return undefined;
      if (password === undefined || password.length > PASSWORD_BYTES_MAX) return BAD_PASSWORD;
      if (!sameSecret(digest(password), digest(key.secret))) return BAD_PASSWORD;
      return admit(request, key, accounts);
    },
  };
}

/** Digests are of one length, whatever was sent. */
function digest(secret: string | Uint8Array): Uint8Array {
  return createHash('sha256').update(secret).digest();
}
