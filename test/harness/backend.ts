/** A backend: an account and an instance of its own, and the vendor's client that manages both. */
import type { ControlBroker } from './control-broker.ts';
import {
  type Answer,
  openOpenApi,
  type VendorAccess,
  type VendorClient,
} from './vendor-clients.ts';

export interface Backend {
  readonly access: VendorAccess;
  readonly instanceId: string;
  readonly client: VendorClient;
  apply(actions: 'R' | 'W' | 'R,W', resources: string, lifeMs?: number): Promise<string>;
  revoke(token: string): Promise<void>;
}

/** `settings`: further parameters of CreateInstance. */
export async function openBackend(broker: ControlBroker, settings: Answer = {}): Promise<Backend> {
  const access = await broker.createAccount();
  const instanceId = await broker.createInstance(settings);
  const client = openOpenApi('@alicloud/openapi-core', access, 'ACS3-HMAC-SHA256');
  return {
    access,
    instanceId,
    client,
    apply: async (actions, resources, lifeMs = 120_000) => {
      const answer = await client.call('ApplyToken', {
        InstanceId: instanceId,
        Actions: actions,
        Resources: resources,
        ExpireTime: Date.now() + lifeMs,
      });
      const token = String(answer['Token']);
      broker.secrets.add(token);
      return token;
    },
    revoke: async (token) => {
      await client.call('RevokeToken', { InstanceId: instanceId, Token: token });
    },
  };
}
