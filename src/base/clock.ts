/** Time, passed in: the system's in production, a hand-moved one in tests and simulations. */

export interface Clock {
  /** Wall-clock milliseconds since 1970. Used for what is stored: expiries, retention. */
  nowMs(): number;
  /** Milliseconds that never run backwards. Used for what is measured: timeouts, lateness. */
  monotonicMs(): number;
  /** Calls `action` every `periodMs`; never keeps the process alive. Returns the way to stop it. */
  every(periodMs: number, action: () => void): () => void;
  /** Calls `action` once after `delayMs`; never keeps the process alive. Returns the way to stop it. */
  after(delayMs: number, action: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  every(periodMs, action) {
    const timer = setInterval(action, periodMs).unref();
    return () => clearInterval(timer);
  },
  after(delayMs, action) {
    const timer = setTimeout(action, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

/** The second of a moment of the wall clock, as `2026-11-22T12:44:58Z`. */
export function showSecond(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
