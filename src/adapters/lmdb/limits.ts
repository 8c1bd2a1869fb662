/** Every bound of the embedded engine in one table; the documentation prints it. */
import { type LimitRow, limitRow } from '#base';

export interface LmdbLimits {
  readonly segmentBytes: number;
  readonly preparedBytes: number;
  readonly pendingBytesMax: number;
  readonly batchBytesKept: number;
  readonly cacheBytesMax: number;
  readonly tailEntriesMax: number;
  readonly overlayRowsMax: number;
  readonly overlayBytesMax: number;
  readonly applyEntries: number;
  readonly applyBytes: number;
  readonly applyDelayMs: number;
  readonly sliceMs: number;
  readonly retryMs: number;
  readonly mapBytesMax: number;
}

const MIB = 1024 * 1024;

/** The defaults; tests open engines with smaller ones. */
// biome-ignore format: a table reads in columns
export const LMDB_LIMITS: LmdbLimits = {
  segmentBytes:    64 * MIB,
  preparedBytes:   16 * MIB,
  pendingBytesMax: 64 * MIB,
  batchBytesKept:  4 * MIB,
  cacheBytesMax:   64 * MIB,
  tailEntriesMax:  2_000_000,
  overlayRowsMax:  1_000_000,
  overlayBytesMax: 512 * MIB,
  applyEntries:    400_000,
  applyBytes:      64 * MIB,
  applyDelayMs:    1000,
  sliceMs:         3,
  retryMs:         1000,
  mapBytesMax:     256 * 1024 * MIB,
};

// biome-ignore format: a table reads in columns
export const ENGINE_LIMITS: readonly LimitRow[] = [
  row('segmentBytes', 'bytes', 'the journal goes on in the next segment file; a larger batch makes a larger segment'),
  row('preparedBytes', 'bytes', 'space zeroed ahead of the journal; beyond it a commit also allocates and is slower'),
  row('pendingBytesMax', 'bytes', 'pendingBytes above it: the broker stops reading its publishers'),
  row('batchBytesKept', 'bytes', 'a batch buffer that grew beyond it is given back after its commit'),
  row('cacheBytesMax', 'bytes', 'journal blocks for readers; one that nobody read lately makes room'),
  row('tailEntriesMax', 'entries', 'messages not yet in the index; beyond it appends are refused with the cause'),
  row('overlayRowsMax', 'rows', 'rows not yet in LMDB; beyond it writes are refused with the cause'),
  row('overlayBytesMax', 'bytes', 'bytes of rows not yet in LMDB; beyond it writes are refused with the cause'),
  row('applyEntries', 'entries', 'entries after which the journal is applied to LMDB at once'),
  row('applyBytes', 'bytes', 'journal bytes after which it is applied to LMDB at once; bounds the replay at start'),
  row('applyDelayMs', 'ms', 'time after which activity is applied to LMDB in any case'),
  row('sliceMs', 'ms', 'background work hands the event loop back after this long'),
  row('retryMs', 'ms', 'time between attempts while the disk refuses writes'),
  row('mapBytesMax', 'bytes', 'address space for LMDB; beyond it rows are refused with storeFull'),
];

function row(
  name: keyof LmdbLimits,
  unit: 'bytes' | 'entries' | 'rows' | 'ms',
  policy: string,
): LimitRow {
  return limitRow(name, unit, LMDB_LIMITS[name], policy);
}
