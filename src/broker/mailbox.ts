/**
 * P2P messages: `<parent>/p2p/<clientId>` reaches that client without a subscription.
 *
 * In a compatible instance every session holds one subscription of the instance's own, under a
 * text no client can send; routing, the log and cursors know it as any other. When a session
 * ends with its connection, that subscription alone stays for a while as the client's mailbox.
 */

const LEVEL = 'p2p';
/** U+0000 is in no filter that comes from a client [MQTT-1.5.4-2]. */
const MARK = '\u0000';

/** The text under which a session holds the subscription to its own P2P messages. */
export function mailboxText(clientId: string): string {
  return `${MARK}/${LEVEL}/${clientId}`;
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
