/**
 * Device credential mode: `DeviceCredential|<DeviceAccessKeyId>|<InstanceId>`, and as the password
 * Base64(HMAC-SHA1(DeviceAccessKeySecret, client identifier)).
 *
 * The pair belongs to one client, so nobody signs for another. Whoever fails is told one thing,
 * whatever it was: there is no finding out which keys or clients exist.
 */
import { createHmac } from 'node:crypto';
import type {
  AuthenticationWay,
  Caller,
  ConnectRequest,
  Refusal,
  Verdict,
} from '../authenticator.ts';
import type { DeviceCredential, DeviceCredentials } from './device-credentials.ts';
import { sameSecret } from '../same-secret.ts';
import { parseUserName } from '../user-name.ts';

/** In the product a device whose pair is replaced or taken away stays until it drops. */
const WITHDRAWAL_ENDS_CONNECTIONS = false;

const NOBODY: Refusal = { refused: 'badSignature' };

/** `undefined` for user names of other modes. */
export function createDeviceCredentialWay(options: {
  readonly credentials: DeviceCredentials;
  readonly withdrawalEndsConnections?: boolean;
}): AuthenticationWay {
  const { credentials } = options;
  const ends = options.withdrawalEndsConnections ?? WITHDRAWAL_ENDS_CONNECTIONS;

  const check = async (request: ConnectRequest, accessKeyId: string): Promise<Verdict> => {
    const credential = await credentials.find(request.instance.id, request.clientId);
    const secret = credential?.accessKeySecret ?? 'nobody'; // signs as long as anybody's
    const signature = createHmac('sha1', secret).update(request.clientId).digest('base64');
    const signed = sameSecret(request.password ?? '', signature);
    if (credential === undefined || credential.accessKeyId !== accessKeyId || !signed) {
      return NOBODY;
    }
    return createCaller(request, credential);
  };

  const createCaller = (request: ConnectRequest, credential: DeviceCredential): Caller => ({
    instance: request.instance,
    userName: request.userName,
    permissions: undefined,
    ...(ends && {
      connected: (client) =>
        credentials.onChanged(credential.instanceId, credential.clientId, () =>
          client.disconnect('credentialRevoked'),
        ),
    }),
  });

  return {
    authenticate(request) {
      const { userName } = request;
      if (userName === undefined || !userName.startsWith('DeviceCredential|')) return undefined;
      const name = parseUserName(userName);
      if (name === undefined) return { refused: 'userNameMalformed' };
      if (name.instanceId !== request.instance.id) return { refused: 'instanceMismatch' };
      return check(request, name.keyId);
    },
  };
}
