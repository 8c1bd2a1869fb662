/**
 * Policies: which actions are allowed or denied on which instances, topics and groups, in the
 * manner of the product's access control.
 *
 *   { "Version": "1", "Statement": [{ "Effect": "Allow", "Action": "mq:SUB",
 *     "Resource": ["acs:mq:*:*:mqtt-1/alarms/*", "mqtt-2/alarms"] }] }
 *
 * A resource without a slash is an instance itself, one with a slash a topic or group in it; `*`
 * stands for any text, and at the end of an instance for all that is in it as well. Everything here
 * belongs to one owner, so the region and the account that a resource may name say nothing.
 */
import { Fault } from '#base';
import { covers, matches, overlaps, unitsOfFilter } from './wildcard.ts';

/** A checked policy. */
export interface PolicyDocument {
  readonly statements: readonly Statement[];
}

interface Statement {
  readonly allow: boolean;
  /** Lower case: what is denied stays denied however it is written. */
  readonly actions: readonly string[];
  /** Actions left out, in policies of our own. */
  readonly except: readonly string[];
  readonly resources: readonly Resource[];
}

interface Resource {
  readonly instance: string;
  /** The instance itself. */
  readonly itself: boolean;
  /** What is in it. */
  readonly within: string | undefined;
}

/** Several policies at work together: whatever one denies is denied. */
export interface Policy {
  /** `undefined`: the instance itself, or no instance at all. */
  may(action: string, instanceId: string | undefined, resource: string | undefined): boolean;
  /** May act on every topic of an MQTT filter. */
  mayAll(action: string, instanceId: string, filter: string): boolean;
  /** May act on something in the instance. */
  reaches(action: string, instanceId: string): boolean;
}

export const POLICY_CHARS_MAX = 6_144;
const RESOURCE_CHARS_MAX = 1_024;
const WILDCARD_FILTER_CHARS_MAX = 1_024;
const REMEMBERED_MAX = 512;

