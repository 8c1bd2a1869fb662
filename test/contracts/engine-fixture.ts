/** What the contract suites need from an engine's tests: how to open, reopen and fill one. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Clock, Fault } from '#base';
import {
  type Engine,
  FilterSet,
  type InstanceLog,
  type LogEntry,
  type LogFilter,
  type LogMessage,
  type Position,
  type Row,
  type Table,
} from '#ports';

const AROUND = Buffer.from('<>');

/** An open engine under test; closed with the test. */
export interface OpenedEngine {
  readonly engine: Engine;
  readonly clock: TestClock;
  /** Closes the engine and opens it again on the same data; `undefined`: it keeps none. */
  readonly reopen: (() => Promise<Engine>) | undefined;
}

/** An engine with hardly any room left. */
export interface FullEngine {
  readonly engine: Engine;
  /** Bytes that surely do not fit. */
  readonly tooMany: number;
  /** Removes the cause. */
  makeRoom(): Promise<void>;
}

export interface EngineUnderTest {
  readonly name: string;
  /** What it was given is there after a restart; the rules on that bind no other engine. */
  readonly keeps: boolean;
  open(t: TestContext): Promise<OpenedEngine>;
  /** Text: why it cannot be shown here, and how it could. */
  openFull(t: TestContext): Promise<FullEngine | string>;
}

/** Wall-clock time that only moves when told; timers are real and bound to real time. */
export interface TestClock extends Clock {
  advance(ms: number): void;
}

export function createTestClock(): TestClock {
  let nowMs = 1_000_000;
  const periodic = new Set<() => void>();
  return {
    nowMs: () => nowMs,
    monotonicMs: () => performance.now(),
    every: (periodMs, action) => {
      periodic.add(action);
      const timer = setInterval(action, periodMs).unref();
      return () => {
        periodic.delete(action);
        clearInterval(timer);
      };
    },
    after: (delayMs, action) => {
      const timer = setTimeout(action, delayMs).unref();
      return () => clearTimeout(timer);
    },
    advance: (ms) => {
      nowMs += ms;
      for (const action of periodic) action();
    },
  };
}

/** A message with everything but its topic and text filled in; around its bytes lie others. */
export function messageOf(topic: string, text = '', more: Partial<LogMessage> = {}): LogMessage {
  const { payload = Buffer.from(text), properties = Buffer.alloc(0) } = more;
  const bytes = Buffer.concat([AROUND, payload, AROUND, properties, AROUND]);
  const payloadStart = AROUND.length;
  const payloadEnd = payloadStart + payload.length;
  const propertiesStart = payloadEnd + AROUND.length;
  const propertiesEnd = propertiesStart + properties.length;
  return {
    topic,
    qos: 1,
    retain: false,
    publisher: 'publisher',
    acceptedMs: 1_000_000,
    expiresMs: 0,
    ...more,
    payload: bytes,
    payloadStart,
    payloadEnd,
    properties: bytes,
    propertiesStart,
    propertiesEnd,
  };
}

export function append(log: InstanceLog, message: LogMessage): Promise<Position> {
  return new Promise((resolve, reject) => {
    log.append(message, { appended: resolve, refused: reject });
  });
}

export function write(table: Table, key: string, value: Uint8Array | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    table.write(key, value, {
      settled: (fault: Fault | undefined) => {
        if (fault === undefined) resolve();
        else reject(fault);
      },
    });
  });
}

/** Every message after `after` for these filters, page by page. */
export async function readAll(
  log: InstanceLog,
  asked: readonly (string | LogFilter)[],
  options: { readonly after?: Position; readonly countMax?: number } = {},
): Promise<LogEntry[]> {
  const filters = new FilterSet(
    asked.map((one) => (typeof one === 'string' ? { filter: one, after: 0 } : one)),
  );
  const entries: LogEntry[] = [];
  let after = options.after ?? 0;
  for (;;) {
    const page = await log.read({
      filters,
      after,
      countMax: options.countMax ?? 1000,
      bytesMax: 1_000_000,
    });
    entries.push(...page.entries);
    assert.ok(page.next >= after, 'next never goes back');
    after = page.next;
    if (page.complete) return entries;
  }
}

export async function scanAll(table: Table, prefix: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const page of table.scan(prefix)) rows.push(...page);
  return rows;
}

export function payloadOf({ payload, payloadStart, payloadEnd }: LogMessage): Buffer {
  return payload.subarray(payloadStart, payloadEnd);
}

export function propertiesOf(message: LogMessage): Buffer {
  return message.properties.subarray(message.propertiesStart, message.propertiesEnd);
}

/** All a message says, wherever its bytes lie. */
export function wordsOf(message: LogMessage): Record<string, unknown> {
  const { topic, qos, retain, publisher, acceptedMs, expiresMs } = message;
  const bytes = { payload: payloadOf(message), properties: propertiesOf(message) };
  return { ...bytes, topic, qos, retain, publisher, acceptedMs, expiresMs };
}

export function textOf(entry: LogMessage | undefined): string | undefined {
  return entry && payloadOf(entry).toString();
}

/** Waits for a fact, with a deadline. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadlineMs, `in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
