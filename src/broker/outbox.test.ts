/** The outbox: bytes leave as they came, and a stalled client holds little more than it is owed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Outbox, OutboxTotal } from './outbox.ts';
import type { Peer, Transport } from './transport.ts';

const PEER: Peer = {
  transport: 'tcp',
  address: '127.0.0.1',
  port: 1,
  listener: 'mqtt://127.0.0.1:0',
  serverName: undefined,
  certificate: undefined,
  certificateVerified: false,
  instanceId: undefined,
};

/** A socket that takes `room` bytes at once and the rest when the test says so. */
class SlowTransport implements Transport {
  readonly peer = PEER;
  /** Pieces of every `send`, as they were given. */
  readonly sends: Uint8Array[][] = [];
  bufferedBytes = 0;
  takenBytes = 0;
  room = Number.POSITIVE_INFINITY;
  #waiting: Uint8Array[] = [];
  #taken: Buffer[] = [];

  send(pieces: readonly Uint8Array[], count: number): void {
    assert.ok(count > 0);
    const given = pieces.slice(0, count);
    this.sends.push(given);
    this.#waiting.push(...given);
    this.bufferedBytes += given.reduce((sum, piece) => sum + piece.length, 0);
    this.take(this.room);
  }

  /** The system takes so many bytes; they are looked at only now, as a real one would. */
  take(count: number): void {
    const all = Buffer.concat(this.#waiting);
    const size = Math.min(count, all.length);
    this.#taken.push(Buffer.from(all.subarray(0, size)));
    this.takenBytes += size;
    this.#drop(size);
    this.bufferedBytes = all.length - size;
    if (this.bufferedBytes === 0) this.#waiting = [];
  }

  /** What is left stays where the sender put it: its memory is not to be used again. */
  #drop(count: number): void {
    let left = count;
    while (left > 0 && this.#waiting.length > 0) {
      const piece = this.#waiting.shift()!;
      if (piece.length > left) this.#waiting.unshift(piece.subarray(left));
      left -= Math.min(left, piece.length);
    }
  }

  get taken(): Buffer {
    return Buffer.concat(this.#taken);
  }

  pause(): void {}
  resume(): void {}
  watchPeer(): void {}
  end(): void {}
  destroy(): void {}
  fail(): void {}
}

/** Frames as slabs hold them: side by side in blocks. */
class Frames {
  readonly written: Buffer[] = [];
  bytes = 0;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;
  #next = 0;

  append(outbox: Outbox, size: number, gap: number, way: 'append' | 'appendFrame'): void {
    this.#at += gap;
    if (this.#at + size > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(size, 64 * 1024));
      this.#at = 0;
    }
    const start = this.#at;
    this.#at += size;
    const bytes = this.#block.subarray(start, this.#at);
    this.#fill(bytes);
    outbox[way](this.#block, start, this.#at);
  }

  /** A copy of the line's own. */
  copy(outbox: Outbox, size: number): void {
    const start = outbox.reserve(size);
    const bytes = outbox.reserved.subarray(start, start + size);
    this.#fill(bytes);
    outbox.append(outbox.reserved, start, start + size);
  }

  #fill(bytes: Buffer): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#next = (this.#next + 1) % 251;
    this.written.push(Buffer.from(bytes));
    this.bytes += bytes.length;
  }
}

const anyOutbox = fc.nat(1);
const anyStep = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('append' as const, 'appendFrame' as const),
      outbox: anyOutbox,
      size: fc.oneof(fc.nat(200), fc.nat(200), fc.integer({ min: 10_000, max: 120_000 })),
      gap: fc.constantFrom(0, 0, 0, 7),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('copy' as const),
      outbox: anyOutbox,
      size: fc.oneof(fc.nat(200), fc.integer({ min: 3_000, max: 9_000 })),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('flush' as const), outbox: anyOutbox }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('take' as const),
      outbox: anyOutbox,
      count: fc.nat(400_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('room' as const),
      outbox: anyOutbox,
      room: fc.constantFrom(0, 1, 1_000, 300_000, Number.POSITIVE_INFINITY),
    }),
  },
);
type Step = typeof anyStep extends fc.Arbitrary<infer T> ? T : never;

/** One connection's outbox, its socket, and all that was ever put in. */
class Line {
  readonly outbox: Outbox;
  readonly transport = new SlowTransport();
  readonly frames = new Frames();

  constructor(total: OutboxTotal) {
    this.outbox = new Outbox(total);
  }

  apply(step: Step): void {
    const { outbox, transport } = this;
    if (step.kind === 'append' || step.kind === 'appendFrame') {
      this.frames.append(outbox, step.size, step.gap, step.kind);
    } else if (step.kind === 'copy') this.frames.copy(outbox, step.size);
    else if (step.kind === 'take') transport.take(step.count);
    else if (step.kind === 'room') transport.room = step.room;
    else {
      const free = transport.bufferedBytes === 0;
      outbox.flush(transport);
      if (free) assert.ok(outbox.bytes === 0 || transport.bufferedBytes > 0);
    }
  }

  check(): void {
    const { outbox, transport, frames } = this;
    const known = outbox.bytes + transport.bufferedBytes + transport.takenBytes;
    assert.equal(known, frames.bytes);
  }

