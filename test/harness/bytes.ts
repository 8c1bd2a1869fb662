/**
 * MQTT packets put together by hand, right or wrong, for what no honest encoder would write.
 */

export type Version = 3 | 4 | 5;

/** Bytes from hex digits (blanks allowed) or text pieces joined: `hex('82 05')`. */
export function hex(digits: string): Buffer {
  return Buffer.from(digits.replaceAll(/\s+/g, ''), 'hex');
}

/** A two-byte integer. */
export function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

/** A four-byte integer. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A variable byte integer in its shortest form. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** A string or binary field: two bytes of length, then the content. */
export function field(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([u16(bytes.length), bytes]);
}

/** A whole packet: first byte, the true remaining length, the parts. */
export function packet(firstByte: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([firstByte]), varint(body.length), body]);
}

export interface ConnectParts {
  readonly name?: string | Uint8Array;
  readonly level?: number;
  /** The connect flags byte; 0x02 (clean session) when absent. */
  readonly flags?: number;
  readonly keepalive?: number;
  /** 5.0 only: the property section with its length; empty when absent and level is 5. */
  readonly properties?: Uint8Array;
  /** Payload fields as they shall stand, each made with `field`. */
  readonly payload?: readonly Uint8Array[];
  readonly firstByte?: number;
}

/** CONNECT of MQTT 3.1.1 unless told otherwise. */
export function connectBytes(parts: ConnectParts = {}): Buffer {
  const level = parts.level ?? 4;
  return packet(
    parts.firstByte ?? 0x10,
    field(parts.name ?? (level === 3 ? 'MQIsdp' : 'MQTT')),
    Buffer.from([level, parts.flags ?? 0x02]),
    u16(parts.keepalive ?? 0),
    parts.properties ?? Buffer.alloc(level === 5 ? 1 : 0),
    ...(parts.payload ?? []),
  );
}
