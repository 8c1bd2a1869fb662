/**
 * Waiting with an end: every wait of a test has a deadline and says what was missing.
 */

/** Longest wait for a packet or a close, unless a test names another. */
export const WAIT_MS_MAX: number = Number(process.env['TERNMQ_TEST_WAIT_MS'] ?? 5_000);

/** Resolves as `wanted` does, or fails with `explain()` when `limitMs` have passed. */
export async function within<T>(
  limitMs: number,
  wanted: Promise<T>,
  explain: () => string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${explain()} (after ${limitMs} ms)`)), limitMs);
  });
  try {
    return await Promise.race([wanted, late]);
  } finally {
    clearTimeout(timer);
  }
}
