/**
 * SCRAM-SHA-256 as a method of MQTT 5.0's enhanced authentication: neither the wire nor the store
 * ever holds the password, and the client learns that the server knows it as well.
 *
 * A user who does not exist gets as far as one who does with a wrong password, over the same
 * steps, with a salt that stays the same.
 */
import type { Random } from '#base';
import type { Instance } from '#instances';
import type { Exchange, ExchangeStep, Refusal, Verdict } from '../authenticator.ts';
import type { ExchangeMethod } from '../chain.ts';
import { isProof, type ScramKeys, serverSignature } from './scram-keys.ts';
import { type ClientFirst, readClientFinal, readClientFirst } from './scram-message.ts';
import type { ScramUsers } from './scram-users.ts';

/** What the server needs to know of whom it talks to. */
export interface ScramParty {
  readonly keys: ScramKeys;
  /** Nothing of that name exists; the keys fit no password. */
  readonly unknown: boolean;
  /** Asked once the proof is right. */
  admit(): Verdict;
}

export interface ScramExchangeOptions {
  lookUp(userName: string): Promise<ScramParty>;
  /** The server's part of the nonce. */
  readonly nonce: string;
}

const NONCE_BYTES = 18;

export function createScramMethod(options: {
  readonly users: ScramUsers;
  readonly random: Random;
}): ExchangeMethod {
  const { users, random } = options;
  return {
    method: 'SCRAM-SHA-256',
    begin: ({ instance }) =>
      createScramExchange({
        lookUp: (userName) => partyOf(users, instance, userName),
        nonce: Buffer.from(random.bytes(NONCE_BYTES)).toString('base64'),
      }),
  };
}

async function partyOf(
  users: ScramUsers,
  instance: Instance,
  userName: string,
): Promise<ScramParty> {
  const credential = await users.find(instance.id, userName);
  if (credential === undefined) {
    const keys = users.keysOfNobody(instance.id, userName);
    return { keys, unknown: true, admit: () => REFUSED };
  }
  return {
    keys: credential.keys,
    unknown: false,
    admit: () => {
      const permissions = users.follow(credential);
      return { instance, userName, permissions, connected: (client) => permissions.join(client) };
    },
  };
}

/** The server's side of one conversation. */
export function createScramExchange(options: ScramExchangeOptions): Exchange {
  let under:
    | { readonly first: ClientFirst; readonly party: ScramParty; readonly serverFirst: string }
    | undefined;
  let over = false;

  const begin = async (data: Uint8Array | undefined): Promise<ExchangeStep> => {
    const first = readClientFirst(data);
    if (first === undefined) return { verdict: MALFORMED };
    if (first.actAs !== undefined && first.actAs !== first.userName) {
      return { verdict: { refused: 'notAuthorized', detail: 'SCRAM users act for themselves' } };
    }
    const party = await options.lookUp(first.userName);
    const { salt, iterations } = party.keys;
    const encodedSalt = Buffer.from(salt).toString('base64');
    const serverFirst = `r=${first.nonce}${options.nonce},s=${encodedSalt},i=${iterations}`;
    under = { first, party, serverFirst };
    over = false;
    return { more: Buffer.from(serverFirst, 'utf8') };
  };

  const end = (data: Uint8Array | undefined): ExchangeStep => {
    const final = readClientFinal(data);
    if (final === undefined || under === undefined) return { verdict: MALFORMED };
    const { first, party, serverFirst } = under;
    const binding = Buffer.from(first.header, 'utf8').toString('base64');
    if (final.binding !== binding || final.nonce !== first.nonce + options.nonce) {
      return { verdict: MALFORMED };
    }
    const conversation = `${first.bare},${serverFirst},${final.withoutProof}`;
    if (!isProof(party.keys, conversation, final.proof) || party.unknown) {
      return { verdict: REFUSED };
    }
    const proofOfOurs = Buffer.from(`v=${serverSignature(party.keys, conversation)}`, 'utf8');
    return { verdict: party.admit(), data: proofOfOurs };
  };

  return {
    step(data) {
      if (over) return { verdict: MALFORMED };
      over = true; // until the client may speak again
      return under === undefined ? begin(data) : end(data);
    },
  };
}

const REFUSED: Refusal = { refused: 'badUserOrPassword' };
const MALFORMED: Refusal = { refused: 'passwordMalformed', detail: 'malformed SCRAM message' };
