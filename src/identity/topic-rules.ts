/**
 * What a caller may publish and subscribe, compiled: a trie by topic level.
 *
 * Every node knows what the rules that end there say, so a question about one topic among ten
 * thousand rules is a walk of as many steps as the topic has levels (more where rules use `+`).
 *
 * @hot
 */
import type { Permissions } from './authenticator.ts';

export { matchesFilter as topicMatches } from '#ports';

/** Filters must be valid (`isTopicFilter`); a rule with another one never speaks. */
export interface TopicRule {
  readonly effect: 'allow' | 'deny';
  readonly publish: boolean;
  readonly subscribe: boolean;
  readonly filter: string;
}

/** Bits of an answer: some rule allows, some rule denies. */
export const ALLOWED = 1;
export const DENIED = 2;

const PUBLISH_SHIFT = 0;
const SUBSCRIBE_SHIFT = 2;
const BOTH_BITS = ALLOWED | DENIED;
const ALLOWED_SUBSCRIBE = ALLOWED << SUBSCRIBE_SHIFT;
const DENIED_SUBSCRIBE = DENIED << SUBSCRIBE_SHIFT;
const DOLLAR = 0x24;

class RuleNode {
  children: Map<string, RuleNode> | undefined = undefined;
  plus: RuleNode | undefined = undefined;
  /** Of rules that end here. */
  endBits = 0;
  /** Of rules that end in `#` below here: they match this level as well. */
  hashBits = 0;
  /** Of all rules here and below. */
  subtreeBits = 0;
}

/** DENY wins over ALLOW; what no rule speaks of is not allowed. */
export class TopicRules implements Permissions {
  readonly version: number;
  readonly #root = new RuleNode();

