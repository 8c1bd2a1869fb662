/**
 * Long lists, a page at a time: rows in the order of their keys, from a cursor on.
 *
 * A `Store` promises no order, so a page looks at all rows of a prefix and keeps the smallest keys;
 * long lists have many prefixes, and a page looks at few. Memory stays bounded. Rows that come and
 * go meanwhile shift nothing: the cursor is a key.
 */
import { Fault } from '#base';
import type { Row, Table } from '#ports';

export interface RecordPage<T> {
  readonly results: readonly T[];
  /** '' on the last page. */
  readonly nextToken: string;
}

export interface PageRequest {
  /** '' or left out: from the start. */
  readonly nextToken?: string;
  readonly size: number;
}

interface PageScan<T> {
  /** What every key of the list begins with; a cursor of another list is refused. */
  readonly home: string;
  /** Ascending, and none within another. */
  readonly prefixes: readonly string[];
  /** Whether the row is asked for. */
  takes(key: string): boolean;
  read(row: Row): T;
}

const SPARE_PAGES = 4; // how many pages of candidates are held before the surplus is dropped

/** One page. Throws `invalidParameter` for a cursor of another list. */
export async function readPage<T>(
  table: Table,
  request: PageRequest,
  scan: PageScan<T>,
): Promise<RecordPage<T>> {
  const after = cursorKey(request.nextToken ?? '', scan.home);
  const wanted = request.size + 1;
  let found: Row[] = [];
  for (const prefix of scan.prefixes) {
    if (after > prefix && !after.startsWith(prefix)) continue;
    let bound: string | undefined;
    for await (const rows of table.scan(prefix)) {
      for (const row of rows) {
        if (row.key <= after || (bound !== undefined && row.key > bound)) continue;
        if (scan.takes(row.key)) found.push(row);
      }
      if (found.length <= wanted * SPARE_PAGES) continue;
      found = smallest(found, wanted);
      bound = found.at(-1)?.key;
    }
    if (found.length >= wanted) break;
  }
  found = smallest(found, wanted);
  const page = found.slice(0, request.size);
  const last = found.length > request.size ? page.at(-1)?.key : undefined;
  return {
    results: page.map(scan.read),
    nextToken: last === undefined ? '' : Buffer.from(last).toString('base64url'),
  };
}

function smallest(found: Row[], count: number): Row[] {
  found.sort((a, b) => (a.key < b.key ? -1 : 1));
  return found.slice(0, count);
}

function cursorKey(nextToken: string, home: string): string {
  if (nextToken === '') return '';
  const key = Buffer.from(nextToken, 'base64url').toString();
  if (!key.startsWith(home)) throw new Fault('invalidParameter', 'NextToken is not one of ours');
  return key;
}
