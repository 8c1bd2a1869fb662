/** The reader in place against the reader by table, and the refusals one by one. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decodePublishProperties, encodePublishProperties } from './client-codec.ts';
import { PublishPropertyView, readPublishProperties } from './publish-properties.ts';

const anyText = fc.string({ maxLength: 20 });

test('what is read in place is what was written, whatever stands around it', () => {
  const anyProperties = fc.record(
    {
      payloadFormatIndicator: fc.nat(1),
      messageExpiryInterval: fc.nat(0xffff_ffff),
      contentType: anyText,
      responseTopic: anyText.map((text) => `r${text.replaceAll(/[+#]/g, '')}`),
      correlationData: fc.uint8Array({ maxLength: 20 }),
      topicAlias: fc.integer({ min: 1, max: 0xffff }),
      userProperties: fc.array(fc.tuple(anyText, anyText), { maxLength: 3 }),
    },
    { requiredKeys: [] },
  );
  const view = new PublishPropertyView();
  fc.assert(
    fc.property(anyProperties, fc.nat(9), (properties, start) => {
      const encoded = encodePublishProperties(properties);
      const bytes = Buffer.concat([Buffer.alloc(start, 0xff), encoded, Buffer.alloc(9, 0xff)]);
      const end = start + encoded.length;

      assert.ok(readPublishProperties(bytes, start, end, view), view.faultText);

      assert.equal(view.fault, '');
      assert.equal(view.topicAlias, properties.topicAlias ?? 0);
      assert.equal(view.messageExpiryInterval, properties.messageExpiryInterval ?? -1);
      assert.equal(view.payloadFormatUtf8, properties.payloadFormatIndicator === 1);
      assert.equal(view.hasResponseTopic, properties.responseTopic !== undefined);
      if (view.expiryOffset >= 0) {
        assert.equal(bytes.readUInt32BE(view.expiryOffset), properties.messageExpiryInterval);
      }
      const { aliasStart, aliasEnd } = view;
      assert.equal(aliasStart >= 0, properties.topicAlias !== undefined);
      const cut = Buffer.concat([
        bytes.subarray(start, aliasStart < 0 ? start : aliasStart),
        bytes.subarray(aliasStart < 0 ? start : aliasEnd, end),
      ]);
      const others = { ...properties, topicAlias: undefined };
      assert.deepEqual(cut, encodePublishProperties(others));
    }),
    { numRuns: 500 },
  );
});

test('a view that was refused is as good as new the next time', () => {
  const view = new PublishPropertyView();

  assert.ok(!readPublishProperties(Buffer.from('230001230001', 'hex'), 0, 6, view));
  assert.ok(readPublishProperties(Buffer.alloc(0), 0, 0, view));

  assert.deepEqual(view, new PublishPropertyView());
});

describe("a client's PUBLISH is refused for", () => {
  const cases: readonly (readonly [what: string, hex: string, fault: string])[] = [
    ['payload format twice', '01000100', 'protocolError'],
    ['expiry twice', '02000000010200000001', 'protocolError'],
    ['content type twice', '030000030000', 'protocolError'],
    ['response topic twice', '08000161080001 61', 'protocolError'],
    ['correlation data twice', '090000090000', 'protocolError'],
    ['topic alias twice', '230001230001', 'protocolError'],
    ['payload format 2', '0102', 'protocolError'],
    ['topic alias 0', '230000', 'topicAliasInvalid'],
    ['[MQTT-3.3.4-6] a subscription identifier', '0b01', 'protocolError'],
    [
      '[MQTT-3.3.2-14] a wildcard in the response topic',
      '08000161'.replace('61', '23'),
      'protocolError',
    ],
    ['an empty response topic', '080000', 'protocolError'],
    ['a response topic that is not UTF-8', '080001ff', 'malformedPacket'],
    ['a content type that is not UTF-8', '030002c080', 'malformedPacket'],
    ['a content type with U+0000', '03000100', 'malformedPacket'],
    ['a user property name that is not UTF-8', '260001ff0000', 'malformedPacket'],
    ['a user property value that is not UTF-8', '2600000001ff', 'malformedPacket'],
    ['a user property without a value', '26000161', 'malformedPacket'],
    ['a property of CONNECT', '1100000000', 'malformedPacket'],
    ['a will delay', '1800000000', 'malformedPacket'],
    ['a property that does not exist', '0400', 'malformedPacket'],
    ['property 0', '0000', 'malformedPacket'],
    ['an identifier of two bytes', 'a600', 'malformedPacket'],
    ['a payload format cut short', '01', 'malformedPacket'],
    ['an expiry cut short', '02000000', 'malformedPacket'],
    ['a topic alias cut short', '2300', 'malformedPacket'],
    ['a string cut short', '03000261', 'malformedPacket'],
    ['binary data cut short', '09000261', 'malformedPacket'],
    ['a length cut short', '0900', 'malformedPacket'],
  ];
  for (const [what, hex, fault] of cases) {
    test(what, () => {
      const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
      const view = new PublishPropertyView();
      // What stands behind the properties would complete them.
      const more = Buffer.concat([bytes, Buffer.from('00000000000000', 'hex')]);

      assert.ok(!readPublishProperties(more, 0, bytes.length, view));

      assert.equal(view.fault, fault);
      assert.notEqual(view.faultText, '');
    });
  }
});

test('what is taken in place, the reader by table takes too', () => {
  const view = new PublishPropertyView();
  const anyBytes = fc.array(fc.oneof(fc.nat(0x2a), fc.nat(3), fc.nat(0xff)), { maxLength: 30 });
  fc.assert(
    fc.property(anyBytes, (values) => {
      const bytes = Buffer.from(values);

      if (!readPublishProperties(bytes, 0, bytes.length, view)) return;

      decodePublishProperties(bytes); // does not throw
    }),
    { numRuns: 2_000 },
  );
});
