/**
 * A page of messages being filled, and when it is full [ML8]; what bounds a page of rows [ST6].
 *
 * @hot
 */
import type { LogEntry, LogRead, Position } from '#ports';

export class Page {
  readonly entries: LogEntry[] = [];
  /** Up to here all was looked at. */
  next: Position = 0;
  #room: number;
  #bytesRoom: number;

  constructor(request: LogRead) {
    this.#room = request.countMax;
    this.#bytesRoom = request.bytesMax;
  }

  get full(): boolean {
    return this.#room <= 0 || (this.#bytesRoom <= 0 && this.entries.length > 0);
  }

  /** `bytes` is what the message counts for: payload, topic and properties. */
  add(entry: LogEntry, bytes: number): void {
    this.entries.push(entry);
    this.#room--;
    this.#bytesRoom -= bytes;
  }
}

/** A page of rows ends at so many, or with the row that takes it to so many bytes [ST6]. */
export const PAGE_ROWS = 100;
export const PAGE_ROW_BYTES: number = 256 * 1024;

/** An owned copy [ST12]: a view would keep a whole block alive for ten bytes. */
export function own(bytes: Uint8Array): Uint8Array {
  return bytes.length === 0 ? NOTHING : Buffer.from(bytes);
}

const NOTHING: Buffer = Buffer.alloc(0);
