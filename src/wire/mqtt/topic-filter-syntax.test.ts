/** Which filters are well written, shared ones included: a table of each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isValidFilter, parseShare } from './topic-filter-syntax.ts';

test('[MQTT-4.7.1-1] [MQTT-4.7.1-2] wildcards fill a level, and # is the last', () => {
  const valid = ['a', '/', '#', '+', '+/+', 'a/#', '/#', '+/#', 'a/+/b', '/+', '+/', '$SYS/#', ' '];
  const invalid = ['', 'a#', '#/a', 'a/#/b', '##', 'a+', '+a', 'a/+b', '++', '+#', '#+', 'a/b#'];

  for (const filter of valid) assert.ok(isValidFilter(filter), filter);
  for (const filter of invalid) assert.ok(!isValidFilter(filter), filter);
});

test('[MQTT-4.8.2-1] [MQTT-4.8.2-2] a shared filter has a name and a filter', () => {
  assert.deepEqual(parseShare('$share/g/a/+/#'), { group: 'g', filter: 'a/+/#' });
  assert.deepEqual(parseShare('$share/g//'), { group: 'g', filter: '/' });
  assert.deepEqual(parseShare('$share/g/$share/h/x'), { group: 'g', filter: '$share/h/x' });
  for (const plain of ['a', '$share', '$shared/g/a', '/$share/g/a', '$SHARE/g/a']) {
    assert.equal(parseShare(plain), undefined, plain);
  }
  const invalid = ['$share/', '$share/g', '$share/g/', '$share//a', '$share/g+/a', '$share/#/a'];
  for (const filter of [...invalid, '$share/g/a#', '$share/g/a/#/b']) {
    assert.equal(parseShare(filter), 'invalid', filter);
  }
});
