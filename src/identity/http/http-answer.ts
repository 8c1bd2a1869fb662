/**
 * What the customer's HTTP service said about a client: `{result, expireAt, acl}`.
 *
 * EMQX's spellings are taken as well (`expire_at`, `permission`, `ignore`); fields that mean
 * nothing here (`is_superuser`, `client_attrs`) are passed over. DENY wins over ALLOW, whatever the
 * order.
 */
import { Fault } from '#base';
import type { HttpReply } from './http-client.ts';
import { isRecord, parseRules, type RuleOwner } from '../permission-rules.ts';
import type { TopicRule } from '../topic-rules.ts';

export const ANSWER_BYTES_MAX = 4096;
const RULE_COUNT_MAX = 10;
/** Above it a point in time is in milliseconds: as seconds it would be the year 5138. */
const SECONDS_MAX = 100_000_000_000;

/**
 * `ignored`: it has no opinion; `failed`: it does not work; `wrong`: it answered what cannot be
 * understood.
 */
export type HttpDecision =
  | { readonly outcome: 'allowed'; readonly expireAtMs: number | undefined; readonly rules: Rules }
  | { readonly outcome: 'denied' | 'ignored' | 'failed' | 'wrong'; readonly detail: string };

/** `undefined`: everything is allowed. */
type Rules = readonly TopicRule[] | undefined;

export function decisionOf(reply: HttpReply, owner: RuleOwner): HttpDecision {
  if ('failed' in reply) {
    if (reply.failed === 'oversize') return wrong('the HTTP service answered too much');
    return {
      outcome: 'failed',
      detail:
        reply.failed === 'late'
          ? 'the HTTP service did not answer in time'
          : 'the HTTP service cannot be reached',
    };
  }
  const { status, contentType, body } = reply;
  if (status !== 200) {
    const detail = `the HTTP service answered ${status}`;
    // What a 4xx says, it says about this client; the service itself works.
    const refused = status >= 400 && status < 500 && status !== 408 && status !== 429;
    return { outcome: refused ? 'denied' : 'failed', detail };
  }
  if (!/^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(contentType)) {
    return wrong('the HTTP service did not answer JSON');
  }
  try {
    return parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)), owner);
  } catch (error) {
    if (error instanceof Fault) return wrong(`of the HTTP service's answer: ${error.message}`);
    return wrong('the HTTP service answered malformed JSON');
  }
}

function parse(value: unknown, owner: RuleOwner): HttpDecision {
  if (!isRecord(value)) return wrong('the HTTP service answered no object');
  const { result } = value;
  switch (typeof result === 'string' ? result.toLowerCase() : '') {
    case 'deny':
      return { outcome: 'denied', detail: 'the HTTP service denied' };
    case 'ignore':
      return { outcome: 'ignored', detail: 'the HTTP service has no opinion' };
    case 'allow':
      break;
    default:
      return wrong('the HTTP service answered no known result');
  }
  const acl = value['acl'] ?? undefined;
  return {
    outcome: 'allowed',
    expireAtMs: pointInTime(value['expireAt'] ?? value['expire_at'] ?? undefined),
    rules: acl === undefined ? undefined : parseRules(acl, RULE_COUNT_MAX, owner),
  };
}

function pointInTime(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) {
    throw new Fault('invalidParameter', 'expireAt is no point in time');
  }
  return number > SECONDS_MAX ? number : number * 1000;
}

function wrong(detail: string): HttpDecision {
  return { outcome: 'wrong', detail };
}
