/**
 * Secrets that must be known again, such as keys of an HMAC, sealed for the disk: AES-256-GCM
 * under one key, which is a file beside the data and never in it.
 *
 *   sealed = version (1 byte, 1) | nonce (12) | ciphertext | tag (16)
 */
import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { assert, Fault, type Random } from '#base';

export interface SecretBox {
  seal(secret: string): Uint8Array;
  /** Throws a `Fault` for what was damaged, or sealed with another key. */
  open(sealed: Uint8Array): string;
}

const CIPHER = 'aes-256-gcm';
const VERSION = 1;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const BODY_START = 1 + NONCE_BYTES;

/** `key` is 32 bytes. Nonces are random: good for 2^32 secrets under one key. */
export function createSecretBox(key: Uint8Array, random: Random): SecretBox {
  assert(key.length === KEY_BYTES, 'a sealing key has 32 bytes');
  // Made once: from bytes, Node makes it anew for every secret, which takes longer than the rest.
  const ownKey = createSecretKey(key);
  const header = Buffer.of(VERSION);
  return {
    seal(secret) {
      const nonce = random.bytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, ownKey, nonce).setAAD(header);
      const body = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
      return Buffer.concat([header, nonce, body, cipher.getAuthTag()]);
    },
    open(sealed) {
      if (sealed.length < BODY_START + TAG_BYTES || sealed[0] !== VERSION) throw damaged();
      const tagStart = sealed.length - TAG_BYTES;
      const decipher = createDecipheriv(CIPHER, ownKey, sealed.subarray(1, BODY_START), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(header).setAuthTag(sealed.subarray(tagStart));
      try {
        const body = decipher.update(sealed.subarray(BODY_START, tagStart));
        return Buffer.concat([body, decipher.final()]).toString('utf8');
      } catch (cause) {
        throw damaged(cause);
      }
    },
  };
}

function damaged(cause?: unknown): Fault {
  const detail = 'a sealed secret is damaged, or was sealed with another secret key than this one';
  return new Fault('storeUnavailable', detail, { cause });
}

/** The key in the file at `path`; a new one, and its file for the owner alone, where none is. */
export function loadSecretKey(path: string, random: Random): Uint8Array {
  const key = readKey(path);
  if (key !== undefined) return key;
  makeKeyFile(path, random);
  const made = readKey(path);
  if (made === undefined) throw new Fault('storeUnavailable', `${path} was removed as it was made`);
  return made;
}

function readKey(path: string): Uint8Array | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return undefined;
    throw new Fault('storeUnavailable', `${path} cannot be read`, { cause });
  }
  try {
    const status = fstatSync(file);
    if (!status.isFile() || status.size !== KEY_BYTES) {
      throw new Fault(
        'storeUnavailable',
        `${path} is damaged: it must hold ${KEY_BYTES} bytes. Put back the original; without it ` +
          'the sealed secrets of this data directory cannot be opened',
      );
    }
    // Groups are let be: some systems give whole volumes to a group.
    if (process.platform !== 'win32' && (status.mode & 0o007) !== 0) {
      throw new Fault(
        'storeUnavailable',
        `${path} is open to every user of this machine: chmod 600 it, and renew what it sealed`,
      );
    }
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

/** The file appears under its name only when it is whole and on disk, and never over another. */
function makeKeyFile(path: string, random: Random): void {
  const draft = `${path}.${Buffer.from(random.bytes(8)).toString('hex')}`;
  try {
    const file = openSync(draft, 'wx', 0o600);
    try {
      try {
        writeSync(file, random.bytes(KEY_BYTES));
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      linkSync(draft, path);
    } finally {
      rmSync(draft, { force: true });
    }
    syncFolder(dirname(path));
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return; // another process was first: its key is the key
    throw new Fault('storeUnavailable', `${path} cannot be made: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function syncFolder(folder: string): void {
  if (process.platform === 'win32') return; // a folder cannot be opened there
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
