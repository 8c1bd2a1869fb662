/** The contracts on the memory engine and the fabrics. */
import { createFabricHub, openMemoryEngine } from '#adapters/memory';
import { createTestClock, type EngineUnderTest } from './engine-fixture.ts';
import { fabricContract } from './fabric-contract.ts';
import { logFiltersContract } from './log-filters-contract.ts';
import { messageLogContract } from './message-log-contract.ts';
import { storeContract } from './store-contract.ts';

const memory: EngineUnderTest = {
  name: 'memory',
  keeps: false,
  open: async (t) => {
    const clock = createTestClock();
    const engine = openMemoryEngine({ clock });
    t.after(() => engine.close());
    return { engine, clock, reopen: undefined };
  },
  openFull: async (t) => {
    const engine = openMemoryEngine({ clock: createTestClock(), bytesMax: 1_000_000 });
    t.after(() => engine.close());
    const ballast = engine.store.table('ballast');
    await ballast.put('ballast', Buffer.alloc(900_000));
    const makeRoom = async (): Promise<void> => {
      await ballast.remove('ballast');
    };
    return { engine, tooMany: 500_000, makeRoom };
  },
};

storeContract(memory);
messageLogContract(memory);
logFiltersContract(memory);
fabricContract('hub', () => createFabricHub({ clock: createTestClock() }));
