/**
 * The embedded durable engine: a journal that calls wait for, and LMDB behind it for finding
 * things again. See docs/adr/0002-journal-before-lmdb.md.
 */
import { assert, type Clock, Fault, type Log, systemRandom } from '#base';
import type { Engine, InstanceLog } from '#ports';
import { Applier } from './applier.ts';
import { BlockCache } from './block-cache.ts';
import { type Databases, openDatabases } from './database.ts';
import { type DataDirectory, openDirectory, unusable } from './directory.ts';
import { LmdbInstanceLog, type LogShared } from './instance-log.ts';
import { Journal } from './journal.ts';
import { LMDB_LIMITS, type LmdbLimits } from './limits.ts';
import { recover } from './recovery.ts';
import { Segments } from './segments.ts';
import { LmdbStore } from './tables.ts';

const AGE_CHECK_MS = 1000;

export interface LmdbEngineOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Other bounds than the usual, for tests. */
  readonly limits?: Partial<LmdbLimits>;
}

/** Opens the store in `directory`, makes it if there is none, and replays what a crash left. */
export async function openLmdbEngine(options: LmdbEngineOptions): Promise<Engine> {
  const directory = await openDirectory(options.directory, systemRandom);
  try {
    return await openIn(directory, options);
  } catch (error) {
    await directory.release();
    throw error instanceof Fault ? error : unusable(options.directory, error);
  }
}

async function openIn(directory: DataDirectory, options: LmdbEngineOptions): Promise<Engine> {
  const limits = { ...LMDB_LIMITS, ...options.limits };
  const databases = await openDatabases(directory.database, limits);
  await directory.sync();
  const segments = new Segments(directory.journal, limits, options.log);
  try {
    return await assemble({ directory, options, limits, databases, segments });
  } catch (error) {
    await segments.close();
    await databases.close();
    throw error;
  }
}

interface Parts {
  readonly directory: DataDirectory;
  readonly options: LmdbEngineOptions;
  readonly limits: LmdbLimits;
  readonly databases: Databases;
  readonly segments: Segments;
}

async function assemble(parts: Parts): Promise<Engine> {
  const { directory, limits, databases, segments } = parts;
  const { clock, log } = parts.options;
  const cache = new BlockCache(limits);
  const store = new LmdbStore(databases);
  const instances = new Instances();
  const journal = new Journal({
    segments,
    cache,
    limits,
    clock,
    log,
    salt: directory.salt,
    obstacle: () => applier.obstacle(),
    committed: (calls, bytes) => applier.committed(calls, bytes),
    lost: () => {
      for (const one of instances.all()) one.named = false;
      for (const table of store.tables()) table.named = false;
    },
  });
  store.journal = journal;
  const shared: LogShared = {
    clock,
    log,
    limits,
    databases,
    segments,
    cache,
    journal,
    dirtyTopics: [],
    tailEntries: 0,
    indexState: 0,
  };
  const applier = new Applier({ shared, store, logs: () => instances.all() });
  const make = (id: string, number: number): LmdbInstanceLog => instances.add(shared, id, number);
  const mark = await recover({
    databases,
    segments,
    journalDirectory: directory.journal,
    salt: directory.salt,
    store,
    instance: make,
    byNumber: (number) => instances.byNumber(number),
    relieve: async (reached) => {
      journal.resume(reached);
      await applier.finish();
    },
  });
  journal.resume(mark);
  await journal.begin();
  return asEngine({ ...parts, applier, journal, store, instances, instance: (id) => make(id, 0) });
}

interface Running extends Parts {
  readonly applier: Applier;
  readonly journal: Journal;
  readonly store: LmdbStore;
  readonly instances: Instances;
  readonly instance: (id: string) => InstanceLog;
}

function asEngine(running: Running): Engine {
  const { applier, journal, store, instances, instance, segments, databases, directory } = running;
  const stop = running.options.clock.every(AGE_CHECK_MS, () => {
    for (const one of instances.all()) one.enforce();
  });
  return {
    store,
    log: { instance },
    get pendingBytes() {
      return journal.pendingBytes;
    },
    close: async () => {
      stop();
      await journal.idle();
      journal.close();
      await applier.finish().catch(() => {}); // the journal has it
      await applier.close();
      await segments.close();
      await databases.close();
      await directory.release();
    },
  };
}

/** The logs of all instances, by identifier and by number. */
class Instances {
  readonly #byId = new Map<string, LmdbInstanceLog>();
  readonly #byNumber = new Map<number, LmdbInstanceLog>();
  #highest = 0;

  all(): Iterable<LmdbInstanceLog> {
    return this.#byId.values();
  }

  byNumber(number: number): LmdbInstanceLog {
    const log = this.#byNumber.get(number);
    assert(log !== undefined, 'an instance is named before its first message');
    return log;
  }

  /** The log of that instance; a new one takes `number`, or the next free one for 0. */
  add(shared: LogShared, id: string, number: number): LmdbInstanceLog {
    let log = this.#byId.get(id);
    if (log === undefined) {
      log = new LmdbInstanceLog(shared, id, number === 0 ? this.#highest + 1 : number);
      this.#byId.set(id, log);
      this.#byNumber.set(log.number, log);
      this.#highest = Math.max(this.#highest, log.number);
    }
    return log;
  }
}
