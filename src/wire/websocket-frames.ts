/**
 * WebSocket frames (RFC 6455), as a server reads and writes them.
 *
 * MQTT packets span frames as they like, so where a frame ends means nothing and none is gathered:
 * the payloads in a chunk are unmasked where they lie and moved together, and are a chunk again.
 * Kept from one chunk to the next is only a header or a control frame that was cut short.
 *
 * @hot
 */

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const FINAL = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
const MASK_BYTES = 4;
const CONTROL_BYTES_MAX = 125;
/** Sizes above are no safe integers. */
const SIZE_HIGH_MAX = 0x1f_ffff;
/** From this size on it pays to unmask by words. */
const WORDS_FROM = 64;
const NO_BYTES = Buffer.alloc(0);
const CUT_SHORT = -1;

export const WebSocketClose = {
  normal: 1000,
  protocolError: 1002,
  unsupported: 1003,
  /** Stands for a close frame that says no code. */
  noCode: 1005,
  tooLarge: 1009,
} as const;

/** The mask as bytes and as a word, in whatever order this machine has its bytes. */
const maskBytes = new Uint8Array(MASK_BYTES);
const maskWord = new Int32Array(maskBytes.buffer);
const pingBytes = Buffer.alloc(CONTROL_BYTES_MAX);

/** Reads one client's frames. */
export class WebSocketReader {
  /** The payload of the last ping of the chunk. */
  ping: Buffer | undefined = undefined;
  /** Nothing more is read: the code to close with. */
  closeCode: number | undefined = undefined;
  /** It is the client's fault. */
  violated = false;
  /** Payload bytes of the frame that are still to come. */
  #missing = 0;
  /** The mask of the next payload byte in the lowest byte, and so on. */
  #mask = 0;
  /** The last data frame was not the last of its message. */
  #fragmented = false;
  #rest: Buffer | undefined = undefined;
  #pingSize = -1;

  /** The payload in `chunk`, whose memory it takes over. */
  read(chunk: Buffer): Buffer {
    if (this.closeCode !== undefined) return NO_BYTES;
    this.ping = undefined;
    this.#pingSize = -1;
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = undefined;
    let start = -1;
    let end = 0;
    let at = 0;
    for (;;) {
      if (this.#missing > 0) {
        if (start < 0) {
          start = at;
          end = at;
        }
        const size = Math.min(this.#missing, bytes.length - at);
        this.#mask = unmask(bytes, at, end, size, this.#mask);
        this.#missing -= size;
        at += size;
        end += size;
      }
      if (at === bytes.length) break;
      const next = this.#header(bytes, at);
      if (next === CUT_SHORT) {
        this.#rest = Buffer.allocUnsafeSlow(bytes.length - at);
        bytes.copy(this.#rest, 0, at);
        break;
      }
      if (this.closeCode !== undefined) break;
      at = next;
    }
    if (this.#pingSize >= 0) this.ping = Buffer.from(pingBytes.subarray(0, this.#pingSize));
    return start < 0 ? NO_BYTES : bytes.subarray(start, end);
  }

  /** Reads a header, or a whole control frame; returns where to go on. */
  #header(bytes: Buffer, at: number): number {
    const left = bytes.length - at;
    if (left < 2) return CUT_SHORT;
    const first = bytes[at]!;
    const second = bytes[at + 1]!;
    const fault = this.#faultOf(first, second);
    if (fault !== undefined) return this.#violated(fault);
    let size = second & 0x7f;
    const sizeBytes = size === 126 ? 2 : size === 127 ? 8 : 0;
    const body = at + 2 + sizeBytes + MASK_BYTES;
    if (body > bytes.length) return CUT_SHORT;
    if (sizeBytes === 2) size = bytes.readUInt16BE(at + 2);
    else if (sizeBytes === 8) {
      const high = bytes.readUInt32BE(at + 2);
      if (high > SIZE_HIGH_MAX) return this.#violated(WebSocketClose.tooLarge);
      size = high * 2 ** 32 + bytes.readUInt32BE(at + 6);
    }
    const mask = bytes.readInt32LE(body - MASK_BYTES);
    const opcode = first & 0x0f;
    if (opcode >= OPCODE.close) {
      if (body + size > bytes.length) return CUT_SHORT;
      unmask(bytes, body, body, size, mask);
      this.#control(opcode, bytes, body, size);
      return body + size;
    }
    this.#fragmented = (first & FINAL) === 0;
    this.#missing = size;
    this.#mask = mask;
    return body;
  }

  /** The close code for a frame that begins so and may not. */
  #faultOf(first: number, second: number): number | undefined {
    if ((first & RESERVED) !== 0 || (second & MASKED) === 0) return WebSocketClose.protocolError;
    switch (first & 0x0f) {
      case OPCODE.continuation:
        return this.#fragmented ? undefined : WebSocketClose.protocolError;
      case OPCODE.text:
        return WebSocketClose.unsupported; // [MQTT-6.0.0-1]
      case OPCODE.binary:
        return this.#fragmented ? WebSocketClose.protocolError : undefined;
      case OPCODE.close:
      case OPCODE.ping:
      case OPCODE.pong:
        if ((first & FINAL) !== 0 && (second & 0x7f) <= CONTROL_BYTES_MAX) return undefined;
        return WebSocketClose.protocolError;
      default:
        return WebSocketClose.protocolError;
    }
  }

  #control(opcode: number, bytes: Buffer, start: number, size: number): void {
    if (opcode === OPCODE.ping) {
      bytes.copy(pingBytes, 0, start, start + size);
      this.#pingSize = size;
      return;
    }
    if (opcode === OPCODE.pong) return;
    const code = size === 0 ? WebSocketClose.noCode : size === 1 ? 0 : bytes.readUInt16BE(start);
    if (size === 0 || maySay(code)) this.closeCode = code;
    else this.#violated(WebSocketClose.protocolError);
  }

