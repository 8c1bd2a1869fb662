/**
 * The end of the turn: sockets with frames waiting are flushed together, once.
 *
 * Gathering is nearly everything in bulk, costs a trickle 5 to 10 % and saves a flood of single
 * messages as much, for code that reads and code that writes each run long: so a read that held
 * one packet is answered at once, unless lately a pass of the event loop had many reads, or
 * flushed the same sockets several times. A probe now and then tells which it is.
 *
 * @hot
 */

export interface Flushable {
  /** True while it stands in the list. */
  listed: boolean;
  /** Which probe saw it last; for the turn's own use. */
  probeSeen: number;
  /** Bytes that wait to be flushed. */
  readonly waitingBytes: number;
  flush(): void;
}

/** Eager flushes between two probes, and what share of repeats within a probe ends eagerness. */
const PROBE_EVERY = 256;
const REPEATS_MAX = 0.2;
/** Packets for each flushed socket below which gathering does not pay. */
const GATHER_MIN = 1.25;
/** Reads within a pass above which gathering pays even where each has one packet. */
const READS_MAX = 8;
/** From this size on gathering more saves nothing, and what was just read is still in the cache. */
const LARGE_BYTES = 32 * 1024;
const LOOK_COUNT_MAX = 4;

export class Turn {
  readonly #list: Flushable[] = [];
  readonly #endOfTurn: (run: () => void) => void;
  readonly #beforeFlush: () => void;
  #scheduled = false;
  #eager = true;
  #packets = 0;
  #reads = 0;
  #eagerFlushes = 0;
  #probe = 0;
  #probing = false;
  #probeFlushes = 0;
  #probeRepeats = 0;

  constructor(beforeFlush: () => void, endOfTurn: (run: () => void) => void = setImmediate) {
    this.#beforeFlush = beforeFlush;
    this.#endOfTurn = endOfTurn;
  }

  /** Call when a socket gets its first frame. */
  add(item: Flushable): void {
    item.listed = true;
    this.#list.push(item);
  }

  /** Call when a read is handled, with the number of packets it held. */
  readHandled(packets: number): void {
    if (this.#list.length <= LOOK_COUNT_MAX) this.#flushLarge();
    if (!this.#scheduled) {
      if (this.#list.length === 0) return;
      if (packets <= 1 && this.#eager && this.#list.length <= LOOK_COUNT_MAX) {
        this.#flushEagerly();
        return;
      }
    }
    this.#packets += packets;
    this.#reads++;
    this.schedule();
  }

  /** Makes sure the list is flushed at the end of this turn. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#endOfTurn(this.#run);
  }

  #flushLarge(): void {
    const list = this.#list;
    let kept = 0;
    for (let i = 0; i < list.length; i++) {
      const item = list[i]!;
      if (item.waitingBytes < LARGE_BYTES) {
        list[kept++] = item;
        continue;
      }
      item.listed = false;
      item.flush();
    }
    list.length = kept;
  }

  #flushEagerly(): void {
    if (this.#probing) {
      for (let i = 0; i < this.#list.length; i++) {
        const item = this.#list[i]!;
        this.#probeFlushes++;
        if (item.probeSeen === this.#probe) this.#probeRepeats++;
        item.probeSeen = this.#probe;
      }
    } else if (++this.#eagerFlushes === PROBE_EVERY) this.#endOfTurn(this.#beginProbe);
    this.#flushAll();
  }

  /** A probe watches one whole pass of the event loop. */
  readonly #beginProbe = (): void => {
    this.#eagerFlushes = 0;
    this.#probing = true;
    this.#probe++;
    this.#probeFlushes = 0;
    this.#probeRepeats = 0;
    this.#endOfTurn(this.#endProbe);
  };

  readonly #endProbe = (): void => {
    this.#probing = false;
    const repeated = this.#probeRepeats > this.#probeFlushes * REPEATS_MAX;
    if (repeated || this.#probeFlushes > READS_MAX) this.#eager = false;
  };

  readonly #run = (): void => {
    this.#scheduled = false;
    const sockets = this.#list.length;
    const packets = this.#packets;
    const reads = this.#reads;
    this.#packets = 0;
    this.#reads = 0;
    this.#beforeFlush();
    this.#flushAll();
    if (sockets > 0) this.#eager = packets < sockets * GATHER_MIN && reads <= READS_MAX;
  };

  #flushAll(): void {
    const list = this.#list;
    // What is added while flushing is flushed as well: flushing adds little and ends.
    for (let i = 0; i < list.length; i++) {
      const item = list[i]!;
      item.listed = false;
      item.flush();
    }
    list.length = 0;
  }
}
