/**
 * The one object of an instance that everybody holds; its fields are replaced, never the object.
 * Its groups and parent topics may be known before it: they come from tables of their own.
 */
import type { Instance, InstanceKind, InstanceLimits, Overstepping } from './instance.ts';
import { limitsOf } from './limits.ts';
import type { GroupRow, InstanceRow, ParentTopicRow } from './rows.ts';

/** Entries by key, and the keys on their way in: both count against a bound. */
export class Shelf<Entry> {
  readonly entries: Map<string, Entry> = new Map();
  readonly arriving: Set<string> = new Set();

  isFull(countMax: number): boolean {
    let count = this.entries.size;
    for (const key of this.arriving) if (!this.entries.has(key)) count++;
    return count >= countMax;
  }
}

/** What belongs to an instance. */
export class Belongings {
  readonly groups: Shelf<GroupRow> = new Shelf();
  /** By the topic in lower case. */
  readonly topics: Shelf<ParentTopicRow> = new Shelf();
}

export class LiveInstance implements Instance {
  readonly id: string;
  readonly kind: InstanceKind;
  readonly createdMs: number;
  limits!: InstanceLimits;
  version = 0;
  removed = false;
  row!: InstanceRow;
  readonly #belongings: Belongings;

  constructor(row: InstanceRow, belongings: Belongings) {
    this.id = row.id;
    this.kind = row.kind;
    this.createdMs = row.createdMs;
    this.#belongings = belongings;
    this.replace(row);
  }

  get name(): string {
    return this.row.name;
  }

  get overstepping(): Overstepping {
    return this.row.overstepping;
  }

  get trailingSlash(): boolean {
    return this.row.trailingSlash;
  }

  get authentication(): Readonly<Record<string, unknown>> {
    return this.row.authentication;
  }

  get withdrawn(): boolean {
    return this.row.withdrawn;
  }

  get updatedMs(): number {
    return this.row.updatedMs;
  }

  replace(row: InstanceRow): void {
    this.row = row;
    this.limits = limitsOf(this.kind, row.limits);
    this.version++;
  }

  hasGroup(groupId: string): boolean {
    return this.#belongings.groups.entries.has(groupId);
  }

  hasParentTopic(parentTopic: string): boolean {
    const entry = this.#belongings.topics.entries.get(parentTopic.toLowerCase());
    return entry !== undefined && entry.topic === parentTopic;
  }
}
