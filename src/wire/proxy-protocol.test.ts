/** PROXY headers of both versions: whole, byte by byte, cut at random, and broken. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '#base';
import { createProxyHeaderReader, type ProxyHeader } from './proxy-protocol.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const V4 = `${SIGNATURE}21 11 000c c0a80001 c0a80002 3039 075b`;
const CLIENT = 'client bytes';

describe('a header tells', () => {
  const mapped = '00000000000000000000ffff01020304';
  const local6 = '20010db8000000000000000000000001';
  const rows: readonly (readonly [string, Buffer, string | undefined, number?])[] = [
    ['TCP4', line('TCP4 192.168.0.1 192.168.0.2 12345 1883'), '192.168.0.1', 12345],
    ['TCP6', line('TCP6 2001:db8::1 ::1 65535 0'), '2001:db8::1', 65535],
    ['UNKNOWN', line('UNKNOWN'), undefined],
    ['UNKNOWN with whatever', line('UNKNOWN ffff::1 what ever'), undefined],
    ['v2 IPv4', hex(V4), '192.168.0.1', 12345],
    ['v2 IPv6', hex(`${SIGNATURE}21 21 0024 ${local6}${local6} 3039 075b`), '2001:db8::1', 12345],
    ['v2 mapped', hex(`${SIGNATURE}21 21 0024 ${mapped}${mapped} 0001 0002`), '::ffff:1.2.3.4', 1],
    ['v2 UNIX', Buffer.concat([hex(`${SIGNATURE}21 31 00d8`), Buffer.alloc(216)]), undefined],
    ['v2 UNSPEC', hex(`${SIGNATURE}21 00 0000`), undefined],
    ['v2 LOCAL with addresses', hex(V4.replace('21 11', '20 11')), undefined],
  ];
  for (const [name, header, address, port] of rows) {
    test(`${name}, whole and byte by byte`, () => {
      const bytes = Buffer.concat([header, Buffer.from(CLIENT)]);
      for (const told of [createProxyHeaderReader().read(bytes), readByteByByte(bytes)]) {
        assert.deepEqual(told?.source, address === undefined ? undefined : { address, port });
        assert.equal(told?.authority, undefined);
      }
      assert.equal(createProxyHeaderReader().read(bytes)?.rest.toString(), CLIENT);
    });
  }

  test('the server name and what TLS the proxy saw', () => {
    const authority = `02 000b ${Buffer.from('a.b.example').toString('hex')}`;
    const verified = '20 0005 07 00000000';
    const unverified = '20 0005 07 00000001';
    const noCertificate = '20 0005 01 00000000';

    const told = readTlvs(`04 0001 00 ${authority} ${verified}`);
    assert.deepEqual(
      [told.authority, told.tls, told.certificateVerified],
      ['a.b.example', true, true],
    );
    assert.equal(readTlvs(unverified).certificateVerified, false);
    assert.equal(readTlvs(noCertificate).certificateVerified, false);
    assert.equal(readTlvs('20 0005 00 00000000').tls, false);
    assert.equal(readTlvs('').tls, false);
  });
});

describe('refused is', () => {
  const rows: readonly (readonly [string, Buffer])[] = [
    ['a client without a header', Buffer.from('100c00044d515454')],
    ['a line with a bad beginning', Buffer.from('PROXI')],
    ['a line that is too long', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(100)}`)],
    ['a line that ends too late', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
    ['an unknown family', line('TCP5 1.2.3.4 1.2.3.4 1 2')],
    ['an address of the other family', line('TCP4 ::1 ::1 1 2')],
    ['an address with a leading zero', line('TCP4 01.2.3.4 1.2.3.4 1 2')],
    ['a port too high', line('TCP4 1.2.3.4 1.2.3.4 65536 2')],
    ['a port with a sign', line('TCP4 1.2.3.4 1.2.3.4 +1 2')],
    ['a word too many', line('TCP4 1.2.3.4 1.2.3.4 1 2 3')],
    ['a word too few', line('TCP4 1.2.3.4 1.2.3.4 1')],
    ['a double space', line('TCP4  1.2.3.4 1.2.3.4 1 2')],
    ['v2 of another version', hex(`${SIGNATURE}11 11 000c ${'00'.repeat(12)}`)],
    ['v2 with an unknown command', hex(`${SIGNATURE}22 11 000c ${'00'.repeat(12)}`)],
    ['v2 of an unknown family', hex(`${SIGNATURE}21 41 000c ${'00'.repeat(12)}`)],
    ['v2 with addresses cut short', hex(`${SIGNATURE}21 11 000b ${'00'.repeat(11)}`)],
    ['v2 that is too long, at once', hex(`${SIGNATURE}21 11 1001`)],
    ['v2 with a TLV cut short', hex(`${V4.replace('000c', '000e')} 0400`)],
    ['v2 with a TLV beyond the header', hex(`${V4.replace('000c', '0010')} 04000500 6161616161`)],
    ['v2 with an authority that is no text', hex(`${V4.replace('000c', '0010')} 020001ff`)],
    ['v2 with a short TLS TLV', hex(`${V4.replace('000c', '0010')} 20000100`)],
  ];
  for (const [name, bytes] of rows) {
    test(name, () => {
      assert.throws(() => createProxyHeaderReader().read(bytes), isMalformed);
      assert.throws(() => readByteByByte(bytes), isMalformed);
    });
  }
});

test('however it is cut, the same is told; and hostile bytes earn nothing but a fault', () => {
  const valid = [
    line('TCP4 1.2.3.4 5.6.7.8 1 2'),
    hex(`${V4.replace('000c', '0013')} 02000461626364`),
  ];
  const anyChange = fc.array(fc.tuple(fc.nat(60), fc.nat(0xff)), { maxLength: 3 });
  fc.assert(
    fc.property(fc.constantFrom(...valid), anyChange, fc.nat(60), (header, changes, cut) => {
      const bytes = Buffer.from(header);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;

      const whole = attempt(() => createProxyHeaderReader().read(bytes));
      const reader = createProxyHeaderReader();
      const halves = attempt(
        () => reader.read(bytes.subarray(0, cut)) ?? reader.read(bytes.subarray(cut)),
      );

      // Cut behind the header, its rest is shorter; all else is the same.
      assert.deepEqual({ ...halves, rest: 0 }, { ...whole, rest: 0 });
    }),
    { numRuns: 2_000 },
  );
});

function attempt(read: () => ProxyHeader | undefined): object | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`);
    return { refused: error.code };
  }
}

function readByteByByte(bytes: Buffer): ProxyHeader | undefined {
  const reader = createProxyHeaderReader();
  for (let at = 0; at < bytes.length; at++) {
    const told = reader.read(bytes.subarray(at, at + 1));
    if (told !== undefined) return told;
  }
  return undefined;
}

function readTlvs(tlvs: string): ProxyHeader {
  const body = hex(`c0a80001 c0a80002 3039 075b ${tlvs}`);
  const size = body.length.toString(16).padStart(4, '0');
  const told = createProxyHeaderReader().read(
    Buffer.concat([hex(`${SIGNATURE}21 11 ${size}`), body]),
  );
  assert.ok(told !== undefined, 'the header is complete');
  return told;
}

function line(words: string): Buffer {
  return Buffer.from(`PROXY ${words}\r\n`);
}

function hex(digits: string): Buffer {
  return Buffer.from(digits.replaceAll(' ', ''), 'hex');
}

function isMalformed(error: unknown): boolean {
  return Fault.is(error, 'malformedPacket');
}
