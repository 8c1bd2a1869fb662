/**
 * P2P messages: `<parent>/p2p/<clientId>` reaches that client without a subscription, and nobody
 * else, whatever others subscribe to.
 *
 * In a compatible instance every session holds one subscription of the instance's own, under a
 * text no client can send; the log and cursors know it as any other. For a client without a session
 * the first message that is to wait for it makes a stored session of that subscription alone.
 */
import { Leaf } from './subscription-tree.ts';

const LEVEL = 'p2p';
/** U+0000 is in no filter that comes from a client [MQTT-1.5.4-2]. */
const MARK = '\u0000';
const TEXT_PREFIX = `${MARK}/${LEVEL}/`;

/** The text under which a session holds the subscription to its own P2P messages. */
export function mailboxText(clientId: string): string {
  return `${TEXT_PREFIX}${clientId}`;
}

/** A name that is a wildcard, or several levels, would open the mailboxes of others. */
export function mayHaveMailbox(clientId: string): boolean {
  return clientId !== '' && !/[+#/]/.test(clientId);
}

export function isMailbox(text: string): boolean {
  return text.startsWith(MARK);
}

/** What a mailbox's text subscribes to. */
export function mailboxFilter(text: string): string {
  return `+${text.slice(MARK.length)}`;
}

/** The client a P2P topic is of; `undefined`: it is none. */
export function receiverOf(topic: string): string | undefined {
  const first = topic.indexOf('/');
  if (first <= 0 || !topic.startsWith(`${LEVEL}/`, first + 1)) return undefined;
  const clientId = topic.slice(first + LEVEL.length + 2);
  return clientId === '' || clientId.includes('/') ? undefined : clientId;
}

const VERSION_COUNT = 4096;

/** The mailboxes of an instance by client: beside the tree, so that they come and go unnoticed. */
export class Mailboxes {
  readonly #leaves = new Map<string, Leaf>();
  readonly #versions = new Uint32Array(VERSION_COUNT);

  /** Changes the mailbox of that text, making and removing it as needed. */
  change(text: string, change: (leaf: Leaf) => void): void {
    const clientId = text.slice(TEXT_PREFIX.length);
    const leaf = this.#leaves.get(clientId) ?? new Leaf();
    change(leaf);
    if (leaf.empty) this.#leaves.delete(clientId);
    else this.#leaves.set(clientId, leaf);
    this.#versions[slotOf(clientId)]!++;
  }

  get size(): number {
    return this.#leaves.size;
  }

  leaf(clientId: string): Leaf | undefined {
    return this.#leaves.get(clientId);
  }

  /** Grows whenever that client's mailbox may have changed. */
  version(clientId: string): number {
    return this.#versions[slotOf(clientId)]!;
  }
}

function slotOf(clientId: string): number {
  let hash = 0;
  for (let i = 0; i < clientId.length; i++) hash = (hash * 31 + clientId.charCodeAt(i)) | 0;
  return hash & (VERSION_COUNT - 1);
}
