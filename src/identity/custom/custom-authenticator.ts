/**
 * Log-in with an identity of custom authentication: a bare user name, and a password that is the
 * secret or a signature made with it.
 *
 * An identity of the user with this very client takes precedence over one of the user alone. Where
 * there is neither, another way may know the user.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { AuthenticationWay, ConnectRequest, Verdict } from '../authenticator.ts';
import type { CustomAuth, FoundIdentity } from './custom-auth.ts';
import { parseUserName } from '../accounts/signature.ts';

/** The way for instances with custom identities; the others pay a look at a count. */
export function createCustomAuthWay(customAuth: CustomAuth): AuthenticationWay {
  const prove = async (
    request: ConnectRequest,
    userName: string,
    finding: Promise<FoundIdentity | undefined>,
  ): Promise<Verdict | undefined> => {
    const identity = await finding;
    if (identity === undefined) return undefined;
    if (!proves(identity, request)) {
      const signed = identity.signMode === 'SIGNED';
      return { refused: signed ? 'badSignature' : 'badUserOrPassword' };
    }
    const { instance, clientId } = request;
    const rules = await customAuth.rulesFor(instance.id, userName, clientId);
    return {
      instance,
      userName,
      permissions: rules,
      anyClientId: true,
      connected: (client) => customAuth.connected(instance.id, identity, rules, client),
    };
  };

  return {
    authenticate(request) {
      const { userName } = request;
      if (userName === undefined || parseUserName(userName) !== undefined) return undefined;
      const finding = customAuth.findIdentity(request.instance.id, userName, request.clientId);
      return finding && prove(request, userName, finding);
    },
  };
}

function proves(identity: FoundIdentity, request: ConnectRequest): boolean {
  if (request.password === undefined) return false;
  const expected =
    identity.signMode === 'SIGNED'
      ? createHmac('sha1', identity.secret).update(request.clientId).digest('base64')
      : identity.secret;
  // Digests are of one length, so the time says nothing of the secret's.
  return timingSafeEqual(digest(request.password), digest(expected));
}

function digest(text: string | Uint8Array): Buffer {
  return createHash('sha256').update(text).digest();
}
