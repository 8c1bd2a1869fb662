/**
 * Strings as MQTT wants them: strict UTF-8 without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
 *
 * Control characters and noncharacters pass; the standard lets a receiver take them. Bytes
 * below 0x80 never occur inside a longer sequence, so wildcards are looked for bytewise.
 *
 * @hot
 */

/** True where the bytes are a well-formed MQTT string: no overlong form, surrogate or U+0000. */
export function isValidUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  let i = start;
  while (i < end) {
    const lead = bytes[i]!;
    if (lead < 0x80) {
      if (lead === 0) return false;
      i++;
      continue;
    }
    const size = sequenceSize(lead);
    if (size === 0 || i + size > end) return false;
    // The second byte's range is what excludes overlong forms, surrogates and U+110000 upward.
    const second = bytes[i + 1]!;
    if (second < lowestSecond(lead) || second > highestSecond(lead)) return false;
    if (size > 2 && (bytes[i + 2]! & 0xc0) !== 0x80) return false;
    if (size > 3 && (bytes[i + 3]! & 0xc0) !== 0x80) return false;
    i += size;
  }
  return true;
}

/** True where the bytes are a topic name: a valid string, not empty, without `+` and `#`. */
export function isTopicName(bytes: Uint8Array, start: number, end: number): boolean {
  if (start >= end) return false; // [MQTT-4.7.3-1]
  let highest = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte === PLUS || byte === HASH || byte === 0) return false; // [MQTT-3.3.2-2]
    highest |= byte;
  }
  return highest < 0x80 || isValidUtf8(bytes, start, end);
}

function sequenceSize(lead: number): number {
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

function lowestSecond(lead: number): number {
  if (lead === 0xe0) return 0xa0;
  return lead === 0xf0 ? 0x90 : 0x80;
}

function highestSecond(lead: number): number {
  if (lead === 0xed) return 0x9f;
  return lead === 0xf4 ? 0x8f : 0xbf;
}

const PLUS = 0x2b;
const HASH = 0x23;
