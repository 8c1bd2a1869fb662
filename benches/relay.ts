/**
 * The ceiling: what Node can move when it only finds frame boundaries and forwards, with no
 * matching, no sessions, no QoS. A publisher's first topic decides, once, who gets all it sends.
 */
import { createServer, type Socket } from 'node:net';

const CONNECT = 1;
const PUBLISH = 3;
const SUBSCRIBE = 8;

const subscribers = new Map<string, Socket[]>();
const corked: Socket[] = [];

function flush(): void {
  for (const socket of corked) socket.uncork();
  corked.length = 0;
}

function forward(targets: readonly Socket[], frame: Buffer): void {
  for (const socket of targets) {
    if (socket.writableCorked === 0) {
      socket.cork();
      if (corked.push(socket) === 1) setImmediate(flush);
    }
    socket.write(frame);
  }
}

function textAt(bytes: Buffer, at: number): string {
  return bytes.toString('utf8', at + 2, at + 2 + bytes.readUInt16BE(at));
}

/** Enough of a broker for clients of 3.1.1 that subscribe to a topic without wildcards. */
function serve(socket: Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  let targets: readonly Socket[] | undefined;
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (at + 2 <= bytes.length) {
      let body = at + 1;
      let remaining = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = bytes[body++]!;
        remaining += (byte & 0x7f) * scale;
        if (!(byte >= 0x80)) break;
      }
      const end = body + remaining;
      if (body > bytes.length || end > bytes.length) break;
      const type = bytes[at]! >> 4;
      if (type === PUBLISH) {
        targets ??= subscribers.get(textAt(bytes, body)) ?? [];
        forward(targets, bytes.subarray(at, end));
      } else if (type === CONNECT) {
        socket.write(Buffer.of(0x20, 2, 0, 0));
      } else if (type === SUBSCRIBE) {
        const topic = textAt(bytes, body + 2);
        subscribers.set(topic, [...(subscribers.get(topic) ?? []), socket]);
        socket.write(Buffer.of(0x90, 3, bytes[body]!, bytes[body + 1]!, 0));
      }
      at = end;
    }
    rest = bytes.subarray(at) as Buffer<ArrayBuffer>;
    const isFull = targets?.some((target) => target.writableLength > 1024 * 1024) ?? false;
    if (isFull) pauseUntilDrained(socket, targets!);
  });
}

function pauseUntilDrained(socket: Socket, targets: readonly Socket[]): void {
  const full = targets.find((target) => target.writableLength > 1024 * 1024)!;
  socket.pause();
  full.once('drain', () => socket.resume());
}

const server = createServer(serve);
server.listen({ port: 0, host: '127.0.0.1', backlog: 511 }, () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') {
    console.log(`ready mqtt://127.0.0.1:${address.port}`);
  }
});
process.on('SIGTERM', () => process.exit(0));
