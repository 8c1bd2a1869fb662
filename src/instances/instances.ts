/**
 * All instances of this service, their groups, parent topics and tags. They are few (thousands)
 * and asked for at every CONNECT, so all of them are in memory; the truth is in the store.
 */
import type { Clock, Log, Random } from '#base';
import type { Store } from '#ports';
import type { Instance, InstanceKind, Overstepping } from './instance.ts';
import type { LimitChanges } from './limits.ts';
import { InstanceRegistry } from './registry.ts';
import type { ResourceTag } from './tags.ts';

export interface NewInstance {
  /** Generated where it is left out. */
  readonly id?: string | undefined;
  /** The id where it is left out. */
  readonly name?: string | undefined;
  /** `compatible` where it is left out. */
  readonly kind?: InstanceKind | undefined;
  readonly limits?: LimitChanges | undefined;
  readonly overstepping?: Overstepping | undefined;
  readonly trailingSlash?: boolean | undefined;
  readonly tags?: readonly ResourceTag[] | undefined;
}

/** What is left out stays. */
export interface InstanceChanges {
  readonly name?: string | undefined;
  /** By name; `undefined` sets one back to its default. */
  readonly limits?: LimitChanges | undefined;
  readonly overstepping?: Overstepping | undefined;
  readonly trailingSlash?: boolean | undefined;
  /** By way; `undefined` takes its settings away. */
  readonly authentication?: Readonly<Record<string, unknown>> | undefined;
  readonly withdrawn?: boolean | undefined;
}

export interface Group {
  readonly groupId: string;
  readonly tags: readonly ResourceTag[];
  readonly createdMs: number;
  readonly updatedMs: number;
}

export interface ParentTopic {
  readonly topic: string;
  readonly createdMs: number;
}

export type InstanceListener = (
  instance: Instance,
  change: 'created' | 'changed' | 'removed',
) => void;

/**
 * Changes answer once they are durable and visible here. They are refused with a Fault:
 * `instanceUnknown`, `notFound`, `alreadyExists`, `invalidParameter`, `overCapacity`.
 */
export interface Instances {
  find(id: string): Instance | undefined;
  /** Whatever the case of its letters: host names have none. */
  findByHostLabel(label: string): Instance | undefined;
  all(): Iterable<Instance>;
  create(instance: NewInstance): Promise<Instance>;
  update(id: string, changes: InstanceChanges): Promise<Instance>;
  /**
   * At once nobody finds it any more. Its rows in the owned tables are cleared away, and what
   * `clear` knows of; its id can be used again once that is done, also where it is a later start
   * that does it. This waits for it, but not for long.
   */
  remove(id: string): Promise<void>;

  groups(id: string): readonly Group[];
  createGroup(id: string, groupId: string, tags: readonly ResourceTag[]): Promise<void>;
  deleteGroup(id: string, groupId: string): Promise<void>;

  topics(id: string): readonly ParentTopic[];
  createTopic(id: string, topic: string): Promise<void>;
  deleteTopic(id: string, topic: string): Promise<void>;

  tags(id: string): readonly ResourceTag[];
  addTags(id: string, tags: readonly ResourceTag[]): Promise<void>;
  removeTags(id: string, keys: readonly string[] | 'all'): Promise<void>;

  /** Tells of changes to instances, their groups and topics. Returns the way to stop. */
  watch(listener: InstanceListener): () => void;
  close(): void;
}

export interface InstancesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The instance of listeners that name none. */
  readonly defaultId: string;
  /** Makes it, open, where it does not exist. `default` is made at the first start anyway. */
  readonly openDefault: boolean;
  /** Tables of others whose keys begin with `<instance id>/`: their rows go with the instance. */
  readonly ownedTables?: readonly string[];
  /** Clears away what else belongs to an instance, which is as good as gone. */
  readonly clear?: (id: string) => Promise<void>;
}

/** Reads all instances, and makes the default one at the first start. */
export async function openInstances(options: InstancesOptions): Promise<Instances> {
  return InstanceRegistry.open(options);
}
