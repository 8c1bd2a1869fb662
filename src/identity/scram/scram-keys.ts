/**
 * The arithmetic of SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677). From what is stored nobody can
 * log in: that takes the client's key, of which only the hash is here.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';

export interface ScramKeys {
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly storedKey: Uint8Array;
  readonly serverKey: Uint8Array;
}

export const KEY_BYTES = 32;

/** `password` is prepared. Slow on purpose; runs beside the event loop. */
export function deriveScramKeys(
  password: string,
  salt: Uint8Array,
  iterations: number,
): Promise<ScramKeys> {
  return new Promise((resolve, reject) => {
    pbkdf2(password, salt, iterations, KEY_BYTES, 'sha256', (error, salted) => {
      if (error !== null) return reject(error);
      const clientKey = hmac(salted, 'Client Key');
      const storedKey = createHash('sha256').update(clientKey).digest();
      resolve({ salt, iterations, storedKey, serverKey: hmac(salted, 'Server Key') });
    });
  });
}

/** True where the proof's maker knows the client's key. */
export function isProof(keys: ScramKeys, conversation: string, proof: Uint8Array): boolean {
  const signature = hmac(keys.storedKey, conversation);
  const clientKey = signature.map((byte, index) => byte ^ (proof[index] ?? 0));
  return timingSafeEqual(createHash('sha256').update(clientKey).digest(), keys.storedKey);
}

/** What shows the client that the server knows it. */
export function serverSignature(keys: ScramKeys, conversation: string): string {
  return hmac(keys.serverKey, conversation).toString('base64');
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text, 'utf8').digest();
}
