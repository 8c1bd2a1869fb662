/**
 * Devices with tokens, without a broker: real accounts, tokens and instances over the memory
 * engine, a clock that stands still, and connections that write down what they are told.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { type FaultCode, silentLog, systemRandom, TimerWheel } from '#base';
import { openInstances } from '#instances';
import { ManualClock } from './manual-clock.ts';
import { type Accounts, openAccounts } from '../../src/identity/accounts/accounts.ts';
import {
  type Caller,
  type ConnectRequest,
  isRefusal,
  type LiveClient,
  type Refusal,
  type Verdict,
} from '../../src/identity/authenticator.ts';
import { createSecretBox } from '../../src/identity/secret-box.ts';
import { createTokenWay } from '../../src/identity/tokens/token-authenticator.ts';
import { TokenNotices } from '../../src/identity/tokens/token-notices.ts';
import {
  openTokens,
  type TokenApplication,
  type Tokens,
} from '../../src/identity/tokens/tokens.ts';

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const KEY_ID = 'ak-devices';

/** Accounts, tokens and an instance, with a clock that stands still. */
export interface TokenWorld {
  readonly clock: ManualClock;
  readonly tokens: Tokens;
  readonly accounts: Accounts;
  readonly notices: TokenNotices;
  readonly request: ConnectRequest;
  apply(changes?: Partial<TokenApplication>): string;
  login(password: string | Uint8Array | undefined, changes?: Partial<ConnectRequest>): Verdict;
  /** Logs in and stays; fails where it is refused. */
  connect(password: string): Device;
}

/** A connection as its caller sees it; `heard` is all that it was sent, and how it ended. */
export interface Device {
  readonly caller: Caller;
  readonly heard: string[];
  permissionChanges: number;
  drop(): void;
  upload(token: unknown, type: unknown): Refusal | undefined;
}

/** The connection of an accepted caller. */
export function device(caller: Caller): Device {
  const heard: string[] = [];
  const live: LiveClient = {
    clientId: 'GID_a@@@d1',
    address: '127.0.0.1',
    notify: (topic, payload) => void heard.push(`${topic} ${payload}`),
    disconnect: (code) => void heard.push(`end ${code}`),
    permissionsChanged: () => void made.permissionChanges++,
  };
  const drop = caller.connected!(live);
  const upload = (token: unknown, type: unknown): Refusal | undefined => {
    const answer = caller.upload!(Buffer.from(JSON.stringify({ token, type })));
    assert.ok(!(answer instanceof Promise));
    return answer;
  };
  const made: Device = { caller, heard, permissionChanges: 0, drop, upload };
  return made;
}

/** A world with one admin key, and the instance `mqtt-1`. */
export async function openTokenWorld(t: TestContext): Promise<TokenWorld> {
  const clock = new ManualClock();
  const { store } = openMemoryEngine({ clock });
  const ground = { store, clock, random: systemRandom, log: silentLog };
  const instances = await openInstances({ ...ground, defaultId: 'default', openDefault: true });
  const instance = await instances.create({ id: 'mqtt-1', kind: 'open' });
  const box = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const adminKey = { accessKeyId: KEY_ID, accessKeySecret: 'secret' };
  const { accounts } = await openAccounts({ ...ground, box, adminKey });
  const tokens = await openTokens({ ...ground, key: Buffer.alloc(32, 2) });
  const wheel = new TimerWheel(clock);
  const notices = new TokenNotices({ tokens, clock, wheel });
  t.after(() => {
    tokens.close();
    accounts.close();
    instances.close();
    wheel.stop();
  });
  const way = createTokenWay({ notices, accounts });
  const request: ConnectRequest = {
    instance,
    protocolVersion: 4,
    clientId: 'GID_a@@@d1',
    userName: `Token|${KEY_ID}|mqtt-1`,
    password: undefined,
    address: '127.0.0.1',
    listener: 'mqtt://127.0.0.1:1883',
    serverName: undefined,
    certificate: undefined,
    certificateVerified: false,
  };
  const login: TokenWorld['login'] = (password, changes = {}) => {
    const bytes = password === undefined ? undefined : Buffer.from(password);
    const verdict = way.authenticate({ ...request, password: bytes, ...changes });
    assert.ok(verdict !== undefined && !(verdict instanceof Promise));
    return verdict;
  };
  return {
    clock,
    tokens,
    accounts,
    notices,
    request,
    login,
    apply: (changes = {}) =>
      tokens.apply({
        instanceId: 'mqtt-1',
        accessKeyId: KEY_ID,
        actions: 'R',
        resources: ['alarms/+'],
        expireMs: clock.nowMs() + 60 * MINUTE_MS,
        ...changes,
      }),
    connect(password) {
      const verdict = login(password);
      assert.ok(!isRefusal(verdict), JSON.stringify(verdict));
      return device(verdict);
    },
  };
}

export function outcome(verdict: Verdict): FaultCode | 'welcome' {
  return isRefusal(verdict) ? verdict.refused : 'welcome';
}

/** What a client is told of a token that is good no more. */
export const invalid = (code: number, type: string): string =>
  `$SYS/tokenInvalidNotice {"code":${code},"type":"${type}"}`;
