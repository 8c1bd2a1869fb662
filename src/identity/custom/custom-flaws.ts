/** What is wrong with a row of custom authentication, by field, before it becomes one. */
import type {
  CustomIdentity,
  CustomPermission,
  IdentityKey,
  PermissionKey,
} from './custom-records.ts';
import { isTopicFilter } from '../topic-rules.ts';

export interface FieldFlaw {
  readonly field: 'userName' | 'clientId' | 'secret' | 'identity' | 'topic';
  readonly reason: string;
}

export const USER_NAME_CHARS_MAX = 64;
export const CLIENT_ID_CHARS_MAX = 1024;
export const SECRET_CHARS_MAX = 1024;
export const TOPIC_CHARS_MAX = 4096;

export function identityFlaw(
  identity: IdentityKey & Partial<CustomIdentity>,
): FieldFlaw | undefined {
  const { userName, clientId, secret } = identity;
  const ofClient =
    identity.type === 'CLIENT' ? textFlaw('clientId', clientId, CLIENT_ID_CHARS_MAX) : undefined;
  const ofSecret = secret === undefined ? undefined : textFlaw('secret', secret, SECRET_CHARS_MAX);
  return textFlaw('userName', userName, USER_NAME_CHARS_MAX) ?? ofClient ?? ofSecret;
}

export function permissionFlaw(
  permission: PermissionKey | CustomPermission,
): FieldFlaw | undefined {
  const { type, identity, topic } = permission;
  const charsMax = type === 'USER' ? USER_NAME_CHARS_MAX : CLIENT_ID_CHARS_MAX;
  return (
    textFlaw('identity', identity, charsMax) ??
    textFlaw('topic', topic, TOPIC_CHARS_MAX) ??
    (isTopicFilter(topic) ? undefined : { field: 'topic', reason: 'topic is not a topic filter' })
  );
}

export function textFlaw(
  field: FieldFlaw['field'],
  text: string,
  charsMax: number,
): FieldFlaw | undefined {
  if (text.length === 0) return { field, reason: `${field} is empty` };
  if (text.length > charsMax) return { field, reason: `${field} is longer than ${charsMax}` };
  if (text.includes('\0')) return { field, reason: `${field} holds U+0000` };
  if (!text.isWellFormed()) return { field, reason: `${field} is not well-formed Unicode` };
  return undefined;
}
