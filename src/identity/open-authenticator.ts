/** Admits everybody to the default instance: a plain MQTT broker for local use. */
import { DEFAULT_INSTANCE } from '#instances';
import type { Authenticator, Caller } from './authenticator.ts';

export function createOpenAuthenticator(): Authenticator {
  return {
    authenticate: (request): Caller => ({
      instance: DEFAULT_INSTANCE,
      userName: request.userName,
      permissions: undefined,
    }),
    exchange: () => undefined,
  };
}
