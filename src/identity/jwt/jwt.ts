/**
 * JWT authentication: a token some other service signed says who the client is, until when, and
 * what it may do. Nothing is asked for at connect, and the connection ends with the token.
 *
 * A password that does not look like a JWT is left to the other ways.
 */
import { Fault, type Clock, Timer, type TimerWheel } from '#base';
import type {
  AuthenticationWay,
  Caller,
  ConnectRequest,
  LiveClient,
  Permissions,
  Refusal,
  Verdict,
} from '../authenticator.ts';
import { openText, type SealedText } from '../auth-settings.ts';
import { createJwtKeyRing, type JwtKeyRing } from './jwt-keys.ts';
import { type JwtSettings, readJwtSettings } from './jwt-settings.ts';
import { PerInstance } from '../per-instance.ts';
import { isRecord, parseAllowed, parseRules, type RuleOwner } from '../permission-rules.ts';
import type { SecretBox } from '../secret-box.ts';
import { TopicRules } from '../topic-rules.ts';

export interface JwtWayOptions {
  readonly clock: Clock;
  /** For tokens that end. */
  readonly wheel: TimerWheel;
  /** Opens sealed secrets. */
  readonly box: SecretBox;
}

/** The way, for all instances that have settings for it. */
export interface JwtWay extends AuthenticationWay {
  close(): void;
}

interface Ring {
  readonly settings: JwtSettings;
  readonly keys: JwtKeyRing;
}

type Claims = Readonly<Record<string, unknown>>;

const RING_COUNT_MAX = 1_000;
const TOKEN_BYTES_MAX = 16_384;
const RULE_COUNT_MAX = 1_000;
const LOOKS_LIKE_JWT = /^[\w-]+\.[\w-]*\.[\w-]*$/;
/** The wall clock may be set: look at it this often at least. */
const LOOK_MS = 300_000;

export function createJwtWay(options: JwtWayOptions): JwtWay {
  const { clock, wheel, box } = options;
  const open = (secret: SealedText): string => openText(box, secret);
  const rings = new PerInstance<Ring>({
    field: 'jwt',
    countMax: RING_COUNT_MAX,
    make: (raw) => {
      const settings = readJwtSettings(raw);
      return { settings, keys: createJwtKeyRing({ clock, settings, open }) };
    },
  });

  const check = async (ring: Ring, token: string, request: ConnectRequest): Promise<Verdict> => {
    const verified = await ring.keys.verify(token);
    if (verified === 'down') {
      return { refused: 'authServiceDown', detail: 'the keys of JWTs cannot be fetched' };
    }
    if (verified === 'forged') return invalid('JWT is not signed with a key of ours');
    const claims = claimsOf(verified);
    if (claims === undefined) return invalid('JWT holds no claims');
    const { settings } = ring;
    const untimely = checkTime(claims, settings, clock.nowMs() / 1000);
    if (untimely !== undefined) return untimely;
    const wrong = checkParties(claims, settings) ?? checkBinding(claims, settings, request);
    return wrong ?? admit(claims, settings, request);
  };

  const admit = (claims: Claims, settings: JwtSettings, request: ConnectRequest): Verdict => {
    const { instance } = request;
    const userName = userNameOf(claims, settings, request);
    let permissions: Permissions | undefined;
    try {
      permissions = permissionsOf(claims[settings.aclClaim], {
        clientId: request.clientId,
        userName,
      });
    } catch (error) {
      if (!Fault.is(error, 'invalidParameter')) throw error;
      return invalid(`of the JWT's permissions: ${error.message}`);
    }
    const caller: Caller = { instance, userName, permissions };
    const { exp } = claims;
    if (typeof exp !== 'number') return caller;
    const endMs = (exp + settings.toleranceSeconds) * 1000;
    return { ...caller, connected: (client) => new JwtEnd(clock, wheel, endMs).begin(client) };
  };

  return {
    authenticate(request) {
      let ring: Ring | undefined;
      try {
        ring = rings.of(request.instance);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        return { refused: 'authServiceDown', detail: 'JWT authentication is not set up' };
      }
      if (ring === undefined) return undefined;
      const token = tokenOf(request, ring.settings);
      return token === undefined ? undefined : check(ring, token, request);
    },
    close() {
      for (const { keys } of rings.all()) keys.close();
    },
  };
}

