/**
 * Which network addresses may connect to an instance: lists of IPv4 and IPv6 addresses and CIDRs.
 *
 * Every address is one number of 128 bits, IPv4 in its IPv4-mapped place, so the two ways to write
 * an IPv4 address are one (and `::/0` is everybody). A list becomes ranges in order: asking is a
 * binary search.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { Fault, type Log } from '#base';
import type { Instance } from '#instances';

/** `instance.authentication.addresses`. Deny wins; without `allow` everybody else may connect. */
export interface AddressSettings {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}

export interface AddressList {
  permits(address: string): boolean;
}

export interface AddressGate {
  /** By the instance's present lists. */
  permits(instance: Instance, address: string): boolean;
}

const BITS = 128;
const MAPPED_PREFIX_BITS = 96;
const MAPPED = 0xffffn << 32n;
const ENTRY_COUNT_MAX = 10_000;
const EVERYBODY: AddressList = { permits: () => true };
const NOBODY: AddressList = { permits: () => false };

/** The address as a number; `undefined`: it is none. A zone (`%eth0`) is left out. */
export function addressNumber(address: string): bigint | undefined {
  if (isIPv4(address)) return MAPPED | numberV4(address);
  if (!isIPv6(address)) return undefined;
  const zone = address.indexOf('%');
  return numberV6(zone < 0 ? address : address.slice(0, zone));
}

/** True for a number within `::ffff:0:0/96`. */
export function isMappedV4(number: bigint): boolean {
  return number >> 32n === MAPPED >> 32n;
}

/** Reads lists from outside. Throws `invalidParameter` that names the entry. */
export function parseAddressSettings(value: unknown): AddressSettings {
  if (value === undefined) return { allow: [], deny: [] };
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Fault('invalidParameter', 'addresses must be an object with allow and deny');
  }
  const record = value as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(record)) {
    if (name !== 'allow' && name !== 'deny') {
      throw new Fault('invalidParameter', `addresses has no setting ${JSON.stringify(name)}`);
    }
  }
  const settings = { allow: entries('allow', record), deny: entries('deny', record) };
  compileAddressList(settings);
  return settings;
}

/** Throws `invalidParameter` that names the entry. */
export function compileAddressList(settings: AddressSettings): AddressList {
  if (settings.allow.length === 0 && settings.deny.length === 0) return EVERYBODY;
  const allow = new Ranges(settings.allow);
  const deny = new Ranges(settings.deny);
  return {
    permits(address) {
      const number = addressNumber(address);
      if (number !== undefined && deny.holds(number)) return false;
      return settings.allow.length === 0 || (number !== undefined && allow.holds(number));
    },
  };
}

/** Compiles an instance's lists once for each of its versions. Lists not valid permit nobody. */
export function createAddressGate(log: Log): AddressGate {
  const known = new WeakMap<Instance, { readonly version: number; readonly list: AddressList }>();
  const compile = (instance: Instance): AddressList => {
    try {
      return compileAddressList(parseAddressSettings(instance.authentication['addresses']));
    } catch (error) {
      if (!Fault.is(error, 'invalidParameter')) throw error;
      log.error('address lists are not valid: nobody may connect', {
        instance: instance.id,
        reason: error.message,
      });
      return NOBODY;
    }
  };
  return {
    permits(instance, address) {
      if (instance.authentication['addresses'] === undefined) return true;
      let entry = known.get(instance);
      if (entry?.version !== instance.version) {
        entry = { version: instance.version, list: compile(instance) };
        known.set(instance, entry);
      }
      return entry.list.permits(address);
    },
  };
}

function entries(name: 'allow' | 'deny', record: Readonly<Record<string, unknown>>): string[] {
  const list = record[name] ?? [];
  if (!Array.isArray(list) || list.length > ENTRY_COUNT_MAX) {
    throw new Fault('invalidParameter', `${name} must be a list of ${ENTRY_COUNT_MAX} at most`);
  }
  return list.map((entry: unknown) => {
    if (typeof entry !== 'string') throw badEntry(entry);
    return entry.trim();
  });
}

interface Range {
  readonly low: bigint;
  high: bigint;
}

/** Ranges in order that do not touch. */
class Ranges {
  readonly #ranges: Range[] = [];

  constructor(list: readonly string[]) {
    const parsed = list.map(parseEntry).sort((a, b) => (a.low < b.low ? -1 : 1));
    for (const range of parsed) {
      const last = this.#ranges.at(-1);
      if (last === undefined || range.low > last.high) this.#ranges.push(range);
      else if (range.high > last.high) last.high = range.high;
    }
  }

  holds(number: bigint): boolean {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ranges[middle]!.high < number) low = middle + 1;
      else high = middle;
    }
    const range = this.#ranges[low];
    return range !== undefined && range.low <= number;
  }
}

/** An address, or a CIDR; bits behind the prefix do not matter. */
function parseEntry(entry: string): Range {
  const [address = '', prefix, ...more] = entry.split('/');
  const number = address.includes('%') ? undefined : addressNumber(address);
  if (number === undefined || more.length > 0) throw badEntry(entry);
  let prefixBits = BITS;
  if (prefix !== undefined) {
    const most = isIPv4(address) ? BITS - MAPPED_PREFIX_BITS : BITS;
    if (!/^(0|[1-9]\d{0,2})$/.test(prefix) || Number(prefix) > most) throw badEntry(entry);
    prefixBits = Number(prefix) + BITS - most;
  }
  const hostBits = BigInt(BITS - prefixBits);
  const low = (number >> hostBits) << hostBits;
  return { low, high: low + (1n << hostBits) - 1n };
}

function badEntry(entry: unknown): Fault {
  const text = JSON.stringify(entry) ?? '';
  return new Fault('invalidParameter', `${text.slice(0, 100)} is not an IP address or CIDR`);
}

function numberV4(address: string): bigint {
  let number = 0;
  for (const part of address.split('.')) number = number * 256 + Number(part);
  return BigInt(number);
}

function numberV6(address: string): bigint {
  const [front = '', back] = address.split('::');
  const head = words(front);
  const tail = back === undefined ? [] : words(back);
  const zeros = new Array<number>(8 - head.length - tail.length).fill(0);
  let number = 0n;
  for (const word of [...head, ...zeros, ...tail]) number = (number << 16n) | BigInt(word);
  return number;
}

/** Groups of 16 bits; the last may be an IPv4 address and counts twice. */
function words(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const number = Number(numberV4(group));
    return [number >>> 16, number & 0xffff];
  });
}
