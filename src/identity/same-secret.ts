/** Comparing secrets in a time that tells nothing of them. */
import { timingSafeEqual } from 'node:crypto';

/** Whether both are the same bytes. A difference in length shows at once: lengths are no secret. */
export function sameSecret(one: string | Uint8Array, other: string | Uint8Array): boolean {
  const left = Buffer.from(one);
  const right = Buffer.from(other);
  return left.length === right.length && timingSafeEqual(left, right);
}
