/**
 * Nonces seen, so that a request that was caught on its way cannot be sent again.
 *
 * They lie by the minute of their signed timestamp: a minute that left the clock window is dropped
 * whole. Kept are 48 bits of a salted hash, which at the bound mistakes one fresh nonce in 10^8.
 * At the bound the oldest minute goes and the window ends where it ended: nothing that was
 * forgotten is ever accepted again, and only callers with slow clocks notice. In a table they
 * outlive the process.
 */
import { createHash } from 'node:crypto';
import type { Clock, Random } from '#base';
import type { Settled, Table } from '#ports';
import { ApiFault } from './api-fault.ts';
import { CONTROL_LIMITS, type ControlLimits } from './limits.ts';

/** How far a caller's clock may be from ours, either way. */
export const CLOCK_WINDOW_MS: number = 15 * 60_000;

const SLOT_MS = 60_000;
/** However full: a caller whose clock is this near to ours is not refused for its clock. */
const WINDOW_MS_MIN = 60_000;
/** What was said before we began is refused, for it may have been seen then; but for this. */
const BEFORE_START_MS = 5_000;

/** Of a store; nothing in it belongs to an instance. */
export const NONCE_TABLE = 'control-nonces';
const SALT_ROW = 'salt';
const FLOOR_ROW = 'floor';
const NONCE_ROWS = 'nonce/';
const SALT_BYTES = 16;
const NOTHING: Uint8Array = Uint8Array.of(1);
/** Nobody waits, but what the request brings about must not be on disk before its nonce. */
const AT_ONCE: Settled = { settled: () => {} };
/** Rows of minutes that have passed go a few at a time, as many as come and some. */
const REMOVALS_AT_ONCE = 4;

export class Nonces {
  readonly #slots: Map<number, HashSet> = new Map();
  readonly #clock: Clock;
  readonly #table: Table | undefined;
  /** Rows to remove. */
  readonly #passed: Iterator<string>[] = [];
  #salt: Uint8Array;
  readonly #countMax: number;
  /** Timestamps before this are refused: their nonces may be forgotten. */
  #floorMs: number;
  #count = 0;

  constructor(
    clock: Clock,
    random: Random,
    limits: Pick<ControlLimits, 'nonceCountMax'> = CONTROL_LIMITS,
    table?: Table,
  ) {
    this.#clock = clock;
    this.#table = table;
    this.#salt = random.bytes(SALT_BYTES);
    this.#countMax = limits.nonceCountMax;
    this.#floorMs = clock.nowMs() - BEFORE_START_MS;
  }

  /** How many are remembered. */
  get count(): number {
    return this.#count;
  }

