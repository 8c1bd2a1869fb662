/**
 * One timer for all: a wheel of half-second slots instead of a timer a connection.
 *
 * A timer is an object that knows its own neighbours, so scheduling and cancelling cost a few
 * assignments and no allocation. A timer never fires early, and up to a tick and a half late. A
 * wheel that was held up catches up tick by tick.
 */
import { assert } from './assert.ts';
import type { Clock } from './clock.ts';

/** Something with a deadline. Extend it, or hold one per thing that has deadlines. */
export abstract class Timer {
  /** @internal */ next: Timer | undefined = undefined;
  /** @internal */ previous: Timer | undefined = undefined;
  /** @internal */ slot = -1;
  /** @internal */ dueTick = 0;

  /** Called once the time is up; the timer may be scheduled again from here. */
  abstract expired(): void;

  get scheduled(): boolean {
    return this.slot >= 0;
  }
}

const SLOT_COUNT = 512; // 256 s a round; later timers stay in their slot for another round

export class TimerWheel {
  readonly tickMs: number;
  readonly #heads: (Timer | undefined)[] = Array.from({ length: SLOT_COUNT }, () => undefined);
  readonly #clock: Clock;
  readonly #stop: () => void;
  readonly #startMs: number;
  #tick = 0;

  constructor(clock: Clock, tickMs = 500) {
    this.tickMs = tickMs;
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
    this.#stop = clock.every(tickMs, () => this.turn());
  }

  /** The current tick: what a hot path stores to say "seen now". */
  get tick(): number {
    return this.#tick;
  }

  /** (Re-)schedules `timer` for `delayMs` from now, or a little later. */
  schedule(timer: Timer, delayMs: number): void {
    if (timer.slot >= 0) this.cancel(timer);
    // One more: the present tick may be nearly over. The wheel itself may be behind the present.
    timer.dueTick = this.#present() + Math.ceil(delayMs / this.tickMs) + 1;
    const slot = timer.dueTick % SLOT_COUNT;
    timer.slot = slot;
    timer.previous = undefined;
    timer.next = this.#heads[slot];
    if (timer.next !== undefined) timer.next.previous = timer;
    this.#heads[slot] = timer;
  }

  cancel(timer: Timer): void {
    if (timer.slot < 0) return;
    if (timer.previous === undefined) {
      assert(this.#heads[timer.slot] === timer, 'a timer without predecessor heads its slot');
      this.#heads[timer.slot] = timer.next;
    } else {
      timer.previous.next = timer.next;
    }
    if (timer.next !== undefined) timer.next.previous = timer.previous;
    timer.next = undefined;
    timer.previous = undefined;
    timer.slot = -1;
  }

  /** Moves to the present; the clock calls it every tick. */
  turn(): void {
    const target = this.#present();
    while (this.#tick < target) {
      this.#tick++;
      this.#fire(this.#tick % SLOT_COUNT);
    }
  }

  stop(): void {
    this.#stop();
  }

  #present(): number {
    return Math.floor((this.#clock.monotonicMs() - this.#startMs) / this.tickMs);
  }

  #fire(slot: number): void {
    // Collected first: what expires may schedule and cancel others of the same slot.
    const due: Timer[] = [];
    for (let timer = this.#heads[slot]; timer !== undefined; timer = timer.next) {
      if (timer.dueTick <= this.#tick) due.push(timer);
    }
    for (const timer of due) {
      if (timer.slot !== slot || timer.dueTick > this.#tick) continue;
      this.cancel(timer);
      timer.expired();
    }
  }
}
