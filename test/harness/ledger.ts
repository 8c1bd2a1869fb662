/**
 * What a broker has promised by its acknowledgements, and what became of it.
 *
 * Publishers enter each message and whether it was acknowledged; subscribers enter what they
 * were given. The checks compare the two and know nothing of how the broker works.
 */

export interface LedgerMessage {
  readonly key: string;
  readonly publisher: string;
  readonly topic: string;
  readonly qos: 1 | 2;
  readonly sequence: number;
  acknowledged: boolean;
}

/** What one session was given, in order. */
export class Receipts {
  readonly name: string;
  readonly #count = new Map<string, number>();
  readonly #newest = new Map<string, number>();
  readonly #disorder: string[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get size(): number {
    return this.#count.size;
  }

  count(key: string): number {
    return this.#count.get(key) ?? 0;
  }

  enter(message: LedgerMessage): void {
    const before = this.count(message.key);
    this.#count.set(message.key, before + 1);
    if (before > 0) return;
    // Order is promised for each publisher, topic and QoS; of repetitions the first counts.
    const lane = `${message.publisher} ${message.topic} q${message.qos}`;
    const newest = this.#newest.get(lane) ?? -1;
    if (message.sequence < newest) {
      this.#disorder.push(`${lane}: ${message.sequence} first came after ${newest}`);
    }
    this.#newest.set(lane, Math.max(newest, message.sequence));
  }

  disorder(): readonly string[] {
    return this.#disorder.map((text) => `${this.name}: ${text}`);
  }
}

export class Ledger {
  readonly messages: Map<string, LedgerMessage> = new Map();

  enter(message: LedgerMessage): void {
    this.messages.set(message.key, message);
  }

  /** Acknowledged, the session's filters match, and it was not given. */
  missing(receipts: Receipts, matches: (topic: string) => boolean): LedgerMessage[] {
    return [...this.messages.values()].filter(
      (one) => one.acknowledged && matches(one.topic) && receipts.count(one.key) === 0,
    );
  }

  /** Of QoS 2 and given more than once. */
  repeated(receipts: Receipts): LedgerMessage[] {
    return [...this.messages.values()].filter(
      (one) => one.qos === 2 && receipts.count(one.key) > 1,
    );
  }

  /** Acknowledged and given to none of these. */
  unshared(members: readonly Receipts[]): LedgerMessage[] {
    return [...this.messages.values()].filter(
      (one) => one.acknowledged && members.every((member) => member.count(one.key) === 0),
    );
  }
}

/** Whether an MQTT filter matches a topic: for checks, so plainly written. */
export function filterMatches(filter: string, topic: string): boolean {
  const levels = topic.split('/');
  const wanted = filter.split('/');
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true;
    if (index >= levels.length) return false;
    if (level !== '+' && level !== levels[index]) return false;
  }
  return wanted.length === levels.length;
}

/** A few of them for an error message, and how many there are. */
export function showMessages(list: readonly LedgerMessage[]): string {
  const some = list.slice(0, 8).map((one) => `${one.key} on ${one.topic} q${one.qos}`);
  return `${list.length}: ${some.join(', ')}`;
}
