/** The turn: when sockets are flushed at once, and when together. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Flushable, Turn } from './turn.ts';

/** A turn whose end the test decides, and a record of what happened. */
class Stage {
  readonly events: string[] = [];
  readonly #pending: (() => void)[] = [];
  readonly turn: Turn;

  constructor() {
    this.turn = new Turn(
      () => void this.events.push('before'),
      (run) => void this.#pending.push(run),
    );
  }

  socket(name: string, whileFlushing: () => void = () => {}, waitingBytes = 100): Flushable {
    return {
      listed: false,
      probeSeen: 0,
      waitingBytes,
      flush: () => {
        this.events.push(name);
        whileFlushing();
      },
    };
  }

  /** One read of so many packets, answered on these sockets. */
  read(packets: number, ...sockets: readonly Flushable[]): void {
    for (const socket of sockets) if (!socket.listed) this.turn.add(socket);
    this.turn.readHandled(packets);
  }

  get waits(): boolean {
    return this.#pending.length > 0;
  }

  endTurn(): void {
    for (const run of this.#pending.splice(0)) run();
  }

  /** What happened since last asked. */
  seen(): string {
    return this.events.splice(0).join(' ');
  }
}

describe('a trickle', () => {
  test('a read of one packet is answered at once', () => {
    const stage = new Stage();
    const a = stage.socket('a');

    stage.read(1, a);

    assert.equal(stage.seen(), 'a');
    assert.equal(a.listed, false);
    assert.equal(stage.waits, false);
  });

  test('up to four sockets at once, five wait', () => {
    const stage = new Stage();
    const sockets = ['a', 'b', 'c', 'd', 'e'].map((name) => stage.socket(name));

    stage.read(1, ...sockets.slice(0, 4));
    assert.equal(stage.seen(), 'a b c d');
    stage.read(1, ...sockets);
    assert.equal(stage.seen(), '');
    stage.endTurn();

    assert.equal(stage.seen(), 'before a b c d e');
  });

  test('a read that answers nothing flushes nothing', () => {
    const stage = new Stage();

    stage.read(1);
    stage.read(10);

    assert.equal(stage.seen(), '');
    assert.equal(stage.waits, false);
  });
});

describe('bulk', () => {
  test('a read of many packets waits for the end of the turn, once a socket', () => {
    const stage = new Stage();
    const [a, b] = [stage.socket('a'), stage.socket('b')];

    stage.read(20, a);
    stage.read(1, b, a); // what follows in the same turn waits with it
    assert.equal(stage.seen(), '');
    stage.endTurn();

    assert.equal(stage.seen(), 'before a b');
    assert.equal(a.listed || b.listed, false);
  });

  test('makes the next single packet wait too, until a thin turn', () => {
    const stage = new Stage();
    const [a, b] = [stage.socket('a'), stage.socket('b')];
    stage.read(20, a);
    stage.endTurn();
    stage.seen();

    stage.read(1, a);
    assert.equal(stage.seen(), '');
    stage.read(1, b); // two packets, two sockets: gathering did not pay
    stage.endTurn();
    assert.equal(stage.seen(), 'before a b');

    stage.read(1, a);
    assert.equal(stage.seen(), 'a');
  });

  test('a scheduled turn with nothing listed changes no mind', () => {
    const stage = new Stage();
    const a = stage.socket('a');

    stage.turn.schedule();
    stage.endTurn();
    assert.equal(stage.seen(), 'before');

    stage.read(1, a);
    assert.equal(stage.seen(), 'a');
  });
});

describe('the end of a turn', () => {
  test('is scheduled once, and again after it has been', () => {
    const stage = new Stage();

    stage.turn.schedule();
    stage.turn.schedule();
    stage.endTurn();
    assert.equal(stage.seen(), 'before');
    stage.turn.schedule();
    stage.endTurn();

    assert.equal(stage.seen(), 'before');
    assert.equal(stage.waits, false);
  });

  test('flushes what flushing brought about', () => {
    const stage = new Stage();
    const b = stage.socket('b');
    const a = stage.socket('a', () => stage.turn.add(b));

    stage.read(2, a);
    stage.endTurn();

    assert.equal(stage.seen(), 'before a b');
    assert.equal(b.listed, false);
  });
});

describe('bulk', () => {
  const large = 40_000;

  test('a socket with much to send does not wait for the end of the turn; others do', () => {
    const stage = new Stage();
    const small = stage.socket('small');
    const bulky = stage.socket('bulky', undefined, large);

    stage.read(9, small, bulky);

    assert.equal(stage.seen(), 'bulky');
    assert.equal(bulky.listed, false);
    stage.endTurn();
    assert.equal(stage.seen(), 'before small');
  });

  test('where a read went to many sockets, all of them wait', () => {
    const stage = new Stage();
    const sockets = ['a', 'b', 'c', 'd', 'e'].map((name) => stage.socket(name, undefined, large));

    stage.read(9, ...sockets);

    assert.equal(stage.seen(), '');
    stage.endTurn();
    assert.equal(stage.seen(), 'before a b c d e');
  });
});

describe('the probe', () => {
  /** Single packets, so many within one pass of the loop, for many passes. */
  function passes(stage: Stage, count: number, sockets: readonly Flushable[]): string {
    for (let pass = 0; pass < count; pass++) {
      for (const socket of sockets) stage.read(1, socket);
      stage.endTurn();
    }
    return stage.seen();
  }

  test('ends eagerness where the same socket is flushed again and again within one pass', () => {
    const stage = new Stage();
    const a = stage.socket('a');

    const seen = passes(
      stage,
      40,
      Array.from({ length: 10 }, () => a),
    );

    assert.ok(seen.startsWith('a a a a a a a a a a'));
    assert.ok(seen.includes('before a before a'), 'one flush a pass by now');
  });

  const socketsOf = (stage: Stage, count: number): readonly Flushable[] =>
    Array.from({ length: count }, (_, index) => stage.socket(`s${index}`));

  test('keeps it where each pass flushes a few sockets once', () => {
    const stage = new Stage();

    const seen = passes(stage, 100, socketsOf(stage, 5));

    assert.equal(seen.includes('before'), false);
    assert.equal(seen.split(' ').length, 500);
  });

  test('ends it where a pass has many reads, until one has few', () => {
    const stage = new Stage();
    const sockets = socketsOf(stage, 10);

    passes(stage, 40, sockets);
    const many = passes(stage, 1, sockets);
    const few = passes(stage, 1, sockets.slice(0, 2));
    const thereafter = passes(stage, 1, sockets.slice(0, 2));

    assert.equal(many, 'before s0 s1 s2 s3 s4 s5 s6 s7 s8 s9');
    assert.equal(few, 'before s0 s1');
    assert.equal(thereafter, 's0 s1');
  });
});
