/**
 * The memory chunks were read into, given back before the collector thinks it urgent.
 *
 * Each read makes a block of memory that is dead when its turn ends. To the collector such blocks
 * are a few small young objects, so it lets them pile up until their bytes begin to worry it, and
 * then marks the whole heap, ten times a second under bulk. Asked for a collection of the young
 * objects now and then, which takes half a millisecond, it never comes to that.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Half of what V8 lets pile up before it marks. */
const BYTES_BETWEEN = 32 * 1024 * 1024;

type Collect = (options: { type: 'minor' }) => void;

export class ReadGarbage {
  readonly #collect: Collect | undefined;
  #bytes = 0;

  constructor(collect: Collect | undefined = collector()) {
    this.#collect = collect;
  }

  /** So many bytes were read into a block of their own. */
  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < BYTES_BETWEEN) return;
    this.#bytes = 0;
    this.#collect?.({ type: 'minor' });
  }
}

/** `undefined` where the engine does not offer it: then all is as it would be without. */
function collector(): Collect | undefined {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('globalThis.gc');
  setFlagsFromString('--no-expose-gc');
  return typeof found === 'function' ? (found as Collect) : undefined;
}
