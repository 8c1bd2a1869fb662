/**
 * The key that seals TLS session tickets, one for all listeners of a process.
 *
 * A client that comes back with a ticket costs no public-key operation, at whichever listener.
 * The key changes now and then, since it opens every session resumed under it; tickets of the
 * key before cost a full handshake.
 */
import type { Clock, Random } from '#base';

const KEY_BYTES = 48;

/** How long a ticket is good at most. */
export const TICKET_SECONDS: number = 6 * 60 * 60;

export interface TicketKeys {
  readonly current: Buffer;
  /** Tells each new key; returns the way to stop listening. */
  onChange(listener: (key: Buffer) => void): () => void;
  close(): void;
}

export function createTicketKeys(options: {
  readonly clock: Clock;
  readonly random: Random;
  readonly periodMs?: number;
}): TicketKeys {
  const { clock, random, periodMs = TICKET_SECONDS * 1_000 } = options;
  const listeners = new Set<(key: Buffer) => void>();
  let current = Buffer.from(random.bytes(KEY_BYTES));
  const stop = clock.every(periodMs, () => {
    current = Buffer.from(random.bytes(KEY_BYTES));
    for (const listener of listeners) listener(current);
  });
  return {
    get current() {
      return current;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: stop,
  };
}
