/** The book of accounts: news in the wrong order, and news of what was removed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AccountBook } from './account-book.ts';

const ACCOUNT = { name: 'sub', createdMs: 1, policies: [] };
const KEY = { accountId: 'a', secret: 's', active: true, createdMs: 1 };

function bookWithKey(): AccountBook {
  const book = new AccountBook();
  book.loaded();
  book.takeAccount('a', ACCOUNT, 1);
  book.takeKey('k', KEY, 5);
  return book;
}

describe('a key', () => {
  test('is as the newest news say, whatever came last', () => {
    const book = bookWithKey();

    book.takeKey('k', { ...KEY, active: false }, 7);
    book.takeKey('k', KEY, 6);

    assert.equal(book.find('k')!.active, false);
  });

  test('that this process removed does not come back by what is heard late', () => {
    const book = bookWithKey();

    book.dropKey('k', 5);
    book.takeKey('k', KEY, 5);

    assert.equal(book.find('k'), undefined);
    assert.deepEqual(book.keysOf('a'), []);
    book.takeKey('k', undefined, 8);
    book.takeKey('k', KEY, 9); // made again
    assert.equal(book.find('k')!.active, true);
  });

  test('that was made again before the removal was noted stays', () => {
    const book = bookWithKey();

    book.takeKey('k', undefined, 6);
    book.takeKey('k', KEY, 7);
    book.dropKey('k', 5);

    assert.equal(book.find('k')!.active, true);
  });

  test('that was removed while all was read does not come back by the reading', () => {
    const book = new AccountBook();
    book.takeAccount('a', ACCOUNT, 1);

    book.takeKey('k', undefined, 6);
    book.takeKey('k', KEY, 5);
    book.loaded();

    assert.equal(book.find('k'), undefined);
  });

  test('is found only while its account is there', () => {
    const book = bookWithKey();

    assert.equal(book.find('k')!.principal.accountId, 'a');
    book.takeAccount('a', undefined, 9);

    assert.equal(book.find('k'), undefined);
  });
});

test('a policy that cannot be read leaves an account without rights', () => {
  const book = bookWithKey();
  const everything = { name: 'AliyunMQFullAccess' };
  book.takeAccount('a', { ...ACCOUNT, policies: [everything] }, 2);
  const { principal } = book.find('k')!;
  const before = principal.may('mq:PUB', 'mqtt-1', 'x');

  book.takeAccount('a', { ...ACCOUNT, policies: [everything, { name: 'new', document: '?' }] }, 3);

  assert.equal(before, true);
  assert.equal(principal.may('mq:PUB', 'mqtt-1', 'x'), false);
});

test('whoever watches a key hears of its changes and of its account, and of no other', () => {
  const book = bookWithKey();
  book.takeAccount('b', ACCOUNT, 2);
  book.takeKey('other', { ...KEY, accountId: 'b' }, 6);
  const heard: string[] = [];
  const stop = book.listen('k', (change) => heard.push(change));

  book.takeAccount('b', ACCOUNT, 10);
  book.dropKey('other', 6);
  assert.deepEqual(heard, []);
  book.takeAccount('a', ACCOUNT, 11);
  book.takeKey('k', { ...KEY, active: false }, 12);
  book.takeKey('k', KEY, 13);
  book.dropAccount('a', 11);
  stop();
  book.takeKey('k', undefined, 14);

  assert.deepEqual(heard, ['rights', 'withdrawn', 'rights', 'withdrawn']);
});
