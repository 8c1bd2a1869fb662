/**
 * Nonces seen, so that a request that was caught on its way cannot be sent again.
 *
 * They lie by the minute of their signed timestamp: a minute that left the clock window is dropped
 * whole. Kept are 48 bits of a salted hash, which at the bound mistakes one fresh nonce in 10^8.
 * At the bound the oldest minute goes and the window ends where it ended: nothing that was
 * forgotten is ever accepted again, and only callers with slow clocks notice.
 */
import { createHash } from 'node:crypto';
import type { Clock, Random } from '#base';
import { ApiFault } from './api-fault.ts';
import { CONTROL_LIMITS, type ControlLimits } from './limits.ts';

/** How far a caller's clock may be from ours, either way. */
export const CLOCK_WINDOW_MS: number = 15 * 60_000;

const SLOT_MS = 60_000;
/** However full: a caller whose clock is this near to ours is not refused for its clock. */
const WINDOW_MS_MIN = 60_000;
/** What was said before we began is refused, for it may have been seen then; but for this. */
const BEFORE_START_MS = 5_000;

export class Nonces {
  readonly #slots: Map<number, HashSet> = new Map();
  readonly #clock: Clock;
  readonly #salt: Uint8Array;
  readonly #countMax: number;
  /** Timestamps before this are refused: their nonces may be forgotten. */
  #floorMs: number;
  #count = 0;

  constructor(
    clock: Clock,
    random: Random,
    limits: Pick<ControlLimits, 'nonceCountMax'> = CONTROL_LIMITS,
  ) {
    this.#clock = clock;
    this.#salt = random.bytes(16);
    this.#countMax = limits.nonceCountMax;
    this.#floorMs = clock.nowMs() - BEFORE_START_MS;
  }

  /** How many are remembered. */
  get count(): number {
    return this.#count;
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
    let slot = this.#slots.get(minute);
    if (slot === undefined) {
      slot = new HashSet();
      this.#slots.set(minute, slot);
    }
    slot.add(hash);
    this.#count++;
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
  }

  #drop(minute: number): void {
    this.#count -= this.#slots.get(minute)?.count ?? 0;
    this.#slots.delete(minute);
  }

  #hash(accessKeyId: string, nonce: string): number {
    const hash = createHash('sha256').update(this.#salt).update(accessKeyId);
    // The NUL keeps `ab` and `c` apart from `a` and `bc`.
    return hash.update('\0').update(nonce).digest().readUIntBE(0, 6) + 1;
  }
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
