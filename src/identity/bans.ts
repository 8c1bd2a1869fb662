/**
 * Who is kept out for a while: addresses and clients that guess, and clients that flap.
 *
 * Failures are counted in windows per address, and per client identifier at an address: nobody
 * can lock out somebody else's device by guessing from elsewhere. Each ban of the same one is
 * longer than the last. Memory is bounded: the oldest count, or ban, leaves. IPv6 addresses count
 * by /64, which is what one customer of a network commonly has.
 */

import { isIPv4 } from 'node:net';
import type { Clock, FaultCode } from '#base';
import { addressNumber, isMappedV4 } from './address-list.ts';

export interface BanSettings {
  readonly addressFailureCountMax: number;
  readonly clientFailureCountMax: number;
  readonly failureWindowMs: number;
  readonly connectCountMax: number;
  readonly connectWindowMs: number;
  readonly banMs: number;
  readonly banMsMax: number;
  readonly memoryMs: number;
  readonly entryCountMax: number;
  readonly loopbackBanned: boolean;
}

export interface BanSettingRow {
  readonly name: keyof BanSettings;
  readonly unit: string;
  readonly default: number | boolean;
  readonly about: string;
}

const DEFAULTS: BanSettings = {
  addressFailureCountMax: 600,
  clientFailureCountMax: 20,
  failureWindowMs: 60_000,
  connectCountMax: 600,
  connectWindowMs: 60_000,
  banMs: 60_000,
  banMsMax: 3_600_000,
  memoryMs: 86_400_000,
  entryCountMax: 100_000,
  loopbackBanned: false,
};

/** For the documentation; 0 as a count turns that ban off. */
// biome-ignore format: a table reads in columns
export const BAN_SETTINGS: readonly BanSettingRow[] = [
  row('addressFailureCountMax', 'failures', 'refused log-ins from one address in a window before it is banned'),
  row('clientFailureCountMax',  'failures', 'the same for one client identifier at one address'),
  row('failureWindowMs',        'ms',       'how long failures are counted together'),
  row('connectCountMax',        'connects', 'accepted log-ins of one client at one address in a window before it is banned'),
  row('connectWindowMs',        'ms',       'how long connects are counted together'),
  row('banMs',                  'ms',       'how long the first ban lasts; each further one lasts twice as long'),
  row('banMsMax',               'ms',       'how long a ban lasts at most'),
  row('memoryMs',               'ms',       'how long after its end a ban still makes the next one longer'),
  row('entryCountMax',          'entries',  'counts, and bans, in memory for addresses, and for clients'),
  row('loopbackBanned',         'yes or no', 'whether addresses of this machine can be banned'),
];

function row(name: keyof BanSettings, unit: string, about: string): BanSettingRow {
  return { name, unit, default: DEFAULTS[name], about };
}

export type BanReason = 'failures' | 'flapping';

/** A ban in force. */
export interface Ban {
  /** IPv6 as its /64. With an address alone: '' for the instance and the client. */
  readonly address: string;
  readonly instanceId: string;
  readonly clientId: string;
  readonly reason: BanReason;
  /** How often it was banned, this time included. */
  readonly banCount: number;
  readonly untilMs: number;
}

/** One address, or one client of an instance. */
export type BanTarget =
  | { readonly address: string }
  | { readonly instanceId: string; readonly clientId: string };

export interface Bans {
  /** Before anything else is looked at: `banned`, or nothing against it. */
  ask(address: string, instanceId: string, clientId: string): FaultCode | undefined;
  /** A log-in was refused because it did not prove who it was. */
  failed(address: string, instanceId: string, clientId: string): void;
  /** A log-in was accepted. */
  succeeded(address: string, instanceId: string, clientId: string): void;
  /** Bans in force, those made first at the front. */
  list(): Ban[];
  /** False: there was none in force. Its counts and its past are forgotten as well. */
  lift(target: BanTarget): boolean;
}

interface Count {
  readonly startedMs: number;
  count: number;
}

interface Entry {
  readonly reason: BanReason;
  readonly banCount: number;
  readonly untilMs: number;
}

/** The counts and bans of one kind, by address or by client. Times are the monotonic clock's. */
class Ledger {
  readonly bans = new Map<string, Entry>();
  readonly #counts = new Map<string, Count>();
  readonly #settings: BanSettings;

  constructor(settings: BanSettings) {
    this.#settings = settings;
  }