const ACTION = /^(?:\*|[A-Za-z]{1,32}:[A-Za-z0-9*_-]{1,128})$/;
const LONG_RESOURCE = /^acs:(?:mq|\*):[a-z0-9*-]*:[A-Za-z0-9*._-]*:(.+)$/;
// Wildcards of MQTT and control characters are in no topic's name.
const RESOURCE = /^([A-Za-z0-9_*-]{1,64})(?:\/([^+#\p{Cc}]+))?$/u;

/** Reads a policy; throws a `Fault` that names what cannot be understood. */
export function parsePolicy(text: string): PolicyDocument {
  if (text.length > POLICY_CHARS_MAX) {
    throw refused(`a policy has at most ${POLICY_CHARS_MAX} characters`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Fault('invalidParameter', 'a policy is JSON, and this is not', { cause });
  }
  const fields = fieldsOf(value, 'the policy', ['Version', 'Statement']);
  if (fields['Version'] !== '1') throw refused('Version is "1"');
  const list = Array.isArray(fields['Statement']) ? fields['Statement'] : [fields['Statement']];
  if (list.length === 0) throw refused('Statement is empty');
  return { statements: list.map((one: unknown, index) => parseStatement(one, index)) };
}

function parseStatement(value: unknown, index: number): Statement {
  const name = `Statement ${index + 1}`;
  const fields = fieldsOf(value, name, ['Effect', 'Action', 'Resource', 'Sid']);
  const effect = fields['Effect'];
  if (effect !== 'Allow' && effect !== 'Deny') throw refused(`${name}: Effect is Allow or Deny`);
  const actions = textsOf(fields['Action'], `${name}: Action`);
  for (const action of actions) {
    if (!ACTION.test(action)) throw refused(`${name}: '${shown(action)}' is no action`);
  }
  return {
    allow: effect === 'Allow',
    actions: actions.map((action) => action.toLowerCase()),
    except: [],
    resources: textsOf(fields['Resource'], `${name}: Resource`).map((text) => {
      const resource = parseResource(text);
      if (resource === undefined) throw refused(`${name}: '${shown(text)}' is no resource`);
      return resource;
    }),
  };
}

function parseResource(text: string): Resource | undefined {
  if (text.length > RESOURCE_CHARS_MAX) return undefined;
  const match = RESOURCE.exec(LONG_RESOURCE.exec(text)?.[1] ?? text);
  if (match === null) return undefined;
  const instance = match[1]!;
  if (match[2] !== undefined) return { instance, itself: false, within: match[2] };
  return { instance, itself: true, within: instance.endsWith('*') ? '*' : undefined };
}

/** What is not understood is refused: a condition that is ignored allows too much. */
function fieldsOf(
  value: unknown,
  name: string,
  known: readonly string[],
): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refused(`${name} is an object`);
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw refused(`${name}: '${shown(key)}' is not supported`);
  }
  return { ...value };
}

function textsOf(value: unknown, name: string): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw refused(`${name} is empty`);
  return list.map((one) => {
    if (typeof one !== 'string') throw refused(`${name} is a text or a list of texts`);
    return one;
  });
}

function refused(detail: string): Fault {
  return new Fault('invalidParameter', detail);
}

function shown(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

const EVERYWHERE: readonly Resource[] = [{ instance: '*', itself: true, within: '*' }];
/** Accounts belong to the main account; others need a policy that says so. */
const ON_ACCOUNTS: readonly string[] = ['mq:*account*', 'mq:*accesskey*', 'mq:*policy'];
/** Reading them is knowing a secret. */
const ON_SECRETS: readonly string[] = ['mq:getdevicecredential', 'mq:querycustomauthidentity'];

function builtIn(actions: readonly string[], except: readonly string[] = []): PolicyDocument {
  return { statements: [{ allow: true, actions, except, resources: EVERYWHERE }] };
}

/** Policies known by name; the names are the product's. */
export const BUILT_IN_POLICIES: ReadonlyMap<string, PolicyDocument> = new Map([
  ['AliyunMQFullAccess', builtIn(['mq:*'], ON_ACCOUNTS)],
  ['AliyunMQPubOnlyAccess', builtIn(['mq:pub', 'mq:sendmessage'])],
  ['AliyunMQSubOnlyAccess', builtIn(['mq:sub'])],
  [
    'AliyunMQReadOnlyAccess',
    builtIn(
      ['mq:get*', 'mq:list*', 'mq:query*', 'mq:batchquery*'],
      [...ON_ACCOUNTS, ...ON_SECRETS],
    ),
  ],
]);

/** What the main account has. */
export const ANYTHING: PolicyDocument = builtIn(['*']);

/** What the statements say of one action in one instance. */
interface Rules {
  readonly itself: boolean;
  readonly everything: boolean;
  readonly allowed: Patterns;
  readonly denied: Patterns;
}

/** Names are looked up; patterns, of which there are few, are tried. */
interface Patterns {
  readonly names: ReadonlySet<string>;
  readonly patterns: readonly string[];
}

/** Puts documents to work. Answers come from memory, at once. */
export function createPolicy(documents: readonly PolicyDocument[]): Policy {
  const statements = documents.flatMap((document) => document.statements);
  const remembered = new Map<string, Rules>();
  const rulesOf = (action: string, instanceId: string): Rules => {
    const key = `${action} ${instanceId}`;
    let rules = remembered.get(key);
    if (rules === undefined) {
      rules = selectRules(statements, action.toLowerCase(), instanceId);
      if (remembered.size >= REMEMBERED_MAX) remembered.clear();
      remembered.set(key, rules);
    }
    return rules;
  };
  return {
    may(action, instanceId, resource) {
      const rules = rulesOf(action, instanceId ?? '');
      if (resource === undefined) return rules.itself;
      if (rules.everything) return true;
      return holds(rules.allowed, resource) && !holds(rules.denied, resource);
    },
    mayAll(action, instanceId, filter) {
      const rules = rulesOf(action, instanceId);
      return rules.everything || coversFilter(rules, filter);
    },
    reaches(action, instanceId) {
      const { allowed, denied } = rulesOf(action, instanceId);
      return allowed.names.size + allowed.patterns.length > 0 && !denied.patterns.includes('*');
    },
  };
}

function selectRules(statements: readonly Statement[], action: string, instanceId: string): Rules {
  let allowedItself = false;
  let deniedItself = false;
  const allowed: string[] = [];
  const denied: string[] = [];
  for (const { allow, actions, except, resources } of statements) {
    if (!actions.some((pattern) => matches(pattern, action))) continue;
    if (except.some((pattern) => matches(pattern, action))) continue;
    for (const { instance, itself, within } of resources) {
      if (!matches(instance, instanceId)) continue;
      if (within !== undefined) (allow ? allowed : denied).push(within);
      if (itself && allow) allowedItself = true;
      if (itself && !allow) deniedItself = true;
    }
  }
  return {
    itself: allowedItself && !deniedItself,
    everything: allowed.includes('*') && denied.length === 0,
    allowed: sort(allowed),
    denied: sort(denied),
  };
}

function sort(resources: readonly string[]): Patterns {
  return {
    names: new Set(resources.filter((resource) => !resource.includes('*'))),
    patterns: [...new Set(resources.filter((resource) => resource.includes('*')))],
  };
}

function holds({ names, patterns }: Patterns, resource: string): boolean {
  return names.has(resource) || patterns.some((pattern) => matches(pattern, resource));
}

function coversFilter({ allowed, denied }: Rules, filter: string): boolean {
  if (!filter.includes('+') && !filter.includes('#')) {
    return holds(allowed, filter) && !holds(denied, filter);
  }
  if (filter.length > WILDCARD_FILTER_CHARS_MAX) return false; // the work grows with its length
  return unitsOfFilter(filter).every((units) => {
    if (!allowed.patterns.some((pattern) => covers(pattern, units))) {
      // `a/#` is also the one topic `a`.
      if (!allowed.names.has(nameOf(units))) return false;
    }
    for (const name of denied.names) if (overlaps(name, units)) return false;
    return !denied.patterns.some((pattern) => overlaps(pattern, units));
  });
}

/** The only text of a set without wildcards; of another one, a text that no name equals. */
function nameOf(units: readonly number[]): string {
  return units.some((unit) => unit < 0) ? '' : String.fromCharCode(...units);
}
