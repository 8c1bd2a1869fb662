/** The timer wheel, against the one promise that matters: never early, and not much late. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import { Timer, TimerWheel } from './timer-wheel.ts';

const TICK_MS = 500;
const ROUND_MS = 512 * TICK_MS;

class Alarm extends Timer {
  readonly firedMs: number[] = [];
  readonly #clock: ManualClock;
  readonly #then: (alarm: Alarm) => void;

  constructor(clock: ManualClock, then: (alarm: Alarm) => void = () => {}) {
    super();
    this.#clock = clock;
    this.#then = then;
  }

  override expired(): void {
    this.firedMs.push(this.#clock.monotonicMs());
    this.#then(this);
  }
}

describe('a timer', () => {
  test('fires once, never early and at most two ticks late, whatever its delay', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const waiting: { readonly alarm: Alarm; readonly dueMs: number }[] = [];
    const delays = [0, 1, 499, 500, 501, 1_000, 60_000, ROUND_MS - 500, ROUND_MS, ROUND_MS + 1];
    for (const shiftMs of [0, 1, 250, 499, 500]) {
      clock.advance(shiftMs);
      for (const delayMs of [...delays, 3 * ROUND_MS + 777]) {
        const alarm = new Alarm(clock);
        wheel.schedule(alarm, delayMs);
        waiting.push({ alarm, dueMs: clock.monotonicMs() + delayMs });
      }
    }

    clock.advance(5 * ROUND_MS);

    for (const { alarm, dueMs } of waiting) {
      assert.equal(alarm.firedMs.length, 1);
      const lateMs = alarm.firedMs[0]! - dueMs;
      assert.ok(lateMs >= 0 && lateMs <= 2 * TICK_MS, `${lateMs} ms late`);
      assert.equal(alarm.scheduled, false);
    }
  });

  test('scheduled again counts from the second time only', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const alarm = new Alarm(clock);
    wheel.schedule(alarm, 1_000);
    clock.advance(900);
    wheel.schedule(alarm, 10_000);
    const dueMs = clock.monotonicMs() + 10_000;

    clock.advance(60_000);

    assert.equal(alarm.firedMs.length, 1);
    assert.ok(alarm.firedMs[0]! >= dueMs);
  });

  test('that was cancelled, even twice, does not fire', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const [one, two, three] = [new Alarm(clock), new Alarm(clock), new Alarm(clock)];
    for (const alarm of [one, two, three]) wheel.schedule(alarm, 1_000);

    wheel.cancel(two);
    wheel.cancel(two);
    clock.advance(5_000);

    assert.deepEqual(
      [one, two, three].map((alarm) => alarm.firedMs.length),
      [1, 0, 1],
    );
    assert.equal(two.scheduled, false);
  });

  test('may schedule itself again from expired()', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const alarm = new Alarm(clock, (self) => {
      if (self.firedMs.length < 4) wheel.schedule(self, ROUND_MS); // the very slot it came from
    });
    wheel.schedule(alarm, ROUND_MS);

    clock.advance(10 * ROUND_MS);

    assert.equal(alarm.firedMs.length, 4);
    for (let i = 1; i < 4; i++) assert.ok(alarm.firedMs[i]! - alarm.firedMs[i - 1]! >= ROUND_MS);
  });

  test('may cancel and postpone others of its slot from expired()', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const alarms: Alarm[] = [];
    const meddle = (self: Alarm): void => {
      if (alarms.filter((alarm) => alarm.firedMs.length > 0).length > 1) return;
      const others = alarms.filter((alarm) => alarm !== self);
      wheel.cancel(others[0]!);
      wheel.schedule(others[1]!, 5_000);
      wheel.schedule(others[2]!, ROUND_MS - TICK_MS); // the slot that is being fired
    };
    for (let i = 0; i < 5; i++) alarms.push(new Alarm(clock, meddle));
    for (const alarm of alarms) wheel.schedule(alarm, 1_000);
    const startMs = clock.monotonicMs();

    clock.advance(3 * ROUND_MS);

    const fired = alarms.map((alarm) => alarm.firedMs.map((ms) => ms - startMs));
    const sorted = fired.map((times) => times[0] ?? -1).sort((a, b) => a - b);
    assert.deepEqual(
      fired.map((times) => times.length).sort((a, b) => a - b),
      [0, 1, 1, 1, 1],
    );
    assert.equal(sorted[0], -1);
    assert.deepEqual(sorted.slice(1, 3), [1_500, 1_500]);
    assert.ok(sorted[3]! >= 6_500 && sorted[3]! < 8_000);
    assert.ok(sorted[4]! >= 1_500 + ROUND_MS - TICK_MS);
  });
});

describe('a wheel that was held up', () => {
  test('fires all that is due when it gets to run, and nothing twice', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const alarms = [1_000, 5_000, 20_000, 3 * ROUND_MS].map((delayMs) => {
      const alarm = new Alarm(clock);
      wheel.schedule(alarm, delayMs);
      return alarm;
    });

    clock.stall(30_000);
    clock.advance(0);
    assert.deepEqual(
      alarms.map((alarm) => alarm.firedMs.length),
      [1, 1, 1, 0],
    );
    clock.stall(4 * ROUND_MS);
    clock.advance(0);

    assert.deepEqual(
      alarms.map((alarm) => alarm.firedMs.length),
      [1, 1, 1, 1],
    );
  });

  test('does not fire early what is scheduled before it has caught up', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const alarm = new Alarm(clock);

    clock.stall(10_000);
    wheel.schedule(alarm, 2_000);
    const dueMs = clock.monotonicMs() + 2_000;
    clock.advance(5_000);

    assert.equal(alarm.firedMs.length, 1);
    assert.ok(alarm.firedMs[0]! >= dueMs, `${dueMs - alarm.firedMs[0]!} ms early`);
  });

  test('does not fire early what is scheduled again while it catches up', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, TICK_MS);
    const alarm = new Alarm(clock, (self) => wheel.schedule(self, 2_000));
    wheel.schedule(alarm, 2_000);

    clock.stall(20_000);
    clock.advance(10_000);

    for (let i = 1; i < alarm.firedMs.length; i++) {
      const gapMs = alarm.firedMs[i]! - alarm.firedMs[i - 1]!;
      assert.ok(gapMs >= 2_000, `fired again after ${gapMs} ms`);
    }
  });
});

test('stop() lets go of the clock', () => {
  const clock = new ManualClock();
  const wheel = new TimerWheel(clock, TICK_MS);
  const alarm = new Alarm(clock);
  wheel.schedule(alarm, 1_000);

  wheel.stop();
  clock.advance(60_000);

  assert.equal(clock.waitingCount, 0);
  assert.deepEqual(alarm.firedMs, []);
});

test('property: any schedule of many timers fires what it should, when it should', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('schedule' as const),
      timer: fc.nat(9),
      delayMs: fc.oneof(fc.nat(3_000), fc.nat(2 * ROUND_MS)),
    }),
    fc.record({ kind: fc.constant('cancel' as const), timer: fc.nat(9) }),
    fc.record({
      kind: fc.constant('advance' as const),
      durationMs: fc.oneof(fc.nat(700), fc.nat(ROUND_MS)),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
      const clock = new ManualClock();
      const wheel = new TimerWheel(clock, TICK_MS);
      const due: (number | undefined)[] = Array.from({ length: 10 }, () => undefined);
      const timers = due.map((_, index) => {
        return new Alarm(clock, (alarm) => {
          const dueMs = due[index];
          assert.notEqual(dueMs, undefined, 'it was scheduled');
          const lateMs = alarm.firedMs.at(-1)! - dueMs!;
          assert.ok(lateMs >= 0 && lateMs <= 2 * TICK_MS, `${lateMs} ms late`);
          due[index] = undefined;
        });
      });
      for (const one of steps) {
        if (one.kind === 'advance') clock.advance(one.durationMs);
        else if (one.kind === 'cancel') {
          wheel.cancel(timers[one.timer]!);
          due[one.timer] = undefined;
        } else {
          wheel.schedule(timers[one.timer]!, one.delayMs);
          due[one.timer] = clock.monotonicMs() + one.delayMs;
        }
        for (const [index, dueMs] of due.entries()) {
          assert.equal(timers[index]!.scheduled, dueMs !== undefined);
          const late = dueMs !== undefined && clock.monotonicMs() > dueMs + 2 * TICK_MS;
          assert.equal(late, false, 'nothing is forgotten');
        }
      }
    }),
    { numRuns: 100 },
  );
});
