/**
 * What things may be called. Each check answers the reason why not, or `undefined`.
 *
 * The rules for groups, parent topics and client identifiers are the product's and hold in
 * compatible instances; those for instances hold everywhere.
 */

const WORD = /^[0-9A-Za-z_-]+$/;
const GROUP_PREFIX = /^GID[_-]/;
const CLIENT_ID_SEPARATOR = '@@@';
const P2P_LEVEL = 'p2p';

const GROUP_ID_CHARS_MIN = 7;
const NAME_CHARS_MIN = 3;
const CHARS_MAX = 64;

/** Part of stored keys and of host names, so letters, digits, `_` and `-` only. */
export function instanceIdFlaw(id: string): string | undefined {
  if (id.length === 0 || id.length > CHARS_MAX) return 'an instance id has 1 to 64 characters';
  return WORD.test(id) ? undefined : 'an instance id holds letters, digits, _ and - only';
}

export function instanceNameFlaw(name: string): string | undefined {
  if (name.length < NAME_CHARS_MIN || name.length > CHARS_MAX) {
    return 'an instance name has 3 to 64 characters';
  }
  return WORD.test(name) ? undefined : 'an instance name holds letters, digits, _ and - only';
}

export function groupIdFlaw(groupId: string): string | undefined {
  if (!GROUP_PREFIX.test(groupId)) return 'a group id starts with GID_ or GID-';
  if (groupId.length < GROUP_ID_CHARS_MIN || groupId.length > CHARS_MAX) {
    return 'a group id has 7 to 64 characters';
  }
  return WORD.test(groupId) ? undefined : 'a group id holds letters, digits, _ and - only';
}

/** A parent topic is the first level of topics. */
export function parentTopicFlaw(topic: string): string | undefined {
  if (topic.length < NAME_CHARS_MIN || topic.length > CHARS_MAX) {
    return 'a parent topic has 3 to 64 characters';
  }
  return WORD.test(topic) ? undefined : 'a parent topic holds letters, digits, _ and - only';
}

/** The parts of `GroupID@@@DeviceID`; `undefined`: it is not of that form. */
export function splitClientId(
  clientId: string,
): { readonly groupId: string; readonly deviceId: string } | undefined {
  const end = clientId.indexOf(CLIENT_ID_SEPARATOR);
  if (end < 0) return undefined;
  const groupId = clientId.slice(0, end);
  const deviceId = clientId.slice(end + CLIENT_ID_SEPARATOR.length);
  if (groupIdFlaw(groupId) !== undefined || !WORD.test(deviceId)) return undefined;
  return { groupId, deviceId };
}

/** The first level. */
export function parentOf(topic: string): string {
  const end = topic.indexOf('/');
  return end < 0 ? topic : topic.slice(0, end);
}

/**
 * A whole topic as the product documents it. The client identifier of a P2P topic has rules of
 * its own; a slash at the end comes with messages from RocketMQ.
 */
export function topicFlaw(topic: string, charsMax: number): string | undefined {
  if (topic.length < NAME_CHARS_MIN || topic.length > charsMax) {
    return `a topic has ${NAME_CHARS_MIN} to ${charsMax} characters`;
  }
  const levels = topic.split('/');
  if (levels.at(-1) === '') levels.pop();
  const checked = levels[1] === P2P_LEVEL && levels.length === 3 ? levels.slice(0, 2) : levels;
  for (const level of checked) {
    if (!WORD.test(level)) return 'a level of a topic holds letters, digits, _ and - only';
  }
  return undefined;
}
