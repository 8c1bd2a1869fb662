/**
 * An authenticator of a test's own making: enhanced authentication by challenge and proof, refusals
 * on demand, and permissions, behind a broker in this process.
 *
 * The method is a real exchange, each side proving that it knows the secret.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { after, before, type TestContext } from 'node:test';
import { FAULTS, type FaultCode } from '#base';
import type { Broker } from '#broker';
import type { Authenticator, ConnectAttempt, Exchange, Refusal, Verdict } from '#identity';
import { DEFAULT_INSTANCE_ID, type Instances } from '#instances';
import { openLocalBroker, openLocalDoor } from './local-broker.ts';

/** The one method it knows. */
export const METHOD = 'HMAC-CHALLENGE';
/** What both sides know. */
export const SECRET = 'correct horse';

/** The proof that `side` knows the secret, over the other side's nonce. */
export function prove(secret: string, side: string, nonce: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(side).update(nonce).digest();
}

/** What the test wants of exchanges to come; `undefined`: what the protocol wants. */
export interface Whims {
  /** The refusal for a proof that does not hold. */
  badProof?: Refusal;
  fails?: 'throws' | 'rejects';
  /** Whoever proves it is told this name. */
  assignedClientId?: string | undefined;
  /** What the caller may do from the next verdict on. */
  forbidden?: string | undefined;
}

function welcome(instances: Instances, request: ConnectAttempt, whims: Whims): Verdict {
  const { forbidden, assignedClientId } = whims;
  const allowed = (text: string): boolean => forbidden === undefined || !text.startsWith(forbidden);
  return {
    instance: instances.find(DEFAULT_INSTANCE_ID)!,
    userName: request.userName,
    permissions: { version: 0, mayPublish: allowed, maySubscribe: allowed },
    ...(assignedClientId !== undefined && { assignedClientId }),
  };
}

/**
 * Client: nonce A. Broker: nonce B and its proof over A. Client: its proof over B, after which the
 * broker asks for one more word, and takes "sure". Odd steps answer later, even ones at once.
 */
function createExchange(instances: Instances, request: ConnectAttempt, whims: Whims): Exchange {
  const nonce = randomBytes(16);
  const bad: Refusal = whims.badProof ?? { refused: 'notAuthorized', detail: 'the proof fails' };
  let round = 0;
  return {
    step: (data) => {
      round++;
      if (whims.fails === 'throws') throw new Error('the directory is on fire');
      if (whims.fails === 'rejects') return Promise.reject(new Error('the directory is away'));
      if (round === 1) {
        if (data?.length !== 16) return { verdict: bad };
        return Promise.resolve({ more: Buffer.concat([nonce, prove(SECRET, 'broker', data)]) });
      }
      if (round === 2) {
        const held = data !== undefined && prove(SECRET, 'client', nonce).equals(data);
        return held ? { more: undefined } : { verdict: bad };
      }
      const sure = Buffer.from(data ?? '').toString() === 'sure';
      return Promise.resolve(
        sure
          ? { verdict: welcome(instances, request, whims), data: Buffer.from('welcome') }
          : { verdict: bad },
      );
    },
  };
}

function createAuthenticator(
  instances: Instances,
  whims: Whims,
  requests: ConnectAttempt[],
): Authenticator {
  return {
    authenticate: async (request) => {
      requests.push(request);
      await new Promise((resolve) => setImmediate(resolve));
      const { userName = '' } = request;
      if (Object.hasOwn(FAULTS, userName)) {
        const refused = userName as FaultCode;
        const moved = refused === 'useAnotherServer' || refused === 'serverMoved';
        const detail = 'as you wish';
        return { refused, detail, ...(moved && { serverReference: 'other.example:1883' }) };
      }
      if (userName === 'throw') throw new Error('the directory is away');
      return welcome(instances, request, whims);
    },
    exchange: (method, request) =>
      method === METHOD ? createExchange(instances, request, whims) : undefined,
  };
}

/** A broker for all tests of a file, and what it was asked. */
export interface AuthBroker {
  readonly broker: Broker;
  readonly port: number;
  /** What plain authentication was asked so far. */
  readonly requests: readonly ConnectAttempt[];
  /** Sets whims until the test ends. */
  wish(t: TestContext, wishes: Whims): void;
}

/** Call once at the top of a test file. */
export function authBroker(): AuthBroker {
  const whims: Whims = {};
  const requests: ConnectAttempt[] = [];
  const cleanUps: (() => void | Promise<void>)[] = [];
  const scope = { after: (cleanUp: () => void | Promise<void>) => void cleanUps.unshift(cleanUp) };
  let broker: Broker | undefined;
  let port = 0;

  before(async () => {
    broker = await openLocalBroker(scope, {
      authenticator: (instances) => createAuthenticator(instances, whims, requests),
    });
    port = await openLocalDoor(scope, broker);
  });
  after(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });

  return {
    get broker() {
      if (broker === undefined) throw new Error('the broker is opened by before(), not yet run');
      return broker;
    },
    get port() {
      return port;
    },
    requests,
    wish: (t, wishes) => {
      Object.assign(whims, wishes);
      t.after(() => {
        for (const name of Object.keys(wishes)) delete whims[name as keyof Whims];
      });
    },
  };
}
