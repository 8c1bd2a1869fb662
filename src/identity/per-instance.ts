/**
 * What a way of authentication makes of an instance's settings, made once and again when they
 * change. Bounded: whatever was not asked for longest is made anew when it is wanted.
 */
import { Fault } from '#base';
import type { Instance } from '#instances';

export interface PerInstanceOptions<Thing> {
  /** Which of `instance.authentication`. */
  readonly field: string;
  readonly countMax: number;
  /** Throws `invalidParameter` where the settings are wrong. */
  make(settings: unknown): Thing;
}

interface Held<Thing> {
  readonly instance: Instance;
  readonly version: number;
  readonly settings: string;
  readonly thing: Thing;
}

export class PerInstance<Thing> {
  readonly #options: PerInstanceOptions<Thing>;
  readonly #held = new Map<string, Held<Thing>>();

  constructor(options: PerInstanceOptions<Thing>) {
    this.#options = options;
  }

  /** `undefined`: the instance has no such settings. Throws a `Fault` where they cannot be used. */
  of(instance: Instance): Thing | undefined {
    const held = this.#held.get(instance.id);
    if (held?.instance === instance && held.version === instance.version) return held.thing;
    const raw = instance.authentication[this.#options.field] ?? undefined;
    this.#held.delete(instance.id);
    if (raw === undefined) return undefined;
    const settings = JSON.stringify(raw);
    const thing = held?.settings === settings ? held.thing : this.#options.make(raw);
    this.#held.set(instance.id, { instance, version: instance.version, settings, thing });
    if (this.#held.size > this.#options.countMax) {
      const [oldest] = this.#held.keys();
      if (oldest !== undefined) this.#held.delete(oldest);
    }
    return thing;
  }

  /** The same, and `undefined` as well where the settings cannot be used. */
  tryOf(instance: Instance): Thing | undefined {
    try {
      return this.of(instance);
    } catch (error) {
      if (error instanceof Fault) return undefined;
      throw error;
    }
  }

  all(): Thing[] {
    return [...this.#held.values()].map(({ thing }) => thing);
  }
}
