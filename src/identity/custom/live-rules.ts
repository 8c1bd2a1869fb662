/**
 * The permissions of custom identities as live connections ask them.
 *
 * The rules of one user, or of one client identifier, are one `RuleSet`, shared by all connections
 * it concerns and kept current by one watch. Only sets in use are in memory, and a bounded number
 * of others, for callers on their way in.
 */
import type { Clock } from '#base';
import type { RowChange, Table } from '#ports';
import type { LiveClient, Permissions } from '../authenticator.ts';
import {
  type IdentityType,
  readPermission,
  ruleOf,
  rulesPrefix,
  rulesPrefixLength,
} from './custom-records.ts';
import { ALLOWED, type TopicRule, TopicRules } from '../topic-rules.ts';

/** A connection's permissions; DENY of its user or its client identifier wins over any ALLOW. */
export interface LiveRules extends Permissions {
  /** From now on the client hears of changes. Returns the way to leave. */
  join(client: LiveClient): () => void;
}

export interface RuleSets {
  rulesFor(instanceId: string, userName: string, clientId: string): Promise<LiveRules>;
  /** Connections of that client identifier which have joined. */
  clientsOf(instanceId: string, clientId: string): LiveClient[];
  /** How many sets are in memory, in use or not. */
  readonly size: number;
  close(): void;
}

const IDLE_SET_COUNT_MAX = 10_000;
/** A burst of changes compiles once. */
const COMPILE_DELAY_MS = 50;

class RuleSet {
  readonly prefix: string;
  readonly clients = new Set<LiveClient>();
  /** By topic filter. */
  rules = new Map<string, TopicRule>();
  compiled = new TopicRules([]);
  loading: Promise<void> | undefined = undefined;
  /** Changes heard while the rows are being read: they are newer. */
  overtaken: Map<string, TopicRule | undefined> | undefined = undefined;
  compileDue = false;
  /** `compiled` is not what `rules` say. */
  stale = false;
  /** Left memory: hears of no changes any more. */
  dropped = false;

  constructor(prefix: string) {
    this.prefix = prefix;
  }
}

class Rules implements LiveRules {
  readonly #store: RuleSetStore;
  #user: RuleSet;
  #client: RuleSet;

  constructor(store: RuleSetStore, user: RuleSet, client: RuleSet) {
    this.#store = store;
    this.#user = user;
    this.#client = client;
  }

