/**
 * `Instances` over three tables. Memory follows the tables (see mirror.ts); nothing here changes
 * memory directly.
 *
 * An instance leaves in two steps: a mark in its row, which everybody obeys at once, then its
 * belongings and at last the row. A start after a crash in between goes on with the second.
 */
import { assert, type Clock, Fault, type Log, type Random } from '#base';
import type { Store, Table } from '#ports';
import { DEFAULT_INSTANCE_ID, type Instance } from './instance.ts';
import type {
  Group,
  InstanceChanges,
  InstanceListener,
  Instances,
  InstancesOptions,
  NewInstance,
  ParentTopic,
} from './instances.ts';
import { mergeLimits } from './limits.ts';
import { Belongings, LiveInstance, type Shelf } from './live-instance.ts';
import { Mirror } from './mirror.ts';
import { groupIdFlaw, instanceIdFlaw, instanceNameFlaw, parentTopicFlaw } from './naming.ts';
import {
  decodeGroup,
  decodeInstance,
  decodeParentTopic,
  encodeGroup,
  encodeInstance,
  encodeParentTopic,
  type InstanceRow,
} from './rows.ts';
import { dropTags, listTags, mergeTags, type ResourceTag } from './tags.ts';

const INSTANCES_TABLE = 'instances';
const GROUPS_TABLE = 'groups';
const TOPICS_TABLE = 'parent-topics';
/** No id holds a dot. Its row says that the default instance was made once. */
const FIRST_START_KEY = '.first-start';
const INSTANCE_COUNT_MAX = 10_000;
const ID_BYTES = 6;
const CLEARING_WAIT_MS = 1000;

export class InstanceRegistry implements Instances {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Log;
  readonly #ownedTables: readonly string[];
  readonly #clearOthers: (id: string) => Promise<void>;
  readonly #byId = new Map<string, LiveInstance>();
  /** By row key; holds those that are leaving as well. */
  readonly #byKey = new Map<string, LiveInstance>();
  readonly #belongings = new Map<string, Belongings>();
  readonly #arriving = new Set<string>();
  readonly #listeners = new Set<InstanceListener>();
  #rows!: Mirror;
  #groupRows!: Mirror;
  #topicRows!: Mirror;

  private constructor(options: InstancesOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#log = options.log;
    this.#ownedTables = options.ownedTables ?? [];
    this.#clearOthers = options.clear ?? (() => Promise.resolve());
  }

  static async open(options: InstancesOptions): Promise<InstanceRegistry> {
    const registry = new InstanceRegistry(options);
    const { store } = options;
    registry.#groupRows = await Mirror.open(store.table(GROUPS_TABLE), registry.#onGroup);
    registry.#topicRows = await Mirror.open(store.table(TOPICS_TABLE), registry.#onTopic);
    registry.#rows = await Mirror.open(store.table(INSTANCES_TABLE), registry.#onInstance);
    await registry.#makeDefault(options.defaultId, options.openDefault);
    for (const live of registry.#byKey.values()) {
      if (live.removed) registry.#clear(live.id).catch(registry.#report);
    }
    return registry;
  }

  close(): void {
    this.#rows.close();
    this.#groupRows.close();
    this.#topicRows.close();
  }

  find(id: string): Instance | undefined {
    return this.#byId.get(id);
  }

  findByHostLabel(label: string): Instance | undefined {
    const live = this.#byKey.get(label.toLowerCase());
    return live === undefined || live.removed ? undefined : live;
  }

  all(): Iterable<Instance> {
    return this.#byId.values();
  }

