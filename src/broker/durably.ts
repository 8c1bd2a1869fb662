/** Waits for a write that says by a call when it is on disk. */
import type { Settled } from '#ports';

/** Resolves once what `write` writes is on disk; rejects with the Fault where that is refused. */
export function durably(write: (settled: Settled) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    write({ settled: (fault) => (fault === undefined ? resolve() : reject(fault)) });
  });
}
