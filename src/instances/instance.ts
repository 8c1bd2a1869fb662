/**
 * An instance: the owner of everything. Topic trees, sessions, retained messages and logs of two
 * instances never meet.
 */

export interface Instance {
  /** `[a-z0-9-]{1,64}`; part of every stored key. */
  readonly id: string;
  /** `open`: a plain MQTT broker, any client identifier, any topic. */
  readonly kind: 'open';
}

export const DEFAULT_INSTANCE: Instance = { id: 'default', kind: 'open' };