  constructor(rules: readonly TopicRule[], version = 0) {
    this.version = version;
    for (let i = 0; i < rules.length; i++) add(this.#root, rules[i]!);
  }

  mayPublish(topic: string): boolean {
    return this.publishBits(topic) === ALLOWED;
  }

  /** An ALLOW rule covers the whole filter, and no DENY rule reaches into it. */
  maySubscribe(filter: string): boolean {
    return this.subscribeBits(filter) === ALLOWED;
  }

  /** `ALLOWED` and `DENIED` of all rules that match; to be joined with those of other rules. */
  publishBits(topic: string): number {
    const bits = matchBits(this.#root, topic, 0, topic.charCodeAt(0) === DOLLAR);
    return (bits >> PUBLISH_SHIFT) & BOTH_BITS;
  }

  /** `ALLOWED` where a rule covers the filter, `DENIED` where one overlaps it. */
  subscribeBits(filter: string): number {
    const levels = filter.split('/');
    const denied = overlaps(this.#root, levels, 0) ? DENIED : 0;
    return denied | (covers(this.#root, levels, 0) ? ALLOWED : 0);
  }
}

/** True where every topic that `inner` matches is matched by `outer`. */
export function filterCovers(outer: string, inner: string): boolean {
  const root = new RuleNode();
  add(root, { effect: 'allow', publish: false, subscribe: true, filter: outer });
  return covers(root, inner.split('/'), 0);
}

/** True where some topic is matched by both. */
export function filtersOverlap(a: string, b: string): boolean {
  const root = new RuleNode();
  add(root, { effect: 'deny', publish: false, subscribe: true, filter: a });
  return overlaps(root, b.split('/'), 0);
}

/** True for a topic filter as the standard wants it: wildcards stand alone, `#` last. */
export function isTopicFilter(text: string): boolean {
  if (text.length === 0 || text.includes('\0') || Buffer.byteLength(text) > 0xffff) return false;
  const levels = text.split('/');
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i]!;
    if (level.includes('#') && (level !== '#' || i !== levels.length - 1)) return false;
    if (level.includes('+') && level !== '+') return false;
  }
  return true;
}

function add(root: RuleNode, rule: TopicRule): void {
  const effect = rule.effect === 'deny' ? DENIED : ALLOWED;
  const bits =
    (rule.publish ? effect << PUBLISH_SHIFT : 0) | (rule.subscribe ? effect << SUBSCRIBE_SHIFT : 0);
  if (!isTopicFilter(rule.filter)) return;
  const levels = rule.filter.split('/');
  let node = root;
  node.subtreeBits |= bits;
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i]!;
    if (level === '#') {
      node.hashBits |= bits;
      return;
    }
    node = level === '+' ? (node.plus ??= new RuleNode()) : childOf(node, level);
    node.subtreeBits |= bits;
  }
  node.endBits |= bits;
}

function childOf(node: RuleNode, level: string): RuleNode {
  node.children ??= new Map();
  let child = node.children.get(level);
  if (child === undefined) {
    child = new RuleNode();
    node.children.set(level, child);
  }
  return child;
}

/** The bits of all rules that match the topic, whose level at `start` is the next to look at. */
function matchBits(from: RuleNode, topic: string, start: number, reserved: boolean): number {
  let node = from;
  let bits = 0;
  let at = start;
  while (at <= topic.length) {
    // [MQTT-4.7.2-1] a leading wildcard does not match a topic that begins with `$`.
    const wild = at > 0 || !reserved;
    if (wild) bits |= node.hashBits;
    const slash = topic.indexOf('/', at);
    const stop = slash < 0 ? topic.length : slash;
    const child = node.children?.get(topic.slice(at, stop));
    const plus = wild ? node.plus : undefined;
    at = stop + 1;
    if (child !== undefined && plus !== undefined) {
      bits |= matchBits(plus, topic, at, false);
      node = child;
    } else {
      const next = child ?? plus;
      if (next === undefined) return bits;
      node = next;
    }
  }
  return bits | node.endBits | node.hashBits;
}

/** True where one rule that allows to subscribe matches all that the filter matches. */
function covers(node: RuleNode, levels: readonly string[], index: number): boolean {
  if ((node.subtreeBits & ALLOWED_SUBSCRIBE) === 0) return false;
  if (index === levels.length) {
    return ((node.endBits | node.hashBits) & ALLOWED_SUBSCRIBE) !== 0;
  }
  const level = levels[index]!;
  const wild = index > 0 || level.charCodeAt(0) !== DOLLAR;
  if (wild && (node.hashBits & ALLOWED_SUBSCRIBE) !== 0) return true;
  if (level === '#') {
    // A topic has one level at least, so `+/#` matches all that `#` does.
    return index === 0 && node.plus !== undefined && (node.plus.hashBits & ALLOWED_SUBSCRIBE) !== 0;
  }
  if (wild && node.plus !== undefined && covers(node.plus, levels, index + 1)) return true;
  if (level === '+') return false;
  const child = node.children?.get(level);
  return child !== undefined && covers(child, levels, index + 1);
}

/** True where a rule that denies to subscribe matches some topic that the filter matches. */
function overlaps(node: RuleNode, levels: readonly string[], index: number): boolean {
  if ((node.subtreeBits & DENIED_SUBSCRIBE) === 0) return false;
  if (index === levels.length) {
    return ((node.endBits | node.hashBits) & DENIED_SUBSCRIBE) !== 0;
  }
  const level = levels[index]!;
  const wild = index > 0 || level.charCodeAt(0) !== DOLLAR;
  if (wild && (node.hashBits & DENIED_SUBSCRIBE) !== 0) return true;
  if (level === '#' && index > 0) return true; // whatever denies here or below is within
  const plus = wild ? node.plus : undefined;
  if (level !== '+' && level !== '#') {
    if (plus !== undefined && overlaps(plus, levels, index + 1)) return true;
    const child = node.children?.get(level);
    return child !== undefined && overlaps(child, levels, index + 1);
  }
  // At the first level `#` reaches into each child as `+/#` does.
  const next = level === '#' ? index : index + 1;
  if (plus !== undefined && reaches(plus, levels, next, level)) return true;
  if (node.children === undefined) return false;
  for (const [name, child] of node.children) {
    if (index === 0 && name.charCodeAt(0) === DOLLAR) continue;
    if (reaches(child, levels, next, level)) return true;
  }
  return false;
}

function reaches(node: RuleNode, levels: readonly string[], next: number, level: string): boolean {
  if (level === '#') return (node.subtreeBits & DENIED_SUBSCRIBE) !== 0;
  return overlaps(node, levels, next);
}
