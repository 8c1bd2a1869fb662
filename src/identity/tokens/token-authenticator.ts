/**
 * Token mode: `Token|<AccessKeyId>|<InstanceId>`, and up to three tokens as the password.
 *
 * A caller may do what its tokens cover, no more; a token uploaded later takes the place of the
 * one of its type. One bad token among good ones spoils the login.
 */
import type { FaultCode } from '#base';
import type { Instance } from '#instances';
import type { Accounts } from '../accounts/accounts.ts';
import type {
  AuthenticationWay,
  Caller,
  ConnectRequest,
  LiveClient,
  Permissions,
  Refusal,
  Verdict,
} from '../authenticator.ts';
import { parseUserName } from '../user-name.ts';
import { TEMPORARY_PREFIX } from '../accounts/temporary-key.ts';
import {
  type LiveToken,
  TOKEN_NOTICE_CODES,
  TokenConnection,
  type TokenNoticeCode,
  type TokenNotices,
} from './token-notices.ts';
import { TOKEN_CHARS_MAX, type TokenType } from './tokens.ts';

const TYPES: readonly TokenType[] = ['R', 'W', 'RW'];
const PASSWORD_BYTES_MAX = TYPES.length * (TOKEN_CHARS_MAX + 4);
const UPLOAD_BYTES_MAX = TOKEN_CHARS_MAX + 256;

/** Who presents tokens, and which of them may be presented. */
interface Holder {
  readonly instance: Instance;
  readonly userName: string;
  readonly accessKeyId: string;
  readonly clientId: string;
}

interface Presented {
  readonly type: TokenType;
  readonly text: string;
}

/** A refusal, and the number for it in a notice. */
interface Flaw {
  readonly refused: FaultCode;
  readonly detail?: string;
  readonly code: TokenNoticeCode;
}

/** `undefined` for user names of other modes. Answers at once. */
export function createTokenWay(options: {
  readonly notices: TokenNotices;
  readonly accounts: Accounts;
}): AuthenticationWay {
  const checks = new TokenChecks(options.notices, options.accounts);
  return {
    authenticate(request) {
      const { userName } = request;
      if (userName === undefined || !userName.startsWith('Token|')) return undefined;
      const name = parseUserName(userName);
      if (name === undefined) return { refused: 'userNameMalformed' };
      if (name.instanceId !== request.instance.id) return { refused: 'instanceMismatch' };
      return checks.login(request, {
        instance: request.instance,
        userName,
        accessKeyId: name.keyId,
        clientId: request.clientId,
      });
    },
  };
}

/** The password's tokens; `undefined` where it does not follow the grammar. */
export function parseTokenPassword(password: Uint8Array): readonly Presented[] | undefined {
  if (password.length > PASSWORD_BYTES_MAX) return undefined;
  // Tokens and types are ASCII; any other byte makes a token that is none of ours.
  const parts = Buffer.from(password)
    .toString('latin1')
    .split('|', TYPES.length * 2 + 1);
  if (parts.length % 2 !== 0) return undefined;
  const presented: Presented[] = [];
  for (let i = 0; i < parts.length; i += 2) {
    const type = parts[i]!;
    const text = parts[i + 1]!;
    if (!isTokenType(type) || text === '') return undefined;
    if (presented.some((other) => other.type === type)) return undefined;
    presented.push({ type, text });
  }
  return presented;
}

class TokenChecks {
  readonly notices: TokenNotices;
  readonly #accounts: Accounts;

  constructor(notices: TokenNotices, accounts: Accounts) {
    this.notices = notices;
    this.#accounts = accounts;
  }

  login(request: ConnectRequest, holder: Holder): Verdict {
    const presented = request.password && parseTokenPassword(request.password);
    if (presented === undefined) return { refused: 'passwordMalformed' };
    const tokens: LiveToken[] = [];
    for (const one of presented) {
      const token = this.check(holder, one);
      if ('refused' in token) return refusal(token);
      tokens.push(token);
    }
    return new TokenCaller(this, holder, tokens);
  }

  check(holder: Holder, { type, text }: Presented): LiveToken | Flaw {
    const token = this.notices.tokens.read(holder.instance.id, text);
    if (typeof token === 'string') return { refused: token, code: FLAW_CODES[token] };
    if (token.issuedMs < holder.instance.createdMs) {
      // Of a former instance of the same name, whose revocations are gone with it.
      return { refused: 'tokenForged', code: TOKEN_NOTICE_CODES.forged };
    }
    if (token.type !== type) {
      return {
        refused: 'tokenMismatch',
        detail: `a token of type ${token.type} is not one of type ${type}`,
        code: TOKEN_NOTICE_CODES.typeMismatch,
      };
    }
    if (token.accessKeyId !== holder.accessKeyId) {
      return {
        refused: 'tokenMismatch',
        detail: 'token is of another access key',
        code: TOKEN_NOTICE_CODES.account,
      };
    }
    if (token.clientId !== undefined && token.clientId !== holder.clientId) {
      return { refused: 'tokenMismatch', code: TOKEN_NOTICE_CODES.account };
    }
    // Asked last: whoever gets here has a token that we made.
    if (!this.keyIsActive(holder.accessKeyId)) {
      return { refused: 'accessKeyInactive', code: TOKEN_NOTICE_CODES.account };
    }
    return this.notices.ready(token);
  }

