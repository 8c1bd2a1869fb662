/**
 * A decision that ends, for as long as its client is connected.
 *
 * It is asked for again a little before its end, at a moment of chance so that many that end
 * together are not asked for together. A service that gives no answer is asked until the end.
 */
import { type Clock, type Random, Timer, type TimerWheel } from '#base';
import type { LiveClient, Permissions } from '../authenticator.ts';
import type { ServiceAnswer } from './http-service.ts';
import { type TopicRule, TopicRules } from '../topic-rules.ts';

export interface HeldDecisionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly wheel: TimerWheel;
  /** `undefined`: everything is allowed. */
  readonly rules: readonly TopicRule[] | undefined;
  readonly expireAtMs: number;
  /** Asks the service again; never rejects. */
  ask(): Promise<ServiceAnswer>;
  failOpen(): boolean;
}

const AHEAD_MS_MAX = 30_000;
const RETRY_MS = 5_000;
/** The wall clock may be set: look at it this often at least. */
const LOOK_MS = 300_000;

export class HeldDecision extends Timer implements Permissions {
  version = 1;
  readonly #options: HeldDecisionOptions;
  #rules: TopicRules | undefined;
  #expireAtMs: number;
  /** `Infinity`: never again. */
  #askAtMs = 0;
  #client: LiveClient | undefined = undefined;

  constructor(options: HeldDecisionOptions) {
    super();
    this.#options = options;
    this.#rules = options.rules === undefined ? undefined : new TopicRules(options.rules);
    this.#expireAtMs = options.expireAtMs;
  }

  mayPublish(topic: string): boolean {
    return this.#rules === undefined || this.#rules.mayPublish(topic);
  }

  maySubscribe(filter: string): boolean {
    return this.#rules === undefined || this.#rules.maySubscribe(filter);
  }

  /** The client is connected; returns what to do when it no longer is. */
  begin(client: LiveClient): () => void {
    this.#client = client;
    this.#plan();
    return () => {
      this.#client = undefined;
      this.#options.wheel.cancel(this);
    };
  }

  override expired(): void {
    if (this.#options.clock.nowMs() < this.#askAtMs) {
      this.#wait();
      return;
    }
    void this.#options.ask().then((answer) => this.#answered(answer));
  }

  #plan(): void {
    const { clock, random } = this.#options;
    const leftMs = Math.max(0, this.#expireAtMs - clock.nowMs());
    const aheadMs = Math.floor(Math.min(AHEAD_MS_MAX, leftMs / 2));
    this.#askAtMs = this.#expireAtMs - aheadMs + random.below(Math.floor(aheadMs / 2) + 1);
    this.#wait();
  }

  #wait(): void {
    const { clock, wheel } = this.#options;
    const delayMs = Math.max(0, this.#askAtMs - clock.nowMs());
    if (Number.isFinite(delayMs)) wheel.schedule(this, Math.min(delayMs, LOOK_MS));
  }

  #answered(answer: ServiceAnswer): void {
    const client = this.#client;
    if (client === undefined) return;
    const nowMs = this.#options.clock.nowMs();
    switch (answer.outcome) {
      case 'allowed': {
        const { rules, expireAtMs = Number.POSITIVE_INFINITY } = answer;
        if (expireAtMs <= nowMs) client.disconnect('credentialRevoked');
        else {
          this.#rules = rules === undefined ? undefined : new TopicRules(rules);
          this.#expireAtMs = expireAtMs;
          this.version++;
          client.permissionsChanged();
          if (Number.isFinite(expireAtMs)) this.#plan();
        }
        break;
      }
      case 'denied':
      case 'ignored':
        client.disconnect('credentialRevoked');
        break;
      case 'failed':
      case 'busy':
      case 'wrong': {
        const stays = answer.outcome === 'failed' && this.#options.failOpen();
        if (nowMs >= this.#expireAtMs && !stays) client.disconnect('authServiceDown');
        else {
          const leftMs = this.#expireAtMs - nowMs;
          this.#askAtMs = nowMs + (leftMs > 0 ? Math.min(RETRY_MS, leftMs) : RETRY_MS);
          this.#wait();
        }
        break;
      }
      default:
        answer satisfies never;
    }
  }
}
