/**
 * Reads settings out of JSON, each field with its bounds, and refuses what it does not know: a
 * misspelt `issuer` must not mean "any issuer".
 */
import { X509Certificate } from 'node:crypto';
import { Fault } from '#base';
import { isRecord } from './permission-rules.ts';
import type { SecretBox } from './secret-box.ts';

/** A secret inside settings: sealed, as base64. */
export interface SealedText {
  readonly sealed: string;
}

/** Each method takes one field; `end` refuses what nobody took. All throw `invalidParameter`. */
export class SettingsReader {
  readonly #name: string;
  readonly #fields: ReadonlyMap<string, unknown>;
  readonly #taken = new Set<string>();

  constructor(name: string, value: unknown) {
    if (!isRecord(value)) throw new Fault('invalidParameter', `${name} must be an object`);
    this.#name = name;
    this.#fields = new Map(Object.entries(value));
  }

  has(field: string): boolean {
    const value = this.#fields.get(field);
    return value !== undefined && value !== null;
  }

  text(field: string, charsMax: number): string | undefined {
    const value = this.#take(field);
    if (value === undefined) return undefined;
    if (typeof value !== 'string' || value === '' || value.length > charsMax) {
      throw this.bad(field, `must be a text of 1 to ${charsMax} characters`);
    }
    return value;
  }

  oneOf<Word extends string>(field: string, words: readonly Word[], usual: Word): Word {
    const value = this.#take(field);
    if (value === undefined) return usual;
    const word = words.find((each) => each === value);
    if (word === undefined) throw this.bad(field, `must be one of ${words.join(', ')}`);
    return word;
  }

  number(field: string, bounds: { min: number; max: number; usual: number }): number {
    const value = this.#take(field);
    if (value === undefined) return bounds.usual;
    const { min, max } = bounds;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw this.bad(field, `must be a whole number from ${min} to ${max}`);
    }
    return value;
  }

  flag(field: string, usual: boolean): boolean {
    const value = this.#take(field);
    if (value === undefined) return usual;
    if (typeof value !== 'boolean') throw this.bad(field, 'must be true or false');
    return value;
  }

  /** One text, or several. */
  texts(field: string, countMax: number): readonly string[] | undefined {
    const value = this.#take(field);
    if (value === undefined) return undefined;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    const fits = list.length > 0 && list.length <= countMax && list.every(isFilledText);
    if (!fits) throw this.bad(field, `must be 1 to ${countMax} texts`);
    return list as readonly string[];
  }

  /** Of a service: http or https, and no secrets, for it is shown. */
  url(field: string): string | undefined {
    const value = this.text(field, 2048);
    if (value === undefined) return undefined;
    const url = URL.canParse(value) ? new URL(value) : undefined;
    if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
      throw this.bad(field, 'must be an http or https URL');
    }
    if (url.username !== '' || url.password !== '') {
      throw this.bad(field, 'must hold no user name or password; use headers');
    }
    return url.href;
  }

  sealed(field: string): SealedText | undefined {
    const value = this.#take(field);
    if (value === undefined) return undefined;
    if (!isSealed(value)) throw this.bad(field, 'must be sealed');
    return value;
  }

  /** One certificate or more, as PEM. */
  certificates(field: string): string | undefined {
    const value = this.text(field, 65_536);
    if (value === undefined) return undefined;
    try {
      for (const [each] of value.matchAll(/-----BEGIN CERTIFICATE-----[^-]*(-----END|$)/g)) {
        void new X509Certificate(`${each} CERTIFICATE-----`);
      }
    } catch (error) {
      throw this.bad(field, 'must be certificates in PEM', { cause: error });
    }
    if (!value.includes('-----BEGIN CERTIFICATE-----')) {
      throw this.bad(field, 'must be certificates in PEM');
    }
    return value;
  }

  record(field: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.#take(field);
    if (value === undefined) return undefined;
    if (!isRecord(value)) throw this.bad(field, 'must be an object');
    return value;
  }

  end(): void {
    for (const field of this.#fields.keys()) {
      if (!this.#taken.has(field)) throw this.bad(field, 'is not known');
    }
  }

  bad(field: string, what: string, options?: ErrorOptions): Fault {
    return new Fault('invalidParameter', `${this.#name}.${field} ${what}`, options);
  }

  /** `null` is as good as left out. */
  #take(field: string): unknown {
    this.#taken.add(field);
    return this.#fields.get(field) ?? undefined;
  }
}

export function sealText(box: SecretBox, secret: string): SealedText {
  return { sealed: Buffer.from(box.seal(secret)).toString('base64') };
}

/** Throws a `Fault` for what was sealed with another key. */
export function openText(box: SecretBox, { sealed }: SealedText): string {
  return box.open(Buffer.from(sealed, 'base64'));
}

export function isSealed(value: unknown): value is SealedText {
  return isRecord(value) && typeof value['sealed'] === 'string';
}

function isFilledText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 2048;
}
