/**
 * One broker for all tests of a file, so that a suite of hundreds stays quick.
 *
 * Tests keep out of each other's way by `unique` names for topics and clients;
 * every connection made here ends with its test.
 */
import { after, before, type TestContext } from 'node:test';
import { type BrokerOptions, type BrokerProcess, startBroker } from './broker-process.ts';
import type { Version } from './bytes.ts';
import { type ConnectOptions, connectRaw, openSocket, type WireClient } from './wire-client.ts';

export interface SharedBroker {
  readonly port: number;
  readonly urls: readonly string[];
  readonly process: BrokerProcess;
  /** Connects a client that is dropped when the test ends. */
  connect(t: TestContext, options?: Omit<ConnectOptions, 'port' | 't'>): Promise<WireClient>;
  /** A connection without CONNECT, dropped when the test ends. */
  open(t: TestContext, version?: Version): Promise<WireClient>;
}

/** Call once at the top of a test file. */
export function sharedBroker(options: BrokerOptions = {}): SharedBroker {
  const cleanUps: (() => Promise<void>)[] = [];
  let broker: BrokerProcess | undefined;

  before(async () => {
    broker = await startBroker({ after: (cleanUp) => void cleanUps.push(cleanUp) }, options);
  });
  after(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });

  const running = (): BrokerProcess => {
    if (broker === undefined) throw new Error('the broker is started by before(), not yet run');
    return broker;
  };
  return {
    get port() {
      return running().port;
    },
    get urls() {
      return running().urls;
    },
    get process() {
      return running();
    },
    connect: (t, connectOptions) => connectRaw({ ...connectOptions, port: running().port, t }),
    open: (t, version) => openSocket(running().port, version, t),
  };
}