  async create(instance: NewInstance): Promise<Instance> {
    const id = instance.id ?? this.#newId();
    refuseFlaw(instanceIdFlaw(id));
    const name = instance.name ?? id;
    if (instance.name !== undefined) {
      refuseFlaw(instanceNameFlaw(name));
      this.#refuseNameTaken(name, id);
    }
    const kind = instance.kind ?? 'compatible';
    const nowMs = this.#clock.nowMs();
    const value = encodeInstance({
      id,
      name,
      kind,
      limits: mergeLimits(kind, {}, instance.limits ?? {}),
      overstepping: instance.overstepping ?? 'reject',
      trailingSlash: instance.trailingSlash ?? false,
      authentication: {},
      withdrawn: false,
      tags: mergeTags({}, instance.tags ?? []),
      createdMs: nowMs,
      updatedMs: nowMs,
      leaving: false,
    });
    await this.#add(id, value);
    const made = this.#byId.get(id);
    if (made === undefined) throw new Fault('instanceUnknown', 'it was removed meanwhile');
    return made;
  }

  async update(id: string, changes: InstanceChanges): Promise<Instance> {
    const live = this.#expect(id);
    const { name } = changes;
    if (name !== undefined) {
      refuseFlaw(instanceNameFlaw(name));
      this.#refuseNameTaken(name, id);
    }
    await this.#updateRow(id, (row) => ({
      ...row,
      name: name ?? row.name,
      limits: mergeLimits(row.kind, row.limits, changes.limits ?? {}),
      overstepping: changes.overstepping ?? row.overstepping,
      trailingSlash: changes.trailingSlash ?? row.trailingSlash,
      authentication: mergeWays(row.authentication, changes.authentication ?? {}),
      withdrawn: changes.withdrawn ?? row.withdrawn,
    }));
    return live;
  }

  async remove(id: string): Promise<void> {
    this.#expect(id);
    await this.#updateRow(id, (row) => ({ ...row, leaving: true }));
    const cleared = this.#clear(id);
    cleared.catch(this.#report);
    await new Promise<void>((resolve) => {
      const stop = this.#clock.after(CLEARING_WAIT_MS, resolve);
      const done = (): void => {
        stop();
        resolve();
      };
      cleared.then(done, done);
    });
  }

  groups(id: string): readonly Group[] {
    const groups = this.#belongings.get(this.#expect(id).id)?.groups.entries ?? [];
    return [...groups]
      .map(([groupId, row]) => ({ ...row, groupId, tags: listTags(row.tags) }))
      .sort((one, other) => (one.groupId < other.groupId ? -1 : 1));
  }

  async createGroup(id: string, groupId: string, tags: readonly ResourceTag[]): Promise<void> {
    const { limits } = this.#expect(id);
    refuseFlaw(groupIdFlaw(groupId));
    const nowMs = this.#clock.nowMs();
    const row = { tags: mergeTags({}, tags), createdMs: nowMs, updatedMs: nowMs };
    const { groups } = this.#belongingsOf(id);
    await shelve(groups, groupId, limits.groupCountMax, () =>
      this.#groupRows.add(`${id}/${groupId}`, encodeGroup(row)),
    );
  }

  async deleteGroup(id: string, groupId: string): Promise<void> {
    this.#expect(id);
    refuseFlaw(groupIdFlaw(groupId));
    if (!(await this.#groupRows.remove(`${id}/${groupId}`))) {
      throw new Fault('notFound', 'the group does not exist');
    }
  }

  topics(id: string): readonly ParentTopic[] {
    const topics = this.#belongings.get(this.#expect(id).id)?.topics.entries.values() ?? [];
    return [...topics].sort((one, other) => (one.topic < other.topic ? -1 : 1));
  }

  async createTopic(id: string, topic: string): Promise<void> {
    const { limits } = this.#expect(id);
    refuseFlaw(parentTopicFlaw(topic));
    const row = { topic, createdMs: this.#clock.nowMs() };
    const key = topic.toLowerCase();
    await shelve(this.#belongingsOf(id).topics, key, limits.parentTopicCountMax, () =>
      this.#topicRows.add(`${id}/${key}`, encodeParentTopic(row)),
    );
  }

  async deleteTopic(id: string, topic: string): Promise<void> {
    const live = this.#expect(id);
    refuseFlaw(parentTopicFlaw(topic));
    const there =
      live.hasParentTopic(topic) && (await this.#topicRows.remove(`${id}/${topic.toLowerCase()}`));
    if (!there) throw new Fault('notFound', 'the parent topic does not exist');
  }

  tags(id: string): readonly ResourceTag[] {
    return listTags(this.#expect(id).row.tags);
  }

  async addTags(id: string, tags: readonly ResourceTag[]): Promise<void> {
    this.#expect(id);
    await this.#updateRow(id, (row) => ({ ...row, tags: mergeTags(row.tags, tags) }));
  }

  async removeTags(id: string, keys: readonly string[] | 'all'): Promise<void> {
    this.#expect(id);
    await this.#updateRow(id, (row) => ({ ...row, tags: dropTags(row.tags, keys) }));
  }

  watch(listener: InstanceListener): () => void {
    // Wrapped, so that the same function can watch twice.
    const own: InstanceListener = (instance, change) => listener(instance, change);
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  async #makeDefault(id: string, openDefault: boolean): Promise<void> {
    const isFirst = (await this.#store.table(INSTANCES_TABLE).get(FIRST_START_KEY)) === undefined;
    const wanted = openDefault || (isFirst && id === DEFAULT_INSTANCE_ID);
    if (wanted && !this.#byId.has(id)) {
      try {
        await this.create({ id, kind: 'open' });
      } catch (error) {
        // Another node was faster.
        if (!Fault.is(error, 'alreadyExists')) throw error;
      }
    }
    if (isFirst) await this.#rows.add(FIRST_START_KEY, Buffer.from('{}'));
  }

  async #add(id: string, value: Uint8Array): Promise<void> {
    const key = id.toLowerCase();
    const present = this.#byKey.get(key);
    if (present?.removed) throw new Fault('alreadyExists', 'the instance is still being removed');
    if (this.#byId.size + this.#arriving.size >= INSTANCE_COUNT_MAX) {
      throw new Fault('overCapacity', `there can be ${INSTANCE_COUNT_MAX} instances at most`);
    }
    this.#arriving.add(key);
    try {
      // What another node gave to a predecessor at the last moment.
      if (present === undefined && this.#belongings.has(id)) await this.#clearTables(id);
      if (!(await this.#rows.add(key, value))) {
        throw new Fault('alreadyExists', 'an instance has this id');
      }
    } finally {
      this.#arriving.delete(key);
    }
  }

  #newId(): string {
    return `mqtt-${Buffer.from(this.#random.bytes(ID_BYTES)).toString('hex')}`;
  }

  #refuseNameTaken(name: string, id: string): void {
    const folded = name.toLowerCase();
    for (const live of this.#byId.values()) {
      if (live.id !== id && live.name.toLowerCase() === folded) {
        throw new Fault('alreadyExists', 'another instance has this name');
      }
    }
  }

  #expect(id: string): LiveInstance {
    const live = this.#byId.get(id);
    if (live === undefined) throw new Fault('instanceUnknown');
    return live;
  }

  async #updateRow(id: string, change: (row: InstanceRow) => InstanceRow): Promise<void> {
    const there = await this.#rows.update(id.toLowerCase(), (value) => {
      const row = decodeInstance(value);
      if (row.leaving || row.id !== id) throw new Fault('instanceUnknown');
      return encodeInstance({ ...change(row), updatedMs: this.#clock.nowMs() });
    });
    if (!there) throw new Fault('instanceUnknown');
  }

  async #clear(id: string): Promise<void> {
    await this.#clearTables(id);
    await this.#clearOthers(id);
    await this.#rows.remove(id.toLowerCase());
  }

  async #clearTables(id: string): Promise<void> {
    for (const name of [GROUPS_TABLE, TOPICS_TABLE, ...this.#ownedTables]) {
      const table: Table = this.#store.table(name);
      for await (const rows of table.scan(`${id}/`)) {
        await Promise.all(rows.map((row) => table.remove(row.key)));
      }
    }
  }

  readonly #report = (error: unknown): void => {
    this.#log.error('a removed instance could not be cleared away; the next start goes on', {
      cause: String(error),
    });
  };

  #belongingsOf(id: string): Belongings {
    let belongings = this.#belongings.get(id);
    if (belongings === undefined) {
      belongings = new Belongings();
      this.#belongings.set(id, belongings);
    }
    return belongings;
  }

  readonly #onInstance = (key: string, value: Uint8Array | undefined): void => {
    if (key === FIRST_START_KEY) return;
    const live = this.#byKey.get(key);
    const row = value === undefined ? undefined : decodeInstance(value);
    if (row === undefined || row.leaving) this.#leave(key, live, row);
    else if (live === undefined || live.removed) this.#arrive(key, row);
    else {
      live.replace(row);
      this.#tell(live, 'changed');
    }
  };

  #arrive(key: string, row: InstanceRow): void {
    const live = new LiveInstance(row, this.#belongingsOf(row.id));
    this.#byKey.set(key, live);
    this.#byId.set(live.id, live);
    this.#tell(live, 'created');
  }

  #leave(key: string, known: LiveInstance | undefined, row: InstanceRow | undefined): void {
    const live = known ?? (row && new LiveInstance(row, this.#belongingsOf(row.id)));
    if (live === undefined) return;
    this.#byId.delete(live.id);
    if (row === undefined) {
      this.#byKey.delete(key);
      this.#belongings.delete(live.id);
    } else this.#byKey.set(key, live);
    if (live.removed) return;
    live.removed = true;
    live.version++;
    if (known !== undefined) this.#tell(live, 'removed');
  }

  readonly #onGroup = (key: string, value: Uint8Array | undefined): void => {
    const { id, name } = splitKey(key);
    const { entries } = this.#belongingsOf(id).groups;
    if (value === undefined) entries.delete(name);
    else entries.set(name, decodeGroup(value));
    this.#belongingChanged(id);
  };

  readonly #onTopic = (key: string, value: Uint8Array | undefined): void => {
    const { id, name } = splitKey(key);
    const { entries } = this.#belongingsOf(id).topics;
    if (value === undefined) entries.delete(name);
    else entries.set(name, decodeParentTopic(value));
    this.#belongingChanged(id);
  };

  #belongingChanged(id: string): void {
    const live = this.#byId.get(id);
    if (live === undefined) return;
    live.version++;
    this.#tell(live, 'changed');
  }

  #tell(live: LiveInstance, change: 'created' | 'changed' | 'removed'): void {
    for (const listener of this.#listeners) {
      try {
        listener(live, change);
      } catch (error) {
        // It must not keep the others, nor the store that tells us, from going on.
        this.#log.error('a listener to instances failed', { cause: String(error) });
      }
    }
  }
}

async function shelve(
  shelf: Shelf<unknown>,
  key: string,
  countMax: number,
  add: () => Promise<boolean>,
): Promise<void> {
  if (shelf.entries.has(key)) throw new Fault('alreadyExists');
  if (shelf.isFull(countMax)) {
    throw new Fault('overCapacity', `the instance can have ${countMax} of them at most`);
  }
  shelf.arriving.add(key);
  try {
    if (!(await add())) throw new Fault('alreadyExists');
  } finally {
    shelf.arriving.delete(key);
  }
}

function refuseFlaw(flaw: string | undefined): void {
  if (flaw !== undefined) throw new Fault('invalidParameter', flaw);
}

function mergeWays(
  present: Readonly<Record<string, unknown>>,
  changes: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const merged: Record<string, unknown> = { ...present };
  for (const [way, settings] of Object.entries(changes)) {
    if (settings === undefined) delete merged[way];
    else merged[way] = settings;
  }
  return merged;
}

function splitKey(key: string): { readonly id: string; readonly name: string } {
  const end = key.indexOf('/');
  assert(end > 0, 'a key begins with the id of an instance');
  return { id: key.slice(0, end), name: key.slice(end + 1) };
}