  isBanned(key: string, nowMs: number): boolean {
    const ban = this.bans.get(key);
    if (ban === undefined || nowMs < ban.untilMs) return ban !== undefined;
    if (nowMs - ban.untilMs > this.#settings.memoryMs) this.bans.delete(key);
    return false;
  }

  /** Counts one more; bans at the `countMax`th within a window. */
  count(key: string, reason: BanReason, nowMs: number, countMax: number): void {
    if (countMax === 0 || this.isBanned(key, nowMs)) return;
    const windowMs =
      reason === 'failures' ? this.#settings.failureWindowMs : this.#settings.connectWindowMs;
    const name = `${reason}/${key}`;
    const known = this.#counts.get(name);
    const live = known !== undefined && nowMs - known.startedMs < windowMs;
    const entry = live ? known : { startedMs: nowMs, count: 0 };
    entry.count++;
    this.#counts.delete(name);
    if (entry.count >= countMax) this.#ban(key, reason, nowMs);
    else bound(this.#counts.set(name, entry), this.#settings.entryCountMax);
  }

  forgetCount(key: string, reason: BanReason): void {
    this.#counts.delete(`${reason}/${key}`);
  }

  lift(key: string, nowMs: number): boolean {
    const banned = this.isBanned(key, nowMs);
    this.bans.delete(key);
    this.forgetCount(key, 'failures');
    this.forgetCount(key, 'flapping');
    return banned;
  }

  #ban(key: string, reason: BanReason, nowMs: number): void {
    const { banMs, banMsMax, entryCountMax } = this.#settings;
    const banCount = (this.bans.get(key)?.banCount ?? 0) + 1;
    const lengthMs = Math.min(banMs * 2 ** (banCount - 1), banMsMax);
    this.bans.delete(key);
    bound(this.bans.set(key, { reason, banCount, untilMs: nowMs + lengthMs }), entryCountMax);
  }
}

/** Settings left out have their defaults. */
export function createBans(clock: Clock, changed: Partial<BanSettings> = {}): Bans {
  const settings = { ...DEFAULTS, ...changed };
  const addresses = new Ledger(settings);
  const clients = new Ledger(settings);
  const keyOf = (address: string): string | undefined => addressKey(address, settings);
  return {
    ask(address, instanceId, clientId) {
      if (addresses.bans.size === 0 && clients.bans.size === 0) return undefined;
      const key = keyOf(address);
      if (key === undefined) return undefined;
      const nowMs = clock.monotonicMs();
      if (addresses.isBanned(key, nowMs)) return 'banned';
      return clients.isBanned(clientKey(key, instanceId, clientId), nowMs) ? 'banned' : undefined;
    },
    failed(address, instanceId, clientId) {
      const key = keyOf(address);
      if (key === undefined) return;
      const nowMs = clock.monotonicMs();
      addresses.count(key, 'failures', nowMs, settings.addressFailureCountMax);
      if (clientId === '') return;
      const client = clientKey(key, instanceId, clientId);
      clients.count(client, 'failures', nowMs, settings.clientFailureCountMax);
    },
    succeeded(address, instanceId, clientId) {
      // An address stays counted: who guesses may well have one account of their own.
      const key = clientId === '' ? undefined : keyOf(address);
      if (key === undefined) return;
      const client = clientKey(key, instanceId, clientId);
      clients.forgetCount(client, 'failures');
      clients.count(client, 'flapping', clock.monotonicMs(), settings.connectCountMax);
    },
    list() {
      const nowMs = clock.monotonicMs();
      const wallAheadMs = clock.nowMs() - nowMs;
      const inForce: Ban[] = [];
      for (const [address, ban] of addresses.bans) {
        if (nowMs >= ban.untilMs) continue;
        inForce.push(banOf({ address, instanceId: '', clientId: '' }, ban, wallAheadMs));
      }
      for (const [key, ban] of clients.bans) {
        if (nowMs >= ban.untilMs) continue;
        const space = key.indexOf(' ');
        const slash = key.indexOf('/', space);
        const address = key.slice(0, space);
        const instanceId = key.slice(space + 1, slash);
        const clientId = key.slice(slash + 1);
        inForce.push(banOf({ address, instanceId, clientId }, ban, wallAheadMs));
      }
      return inForce;
    },
    lift(target) {
      const nowMs = clock.monotonicMs();
      if (!('address' in target)) {
        const ending = clientKey('', target.instanceId, target.clientId);
        const keys = [...clients.bans.keys()].filter((key) => key.endsWith(ending));
        return keys.map((key) => clients.lift(key, nowMs)).includes(true);
      }
      // As `list` shows it, or any address within.
      const key = keyOf(target.address.replace(/\/64$/, ''));
      return key !== undefined && addresses.lift(key, nowMs);
    },
  };
}

function banOf(
  who: Pick<Ban, 'address' | 'instanceId' | 'clientId'>,
  entry: Entry,
  wallAheadMs: number,
): Ban {
  const { reason, banCount, untilMs } = entry;
  return { ...who, reason, banCount, untilMs: Math.round(untilMs + wallAheadMs) };
}

/** Neither an address nor an instance has a space in it. */
function clientKey(address: string, instanceId: string, clientId: string): string {
  return `${address} ${instanceId}/${clientId}`;
}

/** `undefined`: not to be banned. */
function addressKey(address: string, settings: BanSettings): string | undefined {
  if (isIPv4(address)) {
    return isLoopbackV4(address) && !settings.loopbackBanned ? undefined : address;
  }
  const number = addressNumber(address);
  if (number === undefined) return undefined;
  if (isMappedV4(number)) {
    const v4 = Number(number & 0xffff_ffffn);
    const text = [v4 >>> 24, (v4 >>> 16) & 0xff, (v4 >>> 8) & 0xff, v4 & 0xff].join('.');
    return addressKey(text, settings);
  }
  if (number === LOOPBACK_V6 && !settings.loopbackBanned) return undefined;
  const groups: string[] = [];
  for (let shift = 112n; shift >= 64n; shift -= 16n) {
    groups.push(((number >> shift) & 0xffffn).toString(16));
  }
  return `${groups.join(':')}::/64`;
}

/** `isIPv4` takes no other way to write one. */
function isLoopbackV4(address: string): boolean {
  return address.startsWith('127.');
}

const LOOPBACK_V6 = 1n;

function bound(map: Map<string, unknown>, countMax: number): void {
  if (map.size <= countMax) return;
  const oldest = map.keys().next();
  if (oldest.done !== true) map.delete(oldest.value);
}