  /** Hears when the key is withdrawn. */
  watchKey(holder: Holder, withdrawn: () => void): () => void {
    return this.#accounts.watch(holder.accessKeyId, (change) => {
      if (change === 'withdrawn') withdrawn();
    });
  }

  keyIsActive(accessKeyId: string): boolean {
    // A temporary key is kept nowhere and ends before its tokens, which end by themselves as well.
    if (accessKeyId.startsWith(TEMPORARY_PREFIX)) return true;
    return this.#accounts.lookUp(accessKeyId, undefined)?.active === true;
  }
}

const FLAW_CODES = {
  tokenForged: TOKEN_NOTICE_CODES.forged,
  tokenExpired: TOKEN_NOTICE_CODES.expired,
  tokenRevoked: TOKEN_NOTICE_CODES.revoked,
} as const;

/** What a connection's tokens allow together. */
class TokenPermissions implements Permissions {
  readonly byType: Map<TokenType, LiveToken> = new Map();
  version = 0;

  constructor(tokens: readonly LiveToken[]) {
    for (const live of tokens) this.byType.set(live.token.type, live);
  }

  put(live: LiveToken): void {
    this.byType.set(live.token.type, live);
    this.version++;
  }

  mayPublish(topic: string): boolean {
    return this.#publishes('W', topic) || this.#publishes('RW', topic);
  }

  maySubscribe(filter: string): boolean {
    return this.#subscribes('R', filter) || this.#subscribes('RW', filter);
  }

  /** Whether a token of the other type covers what was refused. */
  otherTypeCovers(action: 'publish' | 'subscribe', topic: string): boolean {
    return action === 'publish' ? this.#publishes('R', topic) : this.#subscribes('W', topic);
  }

  #publishes(type: TokenType, topic: string): boolean {
    return this.byType.get(type)?.rules.mayPublish(topic) === true;
  }

  #subscribes(type: TokenType, filter: string): boolean {
    return this.byType.get(type)?.rules.maySubscribe(filter) === true;
  }
}

class TokenCaller implements Caller {
  readonly instance: Instance;
  readonly userName: string;
  readonly permissions: TokenPermissions;
  readonly #checks: TokenChecks;
  readonly #holder: Holder;
  #client: LiveClient | undefined = undefined;
  #connection: TokenConnection | undefined = undefined;

  constructor(checks: TokenChecks, holder: Holder, tokens: readonly LiveToken[]) {
    this.instance = holder.instance;
    this.userName = holder.userName;
    this.permissions = new TokenPermissions(tokens);
    this.#checks = checks;
    this.#holder = holder;
  }

  connected(client: LiveClient): () => void {
    const tokens = this.permissions.byType.values();
    const connection = new TokenConnection(this.#checks.notices, client, tokens);
    const withdrawn = (): void => {
      connection.dismiss(TOKEN_NOTICE_CODES.account, 'accessKeyInactive');
    };
    const stopWatching = this.#checks.watchKey(this.#holder, withdrawn);
    // It may have been withdrawn since the login.
    if (!this.#checks.keyIsActive(this.#holder.accessKeyId)) withdrawn();
    this.#client = client;
    this.#connection = connection;
    return () => {
      stopWatching();
      connection.end();
    };
  }

  upload(payload: Uint8Array): Refusal | undefined {
    const presented = parseUpload(payload);
    if (typeof presented === 'string') {
      this.#connection?.sayInvalid(TOKEN_NOTICE_CODES.forged, presented);
      return { refused: 'payloadFormatInvalid', detail: 'token upload not well formed' };
    }
    const token = this.#checks.check(this.#holder, presented);
    if ('refused' in token) {
      this.#connection?.sayInvalid(token.code, presented.type);
      return refusal(token);
    }
    this.permissions.put(token);
    this.#connection?.replace(token);
    this.#client?.permissionsChanged();
    return undefined;
  }

  refused(action: 'publish' | 'subscribe', topic: string): void {
    const [own, other]: [TokenType, TokenType] = action === 'publish' ? ['W', 'R'] : ['R', 'W'];
    if (this.permissions.otherTypeCovers(action, topic)) {
      this.#connection?.sayInvalid(TOKEN_NOTICE_CODES.typeMismatch, other);
      return;
    }
    const { byType } = this.permissions;
    const asked = byType.has(own) ? own : byType.has('RW') ? 'RW' : other;
    this.#connection?.sayInvalid(TOKEN_NOTICE_CODES.topicMismatch, asked);
  }
}

function refusal(flaw: Flaw): Refusal {
  return flaw.detail === undefined
    ? { refused: flaw.refused }
    : { refused: flaw.refused, detail: flaw.detail };
}

/** `{"token","type"}`; else the type as far as it could be read. */
function parseUpload(payload: Uint8Array): Presented | TokenType | '' {
  if (payload.length > UPLOAD_BYTES_MAX) return '';
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload).toString());
  } catch {
    return '';
  }
  if (typeof value !== 'object' || value === null) return '';
  const { token, type } = value as { token?: unknown; type?: unknown };
  if (!isTokenType(type)) return '';
  return typeof token === 'string' && token !== '' ? { type, text: token } : type;
}

function isTokenType(value: unknown): value is TokenType {
  return value === 'R' || value === 'W' || value === 'RW';
}
