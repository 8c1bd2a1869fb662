/** Admits everybody to one instance: a plain MQTT broker for local use. */
import type { AuthenticationWay, Caller } from './authenticator.ts';

/** Only for that instance; whoever wants another proves who they are. */
export function createOpenWay(instanceId: string): AuthenticationWay {
  // One caller for all who have no name: a hundred thousand of them cost no more than one.
  let nobody: Caller | undefined;
  return {
    authenticate: ({ instance, userName }) => {
      if (instance.id !== instanceId) return undefined;
      if (userName === undefined && nobody?.instance === instance) return nobody;
      const caller = { instance, userName, permissions: undefined, anyClientId: true };
      if (userName === undefined) nobody = caller;
      return caller;
    },
  };
}
