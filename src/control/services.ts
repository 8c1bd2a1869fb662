/** What the actions act on: everything behind the control door. */
import type { Clock, Random } from '#base';
import type {
  Accounts,
  Bans,
  Certificates,
  CustomAuth,
  DeviceCredentials,
  ScramUsers,
  SecretBox,
  Tokens,
} from '#identity';
import type { Instances } from '#instances';

/** A client's session as the broker has it. */
export interface SessionState {
  readonly online: boolean;
  readonly address: string | undefined;
  readonly subscriptions: readonly { readonly filter: string; readonly qos: 0 | 1 | 2 }[];
}

/** The broker, as the control door needs it. */
export interface BrokerControl {
  /** Answers the message's identifier (32 upper-case hex digits) once it is on disk. */
  sendMessage(instanceId: string, topic: string, payload: Uint8Array): Promise<string>;
  isOnline(instanceId: string, clientId: string): boolean;
  sessionState(instanceId: string, clientId: string): Promise<SessionState | undefined>;
  /** False: that client is not connected. */
  closeConnection(instanceId: string, clientId: string): boolean;
  connectionCount(instanceId: string): number;
  /** The instance's counters and gauges, by name. */
  metrics(instanceId: string): object;
}

export interface Services {
  readonly clock: Clock;
  readonly random: Random;
  readonly accounts: Accounts;
  readonly tokens: Tokens;
  readonly deviceCredentials: DeviceCredentials;
  readonly customAuth: CustomAuth;
  readonly scramUsers: ScramUsers;
  /** Seals the secrets among an instance's settings. */
  readonly box: SecretBox;
  readonly certificates: Certificates;
  readonly bans: Bans;
  readonly instances: Instances;
  readonly broker: BrokerControl;
  /** Where the devices connect: said in instance descriptions. */
  readonly deviceEndpoints: readonly string[];
}
