/**
 * The memory chunks were read into, given back before the collector thinks it urgent.
 *
 * Each read makes a block of memory that is dead when its turn ends. To the collector such blocks
 * are a few small young objects, so it lets them pile up until their bytes begin to worry it, and
 * then marks the whole heap, ten times a second under bulk. Asked for a collection of the young
 * objects now and then, which takes half a millisecond, it seldom comes to that.
 *
 * Blocks a slow socket held for long are old by then, and only marking frees them. V8 before 14.8
 * marks for every 64 MiB they grow by; from 14.8 on it counts them as part of the heap, which may
 * be half a gigabyte later. Here they may grow by `OLD_BYTES_MAX` before the first rule holds.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Half of what V8 lets pile up before it marks. */
const BYTES_BETWEEN = 32 * 1024 * 1024;
const OLD_BYTES_MAX = 128 * 1024 * 1024;

const COUNT_IN_HEAP = 'external-memory-accounted-in-global-limit';
/** A flag V8 does not know is answered on standard error. */
const COUNT_IN_HEAP_SINCE = 13;

/** What the engine offers. */
export interface Collector {
  /** Collects the young objects. */
  collectYoung(): void;
  /** Bytes of all blocks outside the heap that were not collected. */
  outsideBytes(): number;
  /** Whether each 64 MiB more of them have the heap marked. */
  markForOutside(wanted: boolean): void;
}

export class ReadGarbage {
  readonly #collector: Collector | undefined;
  #bytes = 0;
  /** The least there was since the heap was last marked. */
  #least = Number.POSITIVE_INFINITY;
  #before = 0;
  #marking = false;

  constructor(collector: Collector | undefined = findCollector()) {
    this.#collector = collector;
    collector?.markForOutside(false);
  }

  /** So many bytes were read into a block of their own. */
  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < BYTES_BETWEEN) return;
    this.#bytes = 0;
    if (this.#collector === undefined) return;
    this.#collector.collectYoung();
    this.look();
  }

  /**
   * Has the heap marked when old blocks are too many, until they are fewer. To be called now and
   * then as well: blocks also come from the disk, and grow old while nothing is read.
   */
  look(): void {
    const collector = this.#collector;
    if (collector === undefined) return;
    const bytes = collector.outsideBytes();
    if (this.#marking) {
      if (this.#before - bytes >= BYTES_BETWEEN) {
        this.#marking = false;
        this.#least = bytes;
        collector.markForOutside(false);
      }
    } else {
      this.#least = Math.min(this.#least, bytes);
      this.#marking = bytes - this.#least > OLD_BYTES_MAX;
      if (this.#marking) collector.markForOutside(true);
    }
    this.#before = bytes;
  }
}

/** `undefined` where the engine does not offer it: then all is as it would be without. */
function findCollector(): Collector | undefined {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('globalThis.gc');
  setFlagsFromString('--no-expose-gc');
  if (typeof found !== 'function') return undefined;
  const collect = found as (options: { type: 'minor' }) => void;
  const mayChoose = offersChoice(process.versions.v8);
  return {
    collectYoung: () => collect({ type: 'minor' }),
    outsideBytes: () => getHeapStatistics().external_memory,
    markForOutside: (wanted) => {
      if (mayChoose) setFlagsFromString(wanted ? `--no-${COUNT_IN_HEAP}` : `--${COUNT_IN_HEAP}`);
    },
  };
}

function offersChoice(v8Version: string): boolean {
  const [major = 0, minor = 0] = v8Version.split('.').map(Number);
  return major >= COUNT_IN_HEAP_SINCE && (major < 14 || (major === 14 && minor < 8));
}
