/** Waiting for a fact that only looking can tell. */
import { setTimeout as delay } from 'node:timers/promises';

/** Looks every few milliseconds until `holds`, or fails with `explain()`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  explain: () => string,
  limitMs = 10_000,
  everyMs = 10,
): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${explain()} (after ${limitMs} ms)`);
    await delay(everyMs);
  }
}
