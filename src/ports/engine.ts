/** `Engine`: the store and the log that commit together, and how to close them. */
import type { MessageLog } from './message-log.ts';
import type { Store } from './store.ts';

export interface Engine {
  readonly store: Store;
  readonly log: MessageLog;
  /** Bytes issued and not yet durable. Cheap; who reads publishers polls it and pauses. */
  readonly pendingBytes: number;
  /** Makes everything issued so far durable, then lets go of the disk. */
  close(): Promise<void>;
}
