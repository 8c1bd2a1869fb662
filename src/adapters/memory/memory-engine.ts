/**
 * The engine without a disk: for `--memory`, and unkind on purpose for tests.
 *
 * Positions skip, scans run backwards, nothing answers in the turn it was asked. What it holds
 * is bounded: past `bytesMax` new messages and rows are refused with `storeFull`.
 */
import type { Clock } from '#base';
import type { Engine } from '#ports';
import { MemoryMessageLog } from './memory-log.ts';
import { MemoryStore } from './memory-store.ts';
import { MemoryTurn } from './memory-turn.ts';

const BYTES_MAX = 512 * 1024 * 1024;
const AGE_CHECK_MS = 1000;

/** An empty engine whose contents end with the process. */
export function openMemoryEngine(options: {
  readonly clock: Clock;
  /** Default: 512 MiB. */
  readonly bytesMax?: number;
  /** When a commit is done. Default: once its turn is over. */
  readonly schedule?: (commit: () => void) => void;
}): Engine {
  const turn = new MemoryTurn(options.bytesMax ?? BYTES_MAX, options.schedule ?? setImmediate);
  const log = new MemoryMessageLog(turn, options.clock);
  const store = new MemoryStore(turn);
  const stop = options.clock.every(AGE_CHECK_MS, () => log.enforceAge());
  return {
    store,
    log,
    get pendingBytes() {
      return turn.pendingBytes;
    },
    close: async () => {
      stop();
      await turn.idle();
    },
  };
}
