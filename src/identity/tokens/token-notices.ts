/**
 * What happens to live connections as their tokens age: a notice some minutes before the end, and
 * the end itself, also where a token is revoked.
 *
 * One wheel turns for all connections, and connections with the same token share what was
 * compiled from it. Tokens end by the wall clock and the wheel turns by the other one, so a wait
 * is never longer than a minute at a time: a clock that was set is noticed by then.
 */
import { type Clock, type FaultCode, Timer, type TimerWheel } from '#base';
import type { LiveClient } from '../authenticator.ts';
import type { Token, Tokens, TokenType } from './tokens.ts';
import { TopicRules } from '../topic-rules.ts';

/** What clients are told in `$SYS/tokenInvalidNotice`; the numbers are the product's. */
export const TOKEN_NOTICE_CODES = {
  forged: 1,
  expired: 2,
  revoked: 3,
  topicMismatch: 4,
  typeMismatch: 5,
  account: -1,
} as const;

export type TokenNoticeCode = (typeof TOKEN_NOTICE_CODES)[keyof typeof TOKEN_NOTICE_CODES];

/** So long before its end a client hears of it. */
export const EXPIRY_NOTICE_MS = 300_000;

const WAIT_MS_MAX = 60_000;
const EXPIRE_TOPIC = '$SYS/tokenExpireNotice';
const INVALID_TOPIC = '$SYS/tokenInvalidNotice';

/** A token in use, and its filters compiled; one object for all connections that use it. */
export class LiveToken {
  readonly token: Token;
  /** Whether the token's filters reach a topic at all; its type says for what. */
  readonly rules: TopicRules;
  /** @internal */ readonly users: Set<TokenConnection> = new Set();

  constructor(token: Token) {
    this.token = token;
    this.rules = new TopicRules(
      token.filters.map((filter) => ({ effect: 'allow', publish: true, subscribe: true, filter })),
    );
  }
}

/** The live connections and the tokens they use. */
export class TokenNotices {
  /** @internal */ readonly tokens: Tokens;
  /** @internal */ readonly clock: Clock;
  /** @internal */ readonly wheel: TimerWheel;
  readonly #live = new Map<string, LiveToken>();

  /** Listens for as long as the tokens are open. */
  constructor(options: {
    readonly tokens: Tokens;
    readonly clock: Clock;
    readonly wheel: TimerWheel;
  }) {
    this.tokens = options.tokens;
    this.clock = options.clock;
    this.wheel = options.wheel;
    options.tokens.onRevoked((key) => {
      const live = this.#live.get(key);
      if (live === undefined) return;
      for (const user of live.users) {
        user.dismiss(TOKEN_NOTICE_CODES.revoked, 'tokenRevoked', live.token);
      }
    });
  }

  /** How many tokens are in use by live connections. */
  get tokenCount(): number {
    return this.#live.size;
  }

  /** The token ready for use: shared where a connection uses it already. */
  ready(token: Token): LiveToken {
    return this.#live.get(token.key) ?? new LiveToken(token);
  }

  /** @internal */
  take(offered: LiveToken, user: TokenConnection): LiveToken {
    const key = offered.token.key;
    let live = this.#live.get(key);
    if (live === undefined) {
      live = offered;
      this.#live.set(key, live);
    }
    live.users.add(user);
    return live;
  }

  /** @internal */
  leave(live: LiveToken, user: TokenConnection): void {
    live.users.delete(user);
    if (live.users.size === 0) this.#live.delete(live.token.key);
  }
}

interface Held {
  readonly live: LiveToken;
  noticed: boolean;
}

/** One live connection: at most one token of each type, and the time of the next thing to do. */
export class TokenConnection extends Timer {
  readonly #notices: TokenNotices;
  readonly #client: LiveClient;
  readonly #held: Held[] = [];
  #ended = false;

  constructor(notices: TokenNotices, client: LiveClient, tokens: Iterable<LiveToken>) {
    super();
    this.#notices = notices;
    this.#client = client;
    for (const live of tokens) this.#held.push({ live: notices.take(live, this), noticed: false });
    // The first look is the wheel's: whatever it has to say comes after CONNACK.
    notices.wheel.schedule(this, 0);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** A token takes the place of the one of its type. */
  replace(live: LiveToken): void {
    if (this.#ended) return;
    const index = this.#held.findIndex((held) => held.live.token.type === live.token.type);
    // Taken before the other is left: they may be the same.
    const taken = { live: this.#notices.take(live, this), noticed: false };
    const before = index < 0 ? undefined : this.#held.splice(index, 1, taken)[0];
    if (before === undefined) this.#held.push(taken);
    else if (before.live !== taken.live) this.#notices.leave(before.live, this);
    this.#notices.wheel.schedule(this, 0);
  }

  /** Says what is wrong with a token; the end of the connection is another's business. */
  sayInvalid(code: TokenNoticeCode, type: TokenType | ''): void {
    if (!this.#ended) this.#client.notify(INVALID_TOPIC, JSON.stringify({ code, type }));
  }

  /** Ends the connection and says why; `token`: for the sake of that one. */
  dismiss(code: TokenNoticeCode, fault: FaultCode, token?: Token): void {
    if (this.#ended) return;
    const type = token?.type ?? this.#held[0]?.live.token.type ?? '';
    this.sayInvalid(code, type);
    this.end();
    this.#client.disconnect(fault);
  }

  override expired(): void {
    const nowMs = this.#notices.clock.nowMs();
    let nextMs = Infinity;
    for (const held of this.#held) {
      const { token } = held.live;
      if (this.#notices.tokens.isRevoked(token.key)) {
        this.dismiss(TOKEN_NOTICE_CODES.revoked, 'tokenRevoked', token);
        return;
      }
      if (token.expireMs <= nowMs) {
        this.dismiss(TOKEN_NOTICE_CODES.expired, 'tokenExpired', token);
        return;
      }
      if (!held.noticed && token.expireMs - EXPIRY_NOTICE_MS <= nowMs) {
        held.noticed = true;
        const notice = JSON.stringify({ expireTime: token.expireMs, type: token.type });
        this.#client.notify(EXPIRE_TOPIC, notice);
      }
      nextMs = Math.min(nextMs, held.noticed ? token.expireMs : token.expireMs - EXPIRY_NOTICE_MS);
    }
    // A notice may have been one too many for its outbox.
    if (!this.#ended) this.#notices.wheel.schedule(this, Math.min(nextMs - nowMs, WAIT_MS_MAX));
  }

  /** The connection is over: nothing more is said. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#notices.wheel.cancel(this);
    for (const held of this.#held) this.#notices.leave(held.live, this);
    this.#held.length = 0;
  }
}