  #violated(code: number): number {
    this.violated = true;
    this.closeCode = code;
    return 0;
  }
}

/** Codes a close frame may hold: those of the standard, of libraries and of applications. */
function maySay(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

/** Moves `size` bytes from `from` down to `to` and unmasks them; returns the mask of what follows. */
function unmask(bytes: Buffer, from: number, to: number, size: number, mask: number): number {
  let at = to;
  let turned = mask;
  const end = to + size;
  if (size >= WORDS_FROM) {
    if (from !== to) bytes.copyWithin(to, from, from + size);
    for (; ((bytes.byteOffset + at) & 3) !== 0; at++) {
      bytes[at]! ^= turned & 0xff;
      turned = (turned >>> 8) | (turned << 24);
    }
    const count = (end - at) >> 2;
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, count);
    for (let i = 0; i < MASK_BYTES; i++) maskBytes[i] = turned >>> (8 * i);
    const word = maskWord[0]!;
    for (let i = 0; i < count; i++) words[i]! ^= word;
    at += count * 4;
    for (; at < end; at++) {
      bytes[at]! ^= turned & 0xff;
      turned = (turned >>> 8) | (turned << 24);
    }
    return turned;
  }
  for (let source = from; at < end; at++, source++) {
    bytes[at] = bytes[source]! ^ (turned & 0xff);
    turned = (turned >>> 8) | (turned << 24);
  }
  return turned;
}

/** The header of one binary frame with `size` bytes of payload. */
export function binaryFrameHeader(size: number): Buffer {
  const first = FINAL | OPCODE.binary;
  if (size < 126) return Buffer.of(first, size);
  if (size <= 0xffff) return Buffer.of(first, 126, size >> 8, size & 0xff);
  const header = Buffer.alloc(10);
  header[0] = first;
  header[1] = 127;
  header.writeUIntBE(size, 4, 6);
  return header;
}

export function pongFrame(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.of(FINAL | OPCODE.pong, payload.length), payload]);
}

export function closeFrame(code: number): Buffer {
  if (code === WebSocketClose.noCode) return Buffer.of(FINAL | OPCODE.close, 0);
  return Buffer.of(FINAL | OPCODE.close, 2, code >> 8, code & 0xff);
}
