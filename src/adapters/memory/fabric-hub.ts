/**
 * Several nodes in one process: a fabric for tests and simulations.
 *
 * Like a network, it answers in a later turn, copies what passes through it and keeps the order
 * of each sender.
 */
import { type Clock, Fault } from '#base';
import { type Fabric, type FabricMessage, matchesFilter } from '#ports';
import { nextTurn } from './memory-turn.ts';

const ANSWER_WAIT_MS = 5000;

export interface FabricHub {
  /** A new live node's fabric. Closing it is the node's departure. */
  join(name: string): Fabric;
}

interface Member {
  readonly name: string;
  /** Per instance: filters wanted. */
  readonly interest: Map<string, Set<string>>;
  onMessage: (message: FabricMessage) => void;
  onRequest: ((body: Uint8Array) => Promise<Uint8Array>) | undefined;
  onNodes: ((nodes: readonly string[]) => void)[];
}

/** An empty network. */
export function createFabricHub(options: { readonly clock: Clock }): FabricHub {
  const members = new Map<string, Member>();
  const namesFor = (name: string): readonly string[] => [
    name,
    ...[...members.keys()].filter((other) => other !== name),
  ];
  const announce = (except: string): void => {
    for (const member of members.values()) {
      if (member.name === except) continue;
      const nodes = namesFor(member.name);
      setImmediate(() => {
        if (members.get(member.name) === member) for (const tell of member.onNodes) tell(nodes);
      });
    }
  };
  return {
    join: (name) => {
      const member: Member = {
        name,
        interest: new Map(),
        onMessage: () => {},
        onRequest: undefined,
        onNodes: [],
      };
      members.set(name, member);
      announce(name);
      return {
        interest: async (instance, filter, wanted) => {
          await nextTurn();
          setInterest(member, instance, filter, wanted);
        },
        publish: (message) => deliver(members, member, message),
        onMessage: (listener) => {
          member.onMessage = listener;
        },
        request: (node, body) => ask(options.clock, members, node, body),
        onRequest: (handler) => {
          member.onRequest = handler;
        },
        nodes: () => namesFor(name),
        onNodes: (listener) => {
          member.onNodes.push(listener);
        },
        close: async () => {
          if (members.get(name) !== member) return;
          members.delete(name);
          announce(name);
          await nextTurn();
        },
      };
    },
  };
}

function setInterest(member: Member, instance: string, filter: string, wanted: boolean): void {
  const filters = member.interest.get(instance) ?? new Set();
  member.interest.set(instance, filters);
  if (wanted) filters.add(filter);
  else filters.delete(filter);
}

function deliver(members: Map<string, Member>, from: Member, message: FabricMessage): void {
  if (members.get(from.name) !== from) return;
  const copy = { ...message, payload: message.payload.slice() };
  copy.properties = message.properties.slice();
  for (const member of members.values()) {
    if (member === from || !isWanted(member, message)) continue;
    setImmediate(() => {
      if (members.get(member.name) === member) member.onMessage(copy);
    });
  }
}

function isWanted(member: Member, message: FabricMessage): boolean {
  for (const filter of member.interest.get(message.instance) ?? []) {
    if (matchesFilter(filter, message.topic)) return true;
  }
  return false;
}

async function ask(
  clock: Clock,
  members: Map<string, Member>,
  node: string,
  body: Uint8Array,
): Promise<Uint8Array> {
  const question = body.slice();
  await nextTurn();
  const handler = members.get(node)?.onRequest;
  if (handler === undefined) throw new Fault('serverUnavailable', `node ${node} is not there`);
  let stop = (): void => {};
  const late = new Promise<never>((_, reject) => {
    stop = clock.after(ANSWER_WAIT_MS, () => {
      reject(new Fault('serverUnavailable', `node ${node} does not answer`));
    });
  });
  try {
    const answer = await Promise.race([handler(question), late]);
    return answer.slice();
  } finally {
    stop();
  }
}
