/** WebSocket frames: the same bytes come out, however they were framed, masked and cut. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { binaryFrameHeader, pongFrame, WebSocketReader } from './websocket-frames.ts';

interface Frame {
  readonly opcode: number;
  readonly final: boolean;
  readonly mask: Uint8Array;
  readonly payload: Uint8Array;
  /** Bytes of the length beyond the first: any that is large enough is taken. */
  readonly sizeBytes: number;
}

function encode({ opcode, final, mask, payload, sizeBytes }: Frame): Buffer {
  const size = payload.length;
  const bytes = size > 125 ? Math.max(2, sizeBytes) : sizeBytes;
  const header = Buffer.alloc(2 + bytes);
  header[0] = (final ? 0x80 : 0) | opcode;
  header[1] = 0x80 | (bytes === 0 ? size : bytes === 2 ? 126 : 127);
  if (bytes === 2) header.writeUInt16BE(size, 2);
  if (bytes === 8) header.writeUIntBE(size, 4, 6);
  return Buffer.concat([header, mask, payload.map((byte, index) => byte ^ mask[index % 4]!)]);
}

const anyMask = fc.uint8Array({ minLength: 4, maxLength: 4 });
const anyPayload = fc.oneof(
  { weight: 3, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  fc.integer({ min: 50, max: 700 }).map((size) => Uint8Array.from({ length: size }, (_, i) => i)),
);

/** One message in one or more frames, with control frames between them. */
const anyMessage = fc
  .array(
    fc.record({
      payload: anyPayload,
      mask: anyMask,
      sizeBytes: fc.constantFrom(0, 2, 8),
      control: fc.option(fc.record({ opcode: fc.constantFrom(9, 10), payload: anyPayload })),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((parts) =>
    parts.flatMap(({ control, ...part }, index): Frame[] => {
      const final = index === parts.length - 1;
      const frame = { ...part, final, opcode: index === 0 ? 2 : 0 };
      if (control === null) return [frame];
      const payload = control.payload.subarray(0, 125);
      return [{ ...control, payload, mask: part.mask, final: true, sizeBytes: 0 }, frame];
    }),
  );

const anyCuts = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 8 });

describe('property: WebSocket frames', () => {
  test('what was sent is read, in order, and the last ping of each chunk', () => {
    fc.assert(
      fc.property(fc.array(anyMessage), anyCuts, fc.nat(3), (messages, cuts, shift) => {
        const frames = messages.flat();
        const wire = Buffer.concat(frames.map(encode));
        const reader = new WebSocketReader();
        const read: Buffer[] = [];
        let lastPing: Buffer | undefined;
        for (let at = 0, i = 0; at < wire.length; i++) {
          const size = cuts[i % cuts.length]!;
          // Each chunk in memory of its own, aligned in its own way.
          const chunk = Buffer.alloc(shift + Math.min(size, wire.length - at)).subarray(shift);
          wire.copy(chunk, 0, at, at + size);
          at += size;
          read.push(reader.read(chunk));
          if (reader.ping !== undefined) lastPing = reader.ping;
        }

        const sent = frames.filter((frame) => frame.opcode <= 2).map((frame) => frame.payload);
        assert.ok(Buffer.concat(read).equals(Buffer.concat(sent)));
        assert.equal(reader.closeCode, undefined);
        const ping = frames.findLast((frame) => frame.opcode === 9);
        assert.deepEqual(lastPing, ping && Buffer.from(ping.payload));
      }),
    );
  });

  test('whatever comes, it is read or refused', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 })), (chunks) => {
        const reader = new WebSocketReader();
        for (const chunk of chunks) {
          const payload = reader.read(Buffer.from(chunk));
          assert.ok(payload.length <= chunk.length);
        }
      }),
    );
  });
});

test('the payloads of a chunk are one piece, and lie where the chunk lay', () => {
  const mask = Uint8Array.of(1, 2, 3, 4);
  const frame = encode({
    opcode: 2,
    final: true,
    mask,
    payload: Buffer.alloc(300, 'x'),
    sizeBytes: 2,
  });
  const chunk = Buffer.concat([frame, frame, frame]);

  const payload = new WebSocketReader().read(chunk);

  assert.equal(payload.buffer, chunk.buffer);
  assert.ok(payload.equals(Buffer.alloc(900, 'x')));
});

test('headers are as short as they can be', () => {
  const sizes = [0, 125, 126, 65_535, 65_536, 2 ** 32];
  assert.deepEqual(
    sizes.map((size) => binaryFrameHeader(size).toString('hex')),
    ['8200', '827d', '827e007e', '827effff', '827f0000000000010000', '827f0000000100000000'],
  );
  assert.equal(pongFrame(Buffer.from('hi')).toString('hex'), '8a026869');
});
