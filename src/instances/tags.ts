/** Tags: words an owner sorts instances and groups by. */
import { Fault } from '#base';

export interface ResourceTag {
  readonly key: string;
  readonly value: string;
}

export const TAG_COUNT_MAX = 20;
export const TAG_KEY_CHARS_MAX = 128;
export const TAG_VALUE_CHARS_MAX = 256;

/** Tags as they are stored. */
export type TagRecord = Readonly<Record<string, string>>;

/** `tags` with those of `added` put over them. A Fault where one is malformed or one too many. */
export function mergeTags(tags: TagRecord, added: readonly ResourceTag[]): TagRecord {
  const merged = new Map(Object.entries(tags));
  for (const { key, value } of added) {
    const flaw = tagFlaw(key, value);
    if (flaw !== undefined) throw new Fault('invalidParameter', flaw);
    merged.set(key, value);
  }
  if (merged.size > TAG_COUNT_MAX) {
    throw new Fault('overCapacity', `there can be ${TAG_COUNT_MAX} tags at most`);
  }
  return Object.fromEntries(merged);
}

/** `tags` without those of these keys, or without any. */
export function dropTags(tags: TagRecord, keys: readonly string[] | 'all'): TagRecord {
  if (keys === 'all') return {};
  return Object.fromEntries(Object.entries(tags).filter(([key]) => !keys.includes(key)));
}

export function listTags(tags: TagRecord): readonly ResourceTag[] {
  return Object.entries(tags)
    .map(([key, value]) => ({ key, value }))
    .sort((one, other) => (one.key < other.key ? -1 : 1));
}

/** Every wanted tag is among `tags`. */
export function hasTags(tags: readonly ResourceTag[], wanted: readonly ResourceTag[]): boolean {
  return wanted.every(({ key, value }) =>
    tags.some((tag) => tag.key === key && (value === '' || tag.value === value)),
  );
}

function tagFlaw(key: string, value: string): string | undefined {
  if (key.length === 0 || key.length > TAG_KEY_CHARS_MAX) {
    return `the key of a tag has 1 to ${TAG_KEY_CHARS_MAX} characters`;
  }
  if (value.length > TAG_VALUE_CHARS_MAX) {
    return `the value of a tag has ${TAG_VALUE_CHARS_MAX} characters at most`;
  }
  if (/\p{Cc}/u.test(key + value)) return 'a tag holds no control characters';
  // An object would take this key for something else.
  return key === '__proto__' ? 'a tag cannot have this key' : undefined;
}