  // Versions come from one counter, so the larger one grows with every change of either set.
  get version(): number {
    return Math.max(this.#user.compiled.version, this.#client.compiled.version);
  }

  mayPublish(topic: string): boolean {
    const user = this.#user.compiled.publishBits(topic);
    return (user | this.#client.compiled.publishBits(topic)) === ALLOWED;
  }

  maySubscribe(filter: string): boolean {
    const user = this.#user.compiled.subscribeBits(filter);
    return (user | this.#client.compiled.subscribeBits(filter)) === ALLOWED;
  }

  join(client: LiveClient): () => void {
    this.#user = this.#store.hold(this.#user, client);
    this.#client = this.#store.hold(this.#client, client);
    return () => {
      this.#store.leave(this.#user, client);
      this.#store.leave(this.#client, client);
    };
  }
}

class RuleSetStore implements RuleSets {
  readonly #table: Table;
  readonly #clock: Clock;
  readonly #failed: (error: unknown) => void;
  readonly #idleCountMax: number;
  readonly #sets = new Map<string, RuleSet>();
  /** Sets without clients, those used last at the end. */
  readonly #idle = new Set<RuleSet>();
  readonly #stop: () => void;
  #version = 0;

  constructor(table: Table, clock: Clock, failed: (error: unknown) => void, idleCountMax: number) {
    this.#idleCountMax = idleCountMax;
    this.#table = table;
    this.#clock = clock;
    this.#failed = failed;
    this.#stop = table.watch('', (change) => this.#changed(change));
  }

  get size(): number {
    return this.#sets.size;
  }

  async rulesFor(instanceId: string, userName: string, clientId: string): Promise<LiveRules> {
    const user = this.#set(instanceId, 'USER', userName);
    const client = this.#set(instanceId, 'CLIENT', clientId);
    await Promise.all([this.#ready(user), this.#ready(client)]);
    return new Rules(this, user, client);
  }

  clientsOf(instanceId: string, clientId: string): LiveClient[] {
    const set = this.#sets.get(rulesPrefix(instanceId, 'CLIENT', clientId));
    return set === undefined ? [] : [...set.clients];
  }

  /** The set to ask from now on: the same, or the one that took its place while it was idle. */
  hold(asked: RuleSet, client: LiveClient): RuleSet {
    let set = asked;
    if (asked.dropped) {
      set = this.#sets.get(asked.prefix) ?? asked;
      if (set === asked) this.#revive(asked);
    }
    this.#idle.delete(set);
    set.clients.add(client);
    if (set !== asked) this.#compileSoon(set);
    return set;
  }

  leave(set: RuleSet, client: LiveClient): void {
    set.clients.delete(client);
    if (set.clients.size === 0) this.#rest(set);
  }

  close(): void {
    this.#stop();
    this.#sets.clear();
    this.#idle.clear();
  }

  #set(instanceId: string, type: IdentityType, identity: string): RuleSet {
    const prefix = rulesPrefix(instanceId, type, identity);
    let set = this.#sets.get(prefix);
    if (set === undefined) {
      set = new RuleSet(prefix);
      this.#sets.set(prefix, set);
    }
    if (set.clients.size === 0) this.#rest(set);
    return set;
  }

  async #ready(set: RuleSet): Promise<void> {
    if (set.compiled.version > 0) {
      // Whoever comes after a change must not meet what was before.
      if (set.stale) this.#compile(set);
      return;
    }
    set.loading ??= this.#load(set);
    try {
      await set.loading;
    } catch (error) {
      this.#drop(set);
      throw error;
    }
  }

  async #load(set: RuleSet): Promise<void> {
    set.overtaken = new Map();
    try {
      const rules = new Map<string, TopicRule>();
      for await (const rows of this.#table.scan(set.prefix)) {
        for (const row of rows) {
          const permission = readPermission(row.key, row.value);
          rules.set(permission.topic, ruleOf(permission));
        }
      }
      for (const [topic, rule] of set.overtaken) place(rules, topic, rule);
      set.rules = rules;
      this.#compile(set);
    } finally {
      set.loading = undefined;
      set.overtaken = undefined;
    }
  }

  #changed(change: RowChange): void {
    const end = rulesPrefixLength(change.key);
    const set = this.#sets.get(change.key.slice(0, end));
    if (set === undefined) return;
    const topic = change.key.slice(end);
    const rule =
      change.value === undefined ? undefined : ruleOf(readPermission(change.key, change.value));
    if (set.overtaken !== undefined) {
      set.overtaken.set(topic, rule);
      return;
    }
    place(set.rules, topic, rule);
    this.#compileSoon(set);
  }

  #compileSoon(set: RuleSet): void {
    set.stale = true;
    if (set.compileDue) return;
    set.compileDue = true;
    this.#clock.after(COMPILE_DELAY_MS, () => {
      set.compileDue = false;
      if (set.stale && set.loading === undefined) this.#compile(set);
    });
  }

  #compile(set: RuleSet): void {
    this.#version++;
    set.stale = false;
    set.compiled = new TopicRules([...set.rules.values()], this.#version);
    for (const client of set.clients) client.permissionsChanged();
  }

  #rest(set: RuleSet): void {
    this.#idle.delete(set);
    if (set.dropped) return;
    this.#idle.add(set);
    if (this.#idle.size <= this.#idleCountMax) return;
    for (const oldest of this.#idle) {
      this.#drop(oldest);
      return;
    }
  }

  #drop(set: RuleSet): void {
    this.#idle.delete(set);
    if (set.clients.size > 0) return;
    set.dropped = true;
    if (this.#sets.get(set.prefix) === set) this.#sets.delete(set.prefix);
  }

  /** A dropped set is wanted after all: it may have missed changes, so its rows are read again. */
  #revive(set: RuleSet): void {
    set.dropped = false;
    this.#sets.set(set.prefix, set);
    set.loading ??= this.#load(set);
    set.loading.catch(this.#failed);
  }
}

/** `failed` hears of rules that could not be read again; the ones known go on. */
export function openRuleSets(
  table: Table,
  clock: Clock,
  failed: (error: unknown) => void,
  idleCountMax: number = IDLE_SET_COUNT_MAX,
): RuleSets {
  return new RuleSetStore(table, clock, failed, idleCountMax);
}

function place(rules: Map<string, TopicRule>, topic: string, rule: TopicRule | undefined): void {
  if (rule === undefined) rules.delete(topic);
  else rules.set(topic, rule);
}
