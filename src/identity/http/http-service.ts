/**
 * One customer's HTTP service, as the broker calls it: behind a queue, a breaker and a deadline,
 * so that a service that is slow or down costs its own instance a quick refusal and others
 * nothing.
 */
import type { Clock } from '#base';
import type { SealedText } from '../auth-settings.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import { DeadlineQueue } from './deadline-queue.ts';
import { ANSWER_BYTES_MAX, decisionOf, type HttpDecision } from './http-answer.ts';
import { createHttpClient } from './http-client.ts';
import type { HttpSettings } from './http-settings.ts';
import type { RuleOwner } from '../permission-rules.ts';

/** `busy`: too many wait already. */
export type ServiceAnswer = HttpDecision | { readonly outcome: 'busy'; readonly detail: string };

export interface HttpService {
  readonly settings: HttpSettings;
  /** Never rejects. */
  ask(body: Buffer, owner: RuleOwner): Promise<ServiceAnswer>;
  close(): void;
}

export interface HttpServiceOptions {
  readonly clock: Clock;
  readonly settings: HttpSettings;
  open(secret: SealedText): string;
}

/** For each call under way so many may wait. */
const WAITING_PER_CALL = 8;

const OPEN: ServiceAnswer = { outcome: 'failed', detail: 'the HTTP service is down' };
const BUSY: ServiceAnswer = { outcome: 'busy', detail: 'too many wait for the HTTP service' };
const LATE: ServiceAnswer = { outcome: 'failed', detail: 'the HTTP service is too slow' };

export function createHttpService(options: HttpServiceOptions): HttpService {
  const { clock, settings, open } = options;
  const { concurrencyMax, timeoutMs } = settings;
  const client = createHttpClient({ clock, socketCountMax: concurrencyMax, ca: settings.ca });
  const queue = new DeadlineQueue({
    clock,
    runningMax: concurrencyMax,
    waitingMax: concurrencyMax * WAITING_PER_CALL,
  });
  const breaker = new CircuitBreaker({
    clock,
    failureCountMax: settings.breakerFailureCountMax,
    openMs: settings.breakerOpenMs,
  });
  const headers: Record<string, string> = { accept: 'application/json' };
  for (const [name, value] of Object.entries(settings.headers)) {
    headers[name] = typeof value === 'string' ? value : open(value);
  }
  headers['content-type'] = 'application/json';

  const call = async (body: Buffer, owner: RuleOwner, leftMs: number): Promise<ServiceAnswer> => {
    const passage = breaker.enter();
    if (passage === undefined) return OPEN;
    let works = false;
    try {
      const reply = await client.ask({
        method: 'POST',
        url: settings.url,
        headers,
        body,
        answerBytesMax: ANSWER_BYTES_MAX,
        timeoutMs: leftMs,
      });
      const decision = decisionOf(reply, owner);
      // An answer that makes no sense may be one client's doing: it must not shut out the others.
      works = decision.outcome !== 'failed';
      return decision;
    } finally {
      passage.ended(works);
    }
  };

  return {
    settings,
    async ask(body, owner) {
      if (breaker.open) return OPEN;
      const deadlineMs = clock.monotonicMs() + timeoutMs;
      const turn = await queue.enter(timeoutMs);
      if (turn !== 'go') return turn === 'full' ? BUSY : LATE;
      try {
        const leftMs = deadlineMs - clock.monotonicMs();
        return leftMs <= 0 ? LATE : await call(body, owner, leftMs);
      } finally {
        queue.leave();
      }
    },
    close: () => client.close(),
  };
}
