/** The seams: what the core needs from a storage engine and from other nodes. */
export type { Engine } from './engine.ts';
export type { Fabric, FabricMessage } from './fabric.ts';
export { FilterSet, type LogFilter, NEVER } from './filter-set.ts';
export { FilterNode, FilterTree } from './filter-tree.ts';
export type {
  Appended,
  InstanceLog,
  LogEntry,
  LogMessage,
  LogPage,
  LogRead,
  LogRetention,
  MessageLog,
  Position,
} from './message-log.ts';
export type { Row, RowChange, Settled, Store, Table, Version } from './store.ts';
export { hasWildcard, literalPrefix, matchesFilter } from './topic-filter.ts';
