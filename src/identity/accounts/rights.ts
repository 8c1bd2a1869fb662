/**
 * Who acts, and with which rights: what a key stands for, asked synchronously.
 *
 * Rights live: they answer by the account's policies of this moment, also for a connection that
 * was accepted under other ones.
 */
import type { Policy } from './policy.ts';

/** Whoever has shown a key. */
export interface Principal {
  readonly accountId: string;
  readonly accessKeyId: string;
  may(action: string, instanceId: string | undefined, resource: string | undefined): boolean;
  /** May act on every topic of an MQTT filter. */
  mayAll(action: string, instanceId: string, filter: string): boolean;
}

/** The same question, and those that a connection asks. */
export interface Rights extends Policy {
  /** Grows whenever an answer may have changed. */
  readonly version: number;
  /** All is allowed, and will be. */
  readonly unlimited: boolean;
}

/** What rights are read from. */
export interface RightsSource {
  readonly policy: Policy;
  readonly version: number;
  readonly unlimited: boolean;
}

/** The account's rights, less what `narrowing` does not allow. */
export function createRights(account: RightsSource, narrowing?: Policy): Rights {
  return {
    get version() {
      return account.version;
    },
    get unlimited() {
      return account.unlimited && narrowing === undefined;
    },
    may: (action, instanceId, resource) =>
      account.policy.may(action, instanceId, resource) &&
      narrowing?.may(action, instanceId, resource) !== false,
    mayAll: (action, instanceId, filter) =>
      account.policy.mayAll(action, instanceId, filter) &&
      narrowing?.mayAll(action, instanceId, filter) !== false,
    reaches: (action, instanceId) =>
      account.policy.reaches(action, instanceId) &&
      narrowing?.reaches(action, instanceId) !== false,
  };
}
