/**
 * An HTTP request read whole, within bounds, in every framing that clients use: a form of known
 * length or in chunks, a form content type with no body at all, chunks with nothing in them.
 */
import type { IncomingMessage } from 'node:http';
import { ApiFault } from './api-fault.ts';
import { DISCARD_BYTES_MAX } from './limits.ts';
import { decodePairs, type Pair } from './percent-encoding.ts';
import type { SignedRequest } from './signature.ts';

/** Bytes of bodies held at once, of all requests together. */
export interface BodyBudget {
  readonly requestBytesMax: number;
  readonly totalBytesMax: number;
  heldBytes: number;
}

/** Headers that decide something: two of one name could be read in two ways. */
const SINGLE = /^(host|authorization|content-type|x-acs-.*)$/;

/** Reads headers, query and body; rejects with an `ApiFault` where they are not acceptable. */
export async function readRequest(
  message: IncomingMessage,
  query: string,
  budget: BodyBudget,
): Promise<SignedRequest> {
  const headers = readHeaders(message);
  const body = await readBody(message, budget);
  return {
    method: message.method ?? '',
    headers,
    query: decodePairs(query),
    form: readForm(headers.get('content-type'), body),
    body,
  };
}

function readHeaders(message: IncomingMessage): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  const raw = message.rawHeaders;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (headers.has(name) && SINGLE.test(name)) {
      throw new ApiFault('MalformedRequest', `The header ${name} is there twice.`);
    }
    headers.set(name, unicode(raw[i + 1]!));
  }
  if (!headers.has('host')) throw new ApiFault('MalformedRequest', 'The header host is missing.');
  return headers;
}

/** A signed user agent may hold UTF-8, which arrives as if each byte were a character. */
function unicode(value: string): string {
  return /[^\x20-\x7e]/.test(value) ? Buffer.from(value, 'latin1').toString('utf8') : value;
}

async function readBody(message: IncomingMessage, budget: BodyBudget): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let keptBytes = 0;
  let readBytes = 0;
  let fault: ApiFault | undefined;
  const refuse = (why: ApiFault): void => {
    fault = why;
    chunks.length = 0;
    budget.heldBytes -= keptBytes;
    keptBytes = 0;
  };
  try {
    for await (const chunk of message as AsyncIterable<Uint8Array>) {
      readBytes += chunk.length;
      if (readBytes > DISCARD_BYTES_MAX) break;
      if (fault !== undefined) continue;
      if (readBytes > budget.requestBytesMax) refuse(new ApiFault('RequestTooLarge'));
      else if (budget.heldBytes + chunk.length > budget.totalBytesMax) {
        refuse(new ApiFault('ServiceUnavailable', 'Too many large requests at once.'));
      } else {
        chunks.push(chunk);
        keptBytes += chunk.length;
        budget.heldBytes += chunk.length;
      }
    }
  } finally {
    budget.heldBytes -= keptBytes;
  }
  if (fault !== undefined) throw fault;
  return Buffer.concat(chunks);
}

const FORM = /^application\/x-www-form-urlencoded *(;|$)/i;

function readForm(contentType: string | undefined, body: Uint8Array): readonly Pair[] {
  if (body.length === 0) return [];
  if (contentType === undefined || !FORM.test(contentType)) {
    throw new ApiFault('MalformedRequest', 'A body can be a form only (x-www-form-urlencoded).');
  }
  try {
    return decodePairs(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (cause) {
    if (cause instanceof ApiFault) throw cause;
    throw new ApiFault('MalformedRequest', 'The form is not UTF-8.', { cause });
  }
}
