/**
 * The access key of the default instance: user name and secret, made at first start, shown once,
 * kept as a salted scrypt hash.
 *
 * scrypt is slow on purpose, so a secret that was right before is recognised by a keyed digest
 * that only this process can compute; a bounded number of hashes runs at a time.
 */
import { createHmac, scrypt, timingSafeEqual } from 'node:crypto';
import type { Random } from '#base';
import { DEFAULT_INSTANCE } from '#instances';
import type { Store } from '#ports';
import type { Authenticator, Caller, Verdict } from './authenticator.ts';

export interface AccessKey {
  readonly id: string;
  readonly secret: string;
}

const TABLE = 'access-keys';
const HASH_BYTES = 32;
const HASHES_AT_ONCE = 8;

/** Makes the first access key of a fresh store; `undefined` where there is one already. */
export async function createFirstAccessKey(
  store: Store,
  random: Random,
): Promise<AccessKey | undefined> {
  const table = store.table(TABLE);
  for await (const rows of table.scan('')) {
    if (rows.length > 0) return undefined;
  }
  const key = {
    id: `ak-${Buffer.from(random.bytes(6)).toString('hex')}`,
    secret: Buffer.from(random.bytes(24)).toString('base64url'),
  };
  const salt = random.bytes(16);
  await table.put(key.id, Buffer.concat([salt, await derive(key.secret, salt)]));
  return key;
}

/** User name = access key identifier, password = its secret. */
export function createAccessKeyAuthenticator(store: Store, random: Random): Authenticator {
  const table = store.table(TABLE);
  const processKey = random.bytes(32);
  const known = new Map<string, Buffer>();
  let underWay = 0;

  const check = async (id: string, secret: Uint8Array): Promise<Verdict> => {
    const digest = createHmac('sha256', processKey).update(secret).digest();
    const seen = known.get(id);
    if (seen !== undefined && timingSafeEqual(seen, digest)) return caller(id);
    const row = await table.get(id);
    if (underWay >= HASHES_AT_ONCE) return { refused: 'serverBusy', detail: 'too many log-ins' };
    underWay++;
    try {
      // An unknown key costs the same time as a wrong secret.
      const salt = row === undefined ? processKey.subarray(0, 16) : row.value.subarray(0, 16);
      const expected = row === undefined ? processKey : row.value.subarray(16);
      const actual = await derive(secret, salt);
      if (!timingSafeEqual(actual, expected) || row === undefined) return BAD_KEY;
    } finally {
      underWay--;
    }
    known.set(id, digest);
    return caller(id);
  };

  return {
    authenticate(request) {
      if (request.userName === undefined || request.password === undefined) {
        return { refused: 'notAuthorized', detail: 'an access key is required' };
      }
      if (request.userName.length > 128 || request.password.length > 1024) return BAD_KEY;
      return check(request.userName, request.password);
    },
    exchange: () => undefined,
  };
}

const BAD_KEY: Verdict = { refused: 'badUserOrPassword', detail: 'bad user name or password' };

function caller(id: string): Caller {
  return { instance: DEFAULT_INSTANCE, userName: id, permissions: undefined };
}

function derive(secret: string | Uint8Array, salt: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(secret, salt, HASH_BYTES, (error, hash) => {
      if (error === null) resolve(hash);
      else reject(error);
    });
  });
}
