/** Parameters that many actions share, and how their handlers read them. */
import { Fault } from '#base';
import type { Instance } from '#instances';
import { type Call, type Parameter, type Tag, text } from '../action.ts';
import type { Services } from '../services.ts';

export const INSTANCE_ID: Parameter = {
  name: 'InstanceId',
  type: 'string',
  required: true,
  about: 'The instance that the devices use.',
};

/** Two forms: SDKs send a JSON text, newer command lines `Tag.1.Key` and `Tag.1.Value`. */
export const TAG_PARAMETERS: readonly Parameter[] = [
  {
    name: 'Tags',
    type: 'json',
    required: false,
    about: 'Tags as JSON, `[{"key":"k","value":"v"}]`.',
  },
  { name: 'Tag', type: 'tags', required: false, about: 'Tags, at most 20.', max: 20 },
];

/** The instance of `InstanceId`. */
export function instanceOf(services: Services, call: Call): Instance {
  const instance = services.instances.find(text(call, 'InstanceId'));
  if (instance === undefined) throw new Fault('instanceUnknown');
  return instance;
}

/** The members of a list; none where it was left out. */
export function list(call: Call, name: string): readonly string[] {
  const value = call.arguments[name];
  return Array.isArray(value) ? (value as readonly string[]) : [];
}

/** The tags of `Tag` and of `Tags`. */
export function tags(call: Call): readonly Tag[] {
  const value = call.arguments['Tag'];
  const given = Array.isArray(value) ? (value as readonly Tag[]) : [];
  return [...given, ...parseTags(text(call, 'Tags'))];
}

function parseTags(json: string): readonly Tag[] {
  if (json === '') return [];
  const parsed: unknown = JSON.parse(json);
  if (!Array.isArray(parsed)) throw malformedTags();
  return parsed.map(readTag);
}

function readTag(member: unknown): Tag {
  if (typeof member !== 'object' || member === null) throw malformedTags();
  const fields = member as Readonly<Record<string, unknown>>;
  const key = fields['key'] ?? fields['Key'] ?? fields['TagKey'];
  const value = fields['value'] ?? fields['Value'] ?? fields['TagValue'] ?? '';
  if (typeof key !== 'string' || key === '' || typeof value !== 'string') throw malformedTags();
  return { key, value };
}

function malformedTags(): Fault {
  return new Fault('invalidParameter', 'Tags is not of the form [{"key":"k","value":"v"}].');
}

/** Tags as the product's answers name them. */
export function answerTags(
  of: readonly Tag[],
): readonly { readonly TagKey: string; readonly TagValue: string }[] {
  return of.map(({ key, value }) => ({ TagKey: key, TagValue: value }));
}
