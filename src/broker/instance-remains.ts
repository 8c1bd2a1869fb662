/**
 * What an instance leaves in tables and a log of its own. Its rows in tables shared with others
 * are the registry's to remove, which waits for this before the id is free again.
 */
import type { Engine, LogRetention } from '#ports';

/**
 * Tables that hold the rows of one instance alone: with its id in front, the longest topics would
 * not fit a key.
 */
const KINDS = ['retained', 'groups'] as const;

const NOTHING: LogRetention = { ageMs: 0, bytesMax: 0, countMax: 0 };

/** The name of such a table. */
export function ownTable(kind: (typeof KINDS)[number], instanceId: string): string {
  return `${kind}-${instanceId}`;
}

/** Empties them, and the log; resolves once what was in the tables is gone for good. */
export async function clearInstance({ log, store }: Engine, instanceId: string): Promise<void> {
  log.instance(instanceId).retain(NOTHING);
  for (const kind of KINDS) {
    const table = store.table(ownTable(kind, instanceId));
    for await (const rows of table.scan('')) {
      await Promise.all(rows.map(({ key }) => table.remove(key)));
    }
  }
}
