/** MQTT 5.0 message properties as people write and read them. */
import { UsageError } from '#config';
import { decodePublishProperties, encodePublishProperties, type PublishProperties } from '#wire';

type Parsed = Partial<{ -readonly [K in keyof PublishProperties]: PublishProperties[K] }>;

const READERS: Readonly<Record<string, (text: string, into: Parsed) => boolean>> = {
  'content-type': (text, into) => ((into.contentType = text), true),
  'response-topic': (text, into) => ((into.responseTopic = text), true),
  'correlation-data': (text, into) => ((into.correlationData = Buffer.from(text)), true),
  'message-expiry': (text, into) => {
    into.messageExpiryInterval = Number(text);
    return /^\d{1,10}$/.test(text) && into.messageExpiryInterval <= 0xffff_ffff;
  },
  'payload-format': (text, into) => {
    into.payloadFormatIndicator = text === 'utf8' ? 1 : 0;
    return text === 'utf8' || text === 'bytes';
  },
};

/** What `--property` knows. */
export const PROPERTY_NAMES: readonly string[] = Object.keys(READERS);

/** Property bytes of `name=value` texts. */
export function encodeNamedProperties(
  named: readonly string[],
  user: readonly string[],
): Uint8Array {
  const problems: string[] = [];
  const values: Parsed = {};
  for (const text of named) {
    const [name, value] = split(text);
    const read = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
    if (read === undefined || value === undefined) {
      problems.push(`--property ${text}: expected NAME=VALUE, NAME ${PROPERTY_NAMES.join(', ')}`);
    } else if (!read(value, values)) {
      problems.push(`--property ${text}: the value is not valid`);
    }
  }
  const userProperties = user.map((text): readonly [string, string] => {
    const [name, value] = split(text);
    if (value === undefined) problems.push(`--user-property ${text}: expected NAME=VALUE`);
    return [name, value ?? ''];
  });
  if (problems.length > 0) throw new UsageError(problems);
  if (userProperties.length > 0) values.userProperties = userProperties;
  return encodePublishProperties(values);
}

/** The properties of a received message, for JSON; only those that are there. */
export function describeProperties(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.length === 0) return {};
  const properties = decodePublishProperties(bytes);
  const correlation = properties.correlationData;
  return {
    ...properties,
    ...(correlation === undefined
      ? {}
      : { correlationData: Buffer.from(correlation).toString('base64') }),
  };
}

function split(text: string): readonly [string, string | undefined] {
  const equals = text.indexOf('=');
  return equals < 0 ? [text, undefined] : [text.slice(0, equals), text.slice(equals + 1)];
}
