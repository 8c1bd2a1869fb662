/** What an error of the disk means to callers. */
import { Fault } from '#base';

/** `storeFull` where room is missing, `storeUnavailable` for everything else. */
export function diskFault(what: string, error: unknown): Fault {
  const code = codeOf(error);
  const full = code !== undefined && FULL.has(code);
  const detail = `${what}: ${error instanceof Error ? error.message : String(error)}`;
  return new Fault(full ? 'storeFull' : 'storeUnavailable', detail, { cause: error });
}

function codeOf(error: unknown): string | number | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  const { code } = error;
  return typeof code === 'string' || typeof code === 'number' ? code : undefined;
}

// 28 and 122 are ENOSPC and EDQUOT as LMDB passes them on, -30792 its own MDB_MAP_FULL.
const FULL: ReadonlySet<string | number> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 28, 122, -30_792]);
