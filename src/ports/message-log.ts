/**
 * `MessageLog`: every message that must survive, once, in the order it was taken; read by
 * whoever holds a position.
 *
 * Rules, each shown by `test/contracts/message-log-contract.ts`:
 *
 * - [ML1] Positions grow in the order of the `append` calls of one instance; gaps are allowed.
 * - [ML2] `appended` is called once the message is durable, in the order of the calls, never
 *   within the call itself.
 * - [ML3] A message that cannot be made durable is `refused` with a Fault and never read; the
 *   log works again once the cause is gone.
 * - [ML4] `read` answers, oldest first, the retained messages after a position that match a
 *   filter, each at most once however many filters match; only durable ones.
 * - [ML5] `next` moves past all that was looked at, matching or not; reading on from it misses
 *   nothing and repeats nothing. `complete` says that nothing durable lies beyond `next`.
 * - [ML6] A filter's own `after` hides older messages from that filter only.
 * - [ML7] Filters match as `matchesFilter` does.
 * - [ML8] A page holds at most `countMax` messages and stops at the first that takes it to
 *   `bytesMax`; a page may be empty and not complete.
 * - [ML9] Retention removes the oldest first, by age, bytes and count; `floor` is the position
 *   at or below which messages may be gone, and `read` from below it goes on from there.
 * - [ML10] `get` answers the messages at given positions, `undefined` for those gone.
 * - [ML11] What was durable is there after the process was killed and the log opened again, and
 *   later positions are larger.
 * - [ML12] The logs of two instances never meet.
 * - [ML13] Bytes handed to `append` may be changed by the caller once it returns; bytes handed
 *   out are the caller's own.
 * - [ML14] With [ST10]: appends and writes of one synchronous run become durable together.
 * - [ML15] `issued` is the position of the newest `append`, durable or not yet; later ones are
 *   larger.
 */
import type { Fault } from '#base';
import type { FilterSet } from './filter-set.ts';

/** Opaque: compare and store, nothing else. 0 is before every message. */
export type Position = number;

export interface LogMessage {
  readonly topic: string;
  /** The payload is `payload` from `payloadStart` up to `payloadEnd`; what lies around it is not. */
  readonly payload: Buffer;
  readonly payloadStart: number;
  readonly payloadEnd: number;
  /** MQTT 5.0 properties as bytes, without length, in the same way; opaque to the log. */
  readonly properties: Buffer;
  readonly propertiesStart: number;
  readonly propertiesEnd: number;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  /** Client identifier of the publisher. */
  readonly publisher: string;
  /** Wall-clock milliseconds when the broker took it. */
  readonly acceptedMs: number;
  /** Wall-clock milliseconds when it expires; 0: never. */
  readonly expiresMs: number;
}

export interface LogEntry extends LogMessage {
  readonly position: Position;
}

export interface Appended {
  appended(position: Position): void;
  refused(fault: Fault): void;
}

export interface LogRead {
  readonly filters: FilterSet;
  readonly after: Position;
  readonly countMax: number;
  readonly bytesMax: number;
}

export interface LogPage {
  readonly entries: readonly LogEntry[];
  readonly next: Position;
  readonly complete: boolean;
}

export interface LogRetention {
  readonly ageMs: number;
  readonly bytesMax: number;
  readonly countMax: number;
}

export interface InstanceLog {
  append(message: LogMessage, appended: Appended): void;
  read(request: LogRead): Promise<LogPage>;
  get(positions: readonly Position[]): Promise<readonly (LogEntry | undefined)[]>;
  /** The position of the newest durable message, or 0. */
  end(): Position;
  /** The newest position given to a message, whether or not it is durable yet. */
  issued(): Position;
  /** At or below this position messages may have been removed. */
  floor(): Position;
  retain(limits: LogRetention): void;
  /** What is kept now: messages and their bytes (payload, topic and properties). */
  size(): { readonly count: number; readonly bytes: number };
}

export interface MessageLog {
  /** The log of that instance, made on first use; the same object each time. */
  instance(id: string): InstanceLog;
}
