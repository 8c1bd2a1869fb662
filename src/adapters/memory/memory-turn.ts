/**
 * What was issued in one turn, settled together at its end: the memory engine's group commit.
 *
 * Nothing settles within the call that issued it, and a turn in which the engine was full is
 * undone as a whole [ST10], so that callers meet here what a disk would do to them.
 */
import { Fault } from '#base';

/** One issued call. */
export interface Effect {
  /** Becomes durable: visible to reads and watchers. */
  admit(): void;
  /** Undoes what was visible before it was durable; called newest first. */
  undo(): void;
  /** Tells the caller. */
  settle(fault: Fault | undefined): void;
}

export class MemoryTurn {
  readonly bytesMax: number;
  /** Bytes held by logs and tables. */
  heldBytes = 0;
  pendingBytes = 0;
  readonly #schedule: (commit: () => void) => void;
  #effects: Effect[] = [];
  #refused: Fault | undefined = undefined;
  #idle: (() => void)[] = [];

  constructor(bytesMax: number, schedule: (commit: () => void) => void) {
    this.bytesMax = bytesMax;
    this.#schedule = schedule;
  }

  /** Takes a call that adds `bytes`; past the bound the whole turn is refused. */
  issue(effect: Effect, bytes: number): void {
    if (this.#effects.push(effect) === 1) this.#schedule(this.#end);
    this.pendingBytes += bytes;
    if (bytes > 0 && this.heldBytes + this.pendingBytes > this.bytesMax) {
      this.#refused ??= new Fault('storeFull', 'the memory engine is full');
    }
  }

  /** Settles once nothing is under way. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#effects.length === 0) setImmediate(resolve);
      else this.#idle.push(resolve);
    });
  }

  readonly #end = (): void => {
    const effects = this.#effects;
    const refused = this.#refused;
    this.#effects = [];
    this.#refused = undefined;
    this.pendingBytes = 0;
    if (refused === undefined) for (let i = 0; i < effects.length; i++) effects[i]!.admit();
    else for (let i = effects.length - 1; i >= 0; i--) effects[i]!.undo();
    for (let i = 0; i < effects.length; i++) {
      try {
        effects[i]!.settle(refused);
      } catch (error) {
        // One caller's bug must not take the others' answers away.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    if (this.#effects.length === 0) {
      const idle = this.#idle;
      this.#idle = [];
      for (let i = 0; i < idle.length; i++) idle[i]!();
    }
  };
}

/** Resolves in a later turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