  end(): void {
    const { outbox, transport, frames } = this;
    transport.room = Number.POSITIVE_INFINITY;
    transport.take(Number.POSITIVE_INFINITY);
    outbox.flush(transport);
    assert.equal(outbox.bytes, 0);
    assert.ok(transport.taken.equals(Buffer.concat(frames.written)));
  }
}

describe('property: any run of appends, copies, flushes and stalls', () => {
  test('bytes come out as they went in, are counted, and share no memory with other lines', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 60, size: 'max' }), (steps) => {
        const total = new OutboxTotal();
        const lines = [new Line(total), new Line(total)] as const;
        for (const step of steps) {
          lines[step.outbox as 0 | 1].apply(step);
          for (const line of lines) line.check();
          assert.equal(total.bytes, lines[0].outbox.bytes + lines[1].outbox.bytes);
        }
        for (const line of lines) line.end();
      }),
      { numRuns: 100 },
    );
  });
});

describe('pieces', () => {
  test('frames side by side leave as one piece, others in one call', () => {
    const outbox = new Outbox(new OutboxTotal());
    const transport = new SlowTransport();
    const [one, other] = [Buffer.alloc(100, 1), Buffer.alloc(100, 2)];

    outbox.append(one, 0, 10);
    outbox.append(one, 10, 40);
    outbox.append(other, 0, 5);
    outbox.append(one, 40, 50);
    outbox.append(one, 60, 70); // a gap
    outbox.flush(transport);

    assert.equal(transport.sends.length, 1);
    assert.deepEqual(
      transport.sends[0]!.map((piece) => piece.length),
      [40, 5, 10, 10],
    );
  });

  test('nothing to send is not sent', () => {
    const outbox = new Outbox(new OutboxTotal());
    const transport = new SlowTransport();

    outbox.flush(transport);
    outbox.append(Buffer.alloc(10), 3, 3);
    outbox.flush(transport);

    assert.deepEqual(transport.sends, []);
  });

  test('a large backlog is handed over in parts, the next once the last was taken', () => {
    const outbox = new Outbox(new OutboxTotal());
    const transport = new SlowTransport();
    transport.room = 0;
    for (let i = 0; i < 20; i++) outbox.append(Buffer.alloc(64 * 1024, i), 0, 64 * 1024);

    outbox.flush(transport);
    const first = transport.bufferedBytes;
    assert.ok(first >= 256 * 1024 && first <= 320 * 1024, `${first} bytes handed over`);
    outbox.flush(transport);
    assert.equal(transport.bufferedBytes, first);

    while (transport.bufferedBytes > 0) {
      transport.take(Number.POSITIVE_INFINITY);
      outbox.flush(transport);
    }
    assert.equal(transport.taken.length, 20 * 64 * 1024);
    assert.equal(outbox.bytes, 0);
  });
});

describe('a stalled client', () => {
  test('holds what it is owed and not the blocks around it', () => {
    const outbox = new Outbox(new OutboxTotal());
    const transport = new SlowTransport();
    transport.room = 0;
    outbox.append(Buffer.from('x'), 0, 1);
    outbox.flush(transport); // and from now on the socket takes nothing
    let owed = 0;
    for (let i = 0; i < 200; i++) {
      const block = Buffer.allocUnsafeSlow(64 * 1024); // shared with a thousand other clients
      outbox.append(block, 1_000, 1_100);
      owed += 100;
      if (i % 3 === 0) outbox.flush(transport);
    }
    outbox.flush(transport);

    transport.room = Number.POSITIVE_INFINITY;
    transport.take(Number.POSITIVE_INFINITY);
    outbox.flush(transport);

    const blocks = new Set(transport.sends[1]!.map((piece) => piece.buffer));
    const held = [...blocks].reduce((sum, block) => sum + block.byteLength, 0);
    assert.equal(transport.taken.length, owed + 1);
    assert.ok(held <= 2 * owed, `held ${held} bytes for ${owed}`);
  });

  test('is not copied for when it is owed most of a block', () => {
    const outbox = new Outbox(new OutboxTotal());
    const transport = new SlowTransport();
    transport.room = 0;
    outbox.append(Buffer.from('x'), 0, 1);
    outbox.flush(transport);
    const block = Buffer.allocUnsafeSlow(10_000);
    outbox.append(block, 0, 9_000);
    outbox.flush(transport);
    transport.room = Number.POSITIVE_INFINITY;
    transport.take(Number.POSITIVE_INFINITY);

    outbox.flush(transport);

    assert.equal(transport.sends[1]![0]!.buffer, block.buffer);
  });

  test('that goes away leaves nothing behind', () => {
    const total = new OutboxTotal();
    const outbox = new Outbox(total);
    const other = new Outbox(total);
    const transport = new SlowTransport();
    transport.room = 0;
    other.append(Buffer.alloc(5), 0, 5);
    for (let i = 0; i < 4; i++) {
      outbox.append(Buffer.alloc(1_000), 0, 100);
      outbox.flush(transport);
    }

    outbox.clear();

    assert.equal(outbox.bytes, 0);
    assert.equal(total.bytes, 5);
    transport.take(Number.POSITIVE_INFINITY);
    outbox.flush(transport);
    assert.equal(transport.taken.length, 100);
  });
});
