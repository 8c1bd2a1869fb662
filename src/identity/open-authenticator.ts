/** Admits everybody to one instance: a plain MQTT broker for local use. */
import type { AuthenticationWay } from './authenticator.ts';

/** Only for that instance; whoever wants another proves who they are. */
export function createOpenWay(instanceId: string): AuthenticationWay {
  return {
    authenticate: ({ instance, userName }) =>
      instance.id === instanceId
        ? { instance, userName, permissions: undefined, anyClientId: true }
        : undefined,
  };
}
