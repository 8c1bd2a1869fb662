/**
 * Accounts and access keys as they are stored: JSON, with secrets sealed.
 *
 * What is sealed holds the key's identifier too, so that a secret moved to another row opens
 * nothing there.
 */
import { Fault } from '#base';
import type { SecretBox } from '../secret-box.ts';

export interface AccountRow {
  readonly name: string;
  readonly createdMs: number;
  /** By name; without a document it is a built-in one. */
  readonly policies: readonly AttachedPolicy[];
}

export interface AttachedPolicy {
  readonly name: string;
  readonly document?: string;
}

export interface KeyRow {
  readonly accountId: string;
  readonly secret: string;
  readonly active: boolean;
  readonly createdMs: number;
}

/** An account as bytes of its row. */
export function encodeAccount(account: AccountRow): Uint8Array {
  return Buffer.from(JSON.stringify({ format: 1, ...account }));
}

/** The account of a row's bytes; throws a `Fault` for anything else. */
export function decodeAccount(value: Uint8Array): AccountRow {
  const fields = fieldsOf(value);
  const { name, createdMs, policies } = fields;
  if (typeof name !== 'string' || typeof createdMs !== 'number' || !Array.isArray(policies)) {
    throw damaged();
  }
  return { name, createdMs, policies: policies.map(decodePolicy) };
}

function decodePolicy(value: unknown): AttachedPolicy {
  if (typeof value !== 'object' || value === null || !('name' in value)) throw damaged();
  if (typeof value.name !== 'string') throw damaged();
  if (!('document' in value)) return { name: value.name };
  if (typeof value.document !== 'string') throw damaged();
  return { name: value.name, document: value.document };
}

/** An access key as bytes of its row. */
export function encodeKey(id: string, key: KeyRow, box: SecretBox): Uint8Array {
  const { secret, ...open } = key;
  const sealed = Buffer.from(box.seal(`${id}\n${secret}`)).toString('base64');
  return Buffer.from(JSON.stringify({ format: 1, ...open, sealed }));
}

/** The access key of a row's bytes; throws a `Fault` for anything else. */
export function decodeKey(id: string, value: Uint8Array, box: SecretBox): KeyRow {
  const { accountId, active, createdMs, sealed } = fieldsOf(value);
  if (typeof accountId !== 'string' || typeof active !== 'boolean') throw damaged();
  if (typeof createdMs !== 'number' || typeof sealed !== 'string') throw damaged();
  const opened = box.open(Buffer.from(sealed, 'base64'));
  if (!opened.startsWith(`${id}\n`)) throw damaged();
  return { accountId, active, createdMs, secret: opened.slice(id.length + 1) };
}

function fieldsOf(value: Uint8Array): Readonly<Record<string, unknown>> {
  let fields: unknown;
  try {
    fields = JSON.parse(Buffer.from(value).toString('utf8'));
  } catch (cause) {
    throw damaged(cause);
  }
  if (typeof fields !== 'object' || fields === null) throw damaged();
  const copy: Record<string, unknown> = { ...fields };
  if (copy['format'] !== 1) throw damaged();
  return copy;
}

function damaged(cause?: unknown): Fault {
  return new Fault('storeUnavailable', 'the row of an account or key is damaged', { cause });
}
