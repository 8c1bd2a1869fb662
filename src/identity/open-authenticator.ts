/** Admits everybody to the default instance: a plain MQTT broker for local use. */
import { DEFAULT_INSTANCE } from '#instances';
import type { Authenticator, Caller } from './authenticator.ts';

const ANYBODY: Caller = {
  instance: DEFAULT_INSTANCE,
  userName: undefined,
  permissions: undefined,
};

export function createOpenAuthenticator(): Authenticator {
  return {
    authenticate: ({ userName }) => (userName === undefined ? ANYBODY : { ...ANYBODY, userName }),
    exchange: () => undefined,
  };
}