function tokenOf(request: ConnectRequest, settings: JwtSettings): string | undefined {
  const { userName, password } = request;
  if (settings.from === 'password' && (password?.length ?? 0) > TOKEN_BYTES_MAX) return undefined;
  const token =
    settings.from === 'username' ? userName : password && Buffer.from(password).toString('latin1');
  if (token === undefined || token.length > TOKEN_BYTES_MAX) return undefined;
  return LOOKS_LIKE_JWT.test(token) ? token : undefined;
}

function claimsOf(payload: Uint8Array): Claims | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload).toString('utf8'));
    return isRecord(claims) ? claims : undefined;
  } catch {
    return undefined;
  }
}

function checkTime(claims: Claims, settings: JwtSettings, nowS: number): Refusal | undefined {
  const { exp, nbf } = claims;
  const { expiryRequired, toleranceSeconds } = settings;
  if (exp === undefined && expiryRequired) return invalid('JWT has no exp');
  if (exp !== undefined) {
    if (!isTime(exp)) return invalid('JWT has an exp that is no time');
    if (exp + toleranceSeconds <= nowS) return { refused: 'jwtExpired' };
  }
  if (nbf !== undefined) {
    if (!isTime(nbf)) return invalid('JWT has an nbf that is no time');
    if (nbf - toleranceSeconds > nowS) return invalid('JWT is not valid yet');
  }
  return undefined;
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function checkParties(claims: Claims, settings: JwtSettings): Refusal | undefined {
  const { iss, aud } = claims;
  const { issuers, audiences } = settings;
  if (issuers !== undefined && !(typeof iss === 'string' && issuers.includes(iss))) {
    return invalid('JWT of another issuer');
  }
  if (audiences === undefined) return undefined;
  const given: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  const meant = given.some((each) => typeof each === 'string' && audiences.includes(each));
  return meant ? undefined : invalid('JWT for another audience');
}

/** Is it this client's token? */
function checkBinding(
  claims: Claims,
  settings: JwtSettings,
  request: ConnectRequest,
): Refusal | undefined {
  const { clientIdClaim, userNameClaim, from } = settings;
  const { clientId, userName } = request;
  if (clientIdClaim !== undefined && (clientId === '' || claims[clientIdClaim] !== clientId)) {
    return { refused: 'tokenMismatch', detail: 'JWT of another client' };
  }
  if (userNameClaim === undefined) return undefined;
  const name = claims[userNameClaim];
  if (typeof name !== 'string' || name === '') return invalid('JWT names no user');
  if (from === 'username' || userName === undefined || userName === name) return undefined;
  return { refused: 'tokenMismatch', detail: 'JWT of another user' };
}

function userNameOf(
  claims: Claims,
  settings: JwtSettings,
  request: ConnectRequest,
): string | undefined {
  const name = claims[settings.userNameClaim ?? 'sub'];
  if (typeof name === 'string') return name;
  return settings.from === 'username' ? undefined : request.userName;
}

/** Without the claim everything is allowed. Throws `invalidParameter`. */
function permissionsOf(acl: unknown, owner: RuleOwner): Permissions | undefined {
  if (acl === undefined || acl === null) return undefined;
  const allowed = isRecord(acl);
  return new TopicRules(
    allowed ? parseAllowed(acl, RULE_COUNT_MAX, owner) : parseRules(acl, RULE_COUNT_MAX, owner),
  );
}

function invalid(detail: string): Refusal {
  return { refused: 'jwtInvalid', detail };
}

/** Ends the connection when its token ends. */
class JwtEnd extends Timer {
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;
  readonly #endMs: number;
  #client: LiveClient | undefined = undefined;

  constructor(clock: Clock, wheel: TimerWheel, endMs: number) {
    super();
    this.#clock = clock;
    this.#wheel = wheel;
    this.#endMs = endMs;
  }

  begin(client: LiveClient): () => void {
    this.#client = client;
    this.#wait();
    return () => {
      this.#client = undefined;
      this.#wheel.cancel(this);
    };
  }

  override expired(): void {
    if (this.#clock.nowMs() < this.#endMs) this.#wait();
    else this.#client?.disconnect('jwtExpired');
  }

  #wait(): void {
    const leftMs = Math.max(0, this.#endMs - this.#clock.nowMs());
    this.#wheel.schedule(this, Math.min(leftMs, LOOK_MS));
  }
}
