/**
 * Permission rules as others write them: `{effect, action, topic}`, with the names EMQX uses too.
 *
 * A rule that cannot be understood in full makes the whole list worthless: leaving out a DENY, or
 * a condition of an ALLOW, would give more than was meant.
 */
import { Fault } from '#base';
import { isTopicFilter, type TopicRule } from './topic-rules.ts';

/** Whose rules they are: fills `${clientid}` and `${username}` in topics. */
export interface RuleOwner {
  readonly clientId: string;
  readonly userName: string | undefined;
}

/** Throws `invalidParameter`. */
export function parseRules(value: unknown, countMax: number, owner?: RuleOwner): TopicRule[] {
  if (!Array.isArray(value)) throw bad('rules are not a list');
  if (value.length > countMax) throw bad(`there are more than ${countMax} rules`);
  return value.flatMap((rule: unknown) => parseRule(rule, owner));
}

/** `{pub: [...], sub: [...], all: [...]}`: what is allowed. Throws `invalidParameter`. */
export function parseAllowed(value: object, countMax: number, owner?: RuleOwner): TopicRule[] {
  const rules: TopicRule[] = [];
  for (const [action, topics] of Object.entries(value)) {
    const list: readonly unknown[] = Array.isArray(topics) ? topics : [topics];
    if (rules.length + list.length > countMax) throw bad(`there are more than ${countMax} rules`);
    for (const topic of list) rules.push(...parseRule({ effect: 'allow', action, topic }, owner));
  }
  return rules;
}

function parseRule(value: unknown, owner: RuleOwner | undefined): TopicRule[] {
  if (!isRecord(value)) throw bad('a rule is not an object');
  const effect = word(value['effect'] ?? value['permission']);
  if (effect !== 'allow' && effect !== 'deny') throw bad('a rule neither allows nor denies');
  if (narrows(value['qos'], [0, 1, 2]) || narrows(value['retain'], [true, false, 'all'])) {
    throw bad('rules about QoS or retain are not supported');
  }
  const actions: readonly unknown[] = Array.isArray(value['action'])
    ? value['action']
    : [value['action'] ?? 'all'];
  let publish = false;
  let subscribe = false;
  for (const action of actions) {
    const meaning = ACTIONS[word(action)];
    if (meaning === undefined) throw bad('a rule has an unknown action');
    publish ||= meaning.publish;
    subscribe ||= meaning.subscribe;
  }
  const topics: readonly unknown[] = Array.isArray(value['topic'])
    ? value['topic']
    : [value['topic']];
  return topics.map((topic) => ({ effect, publish, subscribe, filter: filterOf(topic, owner) }));
}

const PUBLISH = { publish: true, subscribe: false };
const SUBSCRIBE = { publish: false, subscribe: true };
const BOTH = { publish: true, subscribe: true };

const ACTIONS: Readonly<Record<string, typeof BOTH>> = {
  __proto__: null as never,
  publish: PUBLISH,
  pub: PUBLISH,
  subscribe: SUBSCRIBE,
  sub: SUBSCRIBE,
  all: BOTH,
  pubsub: BOTH,
  pub_sub: BOTH,
};

function filterOf(topic: unknown, owner: RuleOwner | undefined): string {
  if (typeof topic !== 'string') throw bad('a rule has no topic');
  const filter = owner === undefined ? topic : fill(topic, owner);
  if (!isTopicFilter(filter)) throw bad('a rule has a topic that is not valid');
  return filter;
}

function fill(topic: string, owner: RuleOwner): string {
  return topic.replace(/\$\{(clientid|clientId|username|userName)\}/g, (_, name: string) => {
    const value = name.startsWith('client') ? owner.clientId : (owner.userName ?? '');
    // The client chooses these texts: they must not reach beyond the level they stand in.
    if (value === '' || /[+#/\0]/.test(value)) throw bad('a name does not fit into a topic');
    return value;
  });
}

/** True where only some of `all` are meant. */
function narrows(value: unknown, all: readonly unknown[]): boolean {
  if (value === undefined || value === 'all') return false;
  return !(Array.isArray(value) && all.every((each) => each === 'all' || value.includes(each)));
}

function word(value: unknown): string {
  return typeof value === 'string' ? value.toLowerCase() : '';
}

/** True for an object that is not a list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bad(detail: string): Fault {
  return new Fault('invalidParameter', detail);
}
