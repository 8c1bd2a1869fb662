/** Signatures of real clients are accepted, and nothing that was changed on the way is. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ApiFault } from './api-fault.ts';
import { canonicalPairs, decodePairs, encodePercent } from './percent-encoding.ts';
import type { SignatureClaim, SignedRequest } from './signature.ts';
import { isAcs3, readAcs3 } from './signature-acs3.ts';
import { isRpc, readRpc } from './signature-rpc.ts';

/** A request as a client of the vendor's sent it. */
interface Vector {
  readonly name: string;
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const FILE = new URL('../../test/spec/control-vectors.json', import.meta.url);
const { vectors } = JSON.parse(readFileSync(FILE, 'utf8')) as { vectors: readonly Vector[] };

function requestOf(vector: Vector): SignedRequest {
  const form = vector.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  return {
    method: vector.method,
    headers: new Map(Object.entries(vector.headers)),
    query: decodePairs(vector.url.split('?')[1] ?? ''),
    form: form === true ? decodePairs(vector.body) : [],
    body: Buffer.from(vector.body),
  };
}

function claimOf(vector: Vector): SignatureClaim {
  const request = requestOf(vector);
  if (isAcs3(request.headers)) return readAcs3(request);
  assert.ok(isRpc(request));
  return readRpc(request);
}

/** False as well where the claim cannot even be read. */
function holds(vector: Vector): boolean {
  try {
    const claim = claimOf(vector);
    return claim.isSignedWith(vector.accessKeySecret, claim.stringToSign());
  } catch (error) {
    if (error instanceof ApiFault || error instanceof assert.AssertionError) return false;
    throw error;
  }
}

/** The vector with one thing changed, in every way that is signed. */
function tampered(vector: Vector): readonly (readonly [what: string, vector: Vector])[] {
  const acs3 = vector.headers['authorization'] !== undefined;
  const other = vector.method === 'GET' ? 'POST' : 'GET';
  const joined = vector.url.includes('?') ? '&' : '?';
  const copies: (readonly [string, Vector])[] = [
    ['another secret', { ...vector, accessKeySecret: `${vector.accessKeySecret}x` }],
    ['another method', { ...vector, method: other }],
    ['a parameter more', { ...vector, url: `${vector.url}${joined}Zz=1` }],
  ];
  if (vector.body !== '') copies.push(['a longer body', { ...vector, body: `${vector.body}&Z=1` }]);
  const [path, query = ''] = vector.url.split('?');
  const parts = query.split('&').filter(Boolean);
  parts.forEach((part, index) => {
    const without = parts.toSpliced(index, 1).join('&');
    copies.push([`without ${part}`, { ...vector, url: `${path}?${without}` }]);
    const changed = parts.with(index, `${part}0`).join('&');
    copies.push([`${part} changed`, { ...vector, url: `${path}?${changed}` }]);
  });
  if (!acs3) return copies;
  const list = /SignedHeaders=([^,]+)/.exec(vector.headers['authorization']!)![1]!;
  for (const name of list.split(';')) {
    const headers = { ...vector.headers, [name]: `${vector.headers[name]}1` };
    copies.push([`${name} changed`, { ...vector, headers }]);
    const { [name]: _, ...rest } = vector.headers;
    copies.push([`${name} taken away`, { ...vector, headers: rest }]);
    const authorization = vector.headers['authorization']!.replace(`${name};`, '');
    if (authorization === vector.headers['authorization']) continue;
    const unsigned = { ...vector.headers, authorization };
    copies.push([`${name} not signed`, { ...vector, headers: unsigned }]);
  }
  return copies;
}

describe('signatures', () => {
  test('there are 25 captured requests to prove it by', () => {
    assert.equal(vectors.length, 25);
  });

  for (const vector of vectors) {
    test(`${vector.name}: accepted as it came, refused once anything is changed`, () => {
      assert.equal(claimOf(vector).accessKeyId, vector.accessKeyId);
      assert.ok(holds(vector));
      for (const [what, copy] of tampered(vector)) assert.ok(!holds(copy), what);
    });
  }

  test('a claim holds what was signed, not what an unsigned header says', () => {
    const vector = vectors.find((one) => one.name === 'rpc1-popcore-get')!;
    const headers = { ...vector.headers, 'x-acs-action': 'DeleteGroupId' };

    const claim = claimOf({ ...vector, headers });

    assert.ok(claim.isSignedWith(vector.accessKeySecret, claim.stringToSign()));
    assert.equal(claim.action, 'SendMessage');
    assert.equal(claim.version, '2020-04-20');
    assert.equal(claim.timestamp, '2026-11-22T12:44:58Z');
  });

  test('a security token that is sent and not signed is refused', () => {
    const vector = vectors.find((one) => one.name === 'acs3-query')!;
    const headers = { ...vector.headers, 'x-acs-security-token': 'stolen' };

    assert.throws(
      () => claimOf({ ...vector, headers }),
      (error) => error instanceof ApiFault && error.code === 'IncompleteSignature',
    );
  });

  test('a signature parameter given twice is refused', () => {
    const vector = vectors.find((one) => one.name === 'rpc1-popcore-get')!;

    assert.throws(
      () => claimOf({ ...vector, url: `${vector.url}&Action=DeleteGroupId` }),
      (error) => error instanceof ApiFault && error.wireCode === 'InvalidAction',
    );
  });
});

describe('percent encoding', () => {
  test('only unreserved characters stay', () => {
    assert.equal(
      encodePercent("aZ09-_.~ !'()*&=+/\n世"),
      'aZ09-_.~%20%21%27%28%29%2A%26%3D%2B%2F%0A%E4%B8%96',
    );
  });

  test('a plus is a space, and a name alone has an empty value', () => {
    assert.deepEqual(decodePairs('a=1+2%2B3&b&&c='), [
      ['a', '1 2+3'],
      ['b', ''],
      ['c', ''],
    ]);
  });

  test('pairs are sorted by code unit and keep the order of equals', () => {
    const pairs = decodePairs('a.2=1&a.10=2&B=3&a.2=0');

    assert.equal(canonicalPairs(pairs), 'B=3&a.10=2&a.2=1&a.2=0');
  });

  test('too many are refused before they cost anything', () => {
    assert.throws(
      () => decodePairs('a&'.repeat(4_097)),
      (error) => error instanceof ApiFault && error.code === 'RequestTooLarge',
    );
  });

  for (const text of ['a=%', 'a=%zz', 'a=%ff', '%c3%28=1']) {
    test(`${text} is refused`, () => {
      assert.throws(
        () => decodePairs(text),
        (error) => error instanceof ApiFault && error.code === 'MalformedRequest',
      );
    });
  }
});