  /** Takes up what the process before has seen; before the first request. */
  async load(): Promise<void> {
    const table = this.#table;
    if (table === undefined) return;
    const fresh = (await table.put(SALT_ROW, this.#salt, 'absent')) !== undefined;
    if (fresh) return; // then nobody knows what was seen
    this.#salt = (await table.get(SALT_ROW))?.value ?? this.#salt;
    const floor = await table.get(FLOOR_ROW);
    this.#floorMs = floor === undefined ? 0 : Number(Buffer.from(floor.value).toString());
    for await (const rows of table.scan(NONCE_ROWS)) {
      for (const { key } of rows) {
        const [, minute = '', hash = ''] = key.split('/');
        this.#remember(Number(minute), Number.parseInt(hash, 36));
      }
    }
    this.#dropPassed();
  }

  /** Throws where the timestamp is outside of the window. */
  checkTime(timestampMs: number): void {
    const nowMs = this.#clock.nowMs();
    const skewMs = Math.abs(nowMs - timestampMs);
    // A timestamp has whole seconds: what was said in the second of the floor is not before it.
    if (skewMs > CLOCK_WINDOW_MS || timestampMs + 999 < this.#floorMs) {
      throw new ApiFault('InvalidTimeStamp.Expired');
    }
  }

  /** Takes the nonce of a proven request, whose time was checked; throws where it is known. */
  take(accessKeyId: string, nonce: string, timestampMs: number): void {
    this.#dropPassed();
    const hash = this.#hash(accessKeyId, nonce);
    for (const slot of this.#slots.values()) {
      if (slot.has(hash)) throw new ApiFault('SignatureNonceUsed');
    }
    if (this.#count >= this.#countMax) this.#makeRoom();
    const minute = Math.floor(timestampMs / SLOT_MS);
    this.#remember(minute, hash);
    this.#table?.write(rowOf(minute, hash), NOTHING, AT_ONCE);
    this.#removePassed();
  }

  #remember(minute: number, hash: number): void {
    let slot = this.#slots.get(minute);
    if (slot === undefined) {
      slot = new HashSet();
      this.#slots.set(minute, slot);
    }
    slot.add(hash);
    this.#count++;
  }

  #removePassed(): void {
    for (let i = 0; i < REMOVALS_AT_ONCE && this.#passed.length > 0; i++) {
      const { value, done } = this.#passed[0]!.next();
      if (done === true) this.#passed.shift();
      else this.#table?.write(value, undefined);
    }
  }

  #dropPassed(): void {
    const firstMs = this.#clock.nowMs() - CLOCK_WINDOW_MS;
    for (const minute of this.#slots.keys()) {
      if ((minute + 1) * SLOT_MS <= firstMs) this.#drop(minute);
    }
  }

  #makeRoom(): void {
    const oldest = Math.min(...this.#slots.keys());
    const endMs = (oldest + 1) * SLOT_MS;
    if (endMs > this.#clock.nowMs() - WINDOW_MS_MIN) throw new ApiFault('Throttling.User');
    this.#drop(oldest);
    this.#floorMs = Math.max(this.#floorMs, endMs);
    this.#table?.write(FLOOR_ROW, Buffer.from(String(this.#floorMs)), AT_ONCE);
  }

  #drop(minute: number): void {
    const slot = this.#slots.get(minute);
    if (slot === undefined) return;
    this.#count -= slot.count;
    this.#slots.delete(minute);
    if (this.#table !== undefined) this.#passed.push(rowsOf(minute, slot));
  }

  #hash(accessKeyId: string, nonce: string): number {
    const hash = createHash('sha256').update(this.#salt).update(accessKeyId);
    // The NUL keeps `ab` and `c` apart from `a` and `bc`.
    return hash.update('\0').update(nonce).digest().readUIntBE(0, 6) + 1;
  }
}

function rowOf(minute: number, hash: number): string {
  return `${NONCE_ROWS}${minute}/${hash.toString(36)}`;
}

function* rowsOf(minute: number, slot: HashSet): Generator<string, undefined> {
  for (const hash of slot.values()) yield rowOf(minute, hash);
  return undefined;
}

const SIZE_FIRST = 256;

/** Positive numbers, eight bytes a place: open addressing, never more than half full. */
class HashSet {
  count = 0;
  #places: Float64Array = new Float64Array(SIZE_FIRST);

  has(value: number): boolean {
    return this.#places[this.#placeOf(value)] === value;
  }

  add(value: number): void {
    if (this.has(value)) return;
    if (this.count * 2 >= this.#places.length) {
      const before = this.#places;
      this.#places = new Float64Array(before.length * 2);
      for (const one of before) if (one !== 0) this.#places[this.#placeOf(one)] = one;
    }
    this.#places[this.#placeOf(value)] = value;
    this.count++;
  }

  *values(): Generator<number> {
    for (const value of this.#places) if (value !== 0) yield value;
  }

  #placeOf(value: number): number {
    const mask = this.#places.length - 1;
    let place = value % this.#places.length;
    for (;;) {
      const there = this.#places[place]!;
      if (there === 0 || there === value) return place;
      place = (place + 1) & mask;
    }
  }
}
