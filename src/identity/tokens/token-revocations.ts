/**
 * Which tokens were revoked: a row each until the token would have expired anyway, all in memory.
 *
 * The set cannot be bounded by number: to forget a revocation is to undo it. It is bounded by time,
 * the rate at which revoking is allowed and the longest life of a token.
 */
import type { Clock, Log } from '#base';
import type { Store, Table } from '#ports';

const TABLE = 'token-revocations';
/** Keys begin with the instance. */
export const TOKEN_TABLES: readonly string[] = [TABLE];

const SWEEP_PERIOD_MS = 60_000;
const HOUR_MS = 3_600_000;

export interface Revocations {
  has(key: string): boolean;
  /** Resolves once it is on disk and known here. */
  add(key: string, expireMs: number): Promise<void>;
  /** Tells each key that is added from now on, once. Returns the way to stop. */
  onAdded(listener: (key: string) => void): () => void;
  close(): void;
}

/** Reads all revocations, and hears of those made by others. */
export async function openRevocations(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<Revocations> {
  const table = options.store.table(TABLE);
  const listeners = new Set<(key: string) => void>();
  const keys = new KeysByHour();

  const learn = (key: string, value: Uint8Array | undefined): void => {
    if (value === undefined) keys.forget(key);
    else if (keys.add(key, decodeExpiry(value))) for (const tell of listeners) tell(key);
  };
  const stopWatching = table.watch('', (change) => learn(change.key, change.value));
  for await (const rows of table.scan('')) for (const row of rows) learn(row.key, row.value);
  const sweep = (): void => forgetExpired(keys, table, options.clock.nowMs());
  sweep();
  const stopSweeping = options.clock.every(SWEEP_PERIOD_MS, sweep);
  options.log.debug('revoked tokens are known', { count: keys.count });

  return {
    has: (key) => keys.has(key),
    async add(key, expireMs) {
      const value = encodeExpiry(expireMs);
      await table.put(key, value);
      learn(key, value);
    },
    onAdded(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      stopWatching();
      stopSweeping();
      listeners.clear();
    },
  };
}

function forgetExpired(keys: KeysByHour, table: Table, nowMs: number): void {
  for (const key of keys.takeExpired(nowMs)) table.write(key, undefined);
}

/** The keys of revoked tokens, sorted into the hours in which they expire. */
class KeysByHour {
  readonly #keys = new Set<string>();
  readonly #hours = new Map<number, string[]>();

  get count(): number {
    return this.#keys.size;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** False where it was known already. */
  add(key: string, expireMs: number): boolean {
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    const hour = Math.floor(expireMs / HOUR_MS);
    const keys = this.#hours.get(hour);
    if (keys === undefined) this.#hours.set(hour, [key]);
    else keys.push(key);
    return true;
  }

  forget(key: string): void {
    this.#keys.delete(key);
  }

  /** Forgets the tokens of all hours that are over, and answers which they were. */
  takeExpired(nowMs: number): string[] {
    const over = Math.floor(nowMs / HOUR_MS);
    const taken: string[] = [];
    for (const [hour, keys] of this.#hours) {
      if (hour >= over) continue;
      this.#hours.delete(hour);
      for (const key of keys) if (this.#keys.delete(key)) taken.push(key);
    }
    return taken;
  }
}

function encodeExpiry(expireMs: number): Uint8Array {
  const value = Buffer.alloc(8);
  value.writeDoubleBE(expireMs);
  return value;
}

/** A row that cannot be read revokes for ever rather than not at all. */
function decodeExpiry(value: Uint8Array): number {
  return value.length === 8 ? Buffer.from(value).readDoubleBE() : Infinity;
}
