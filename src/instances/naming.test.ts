/** Names: the forms the product documents, their bounds, and what is no name. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  groupIdFlaw,
  instanceIdFlaw,
  instanceNameFlaw,
  parentOf,
  parentTopicFlaw,
  splitClientId,
  topicFlaw,
} from './naming.ts';

const long = (count: number): string => 'x'.repeat(count);

function accepts(flaw: (text: string) => string | undefined, names: readonly string[]): void {
  for (const name of names) assert.equal(flaw(name), undefined, name);
}

function refuses(flaw: (text: string) => string | undefined, names: readonly string[]): void {
  for (const name of names) assert.notEqual(flaw(name), undefined, JSON.stringify(name));
}

test('an instance id has 1 to 64 letters, digits, _ and -', () => {
  accepts(instanceIdFlaw, ['a', 'post-cn-0pp12gl1234', 'Mqtt_1', long(64)]);
  refuses(instanceIdFlaw, ['', long(65), 'a/b', 'a.b', 'a b', 'ä', 'a\n', '$SYS', 'a|b']);
});

test('an instance name has 3 to 64 of the same', () => {
  accepts(instanceNameFlaw, ['abc', long(64)]);
  refuses(instanceNameFlaw, ['', 'ab', long(65), 'a c', 'a.c', 'abc\n']);
});

test('a group id starts with GID_ or GID- and has 7 to 64 characters', () => {
  accepts(groupIdFlaw, ['GID_abc', 'GID-abc', `GID_${long(60)}`, 'GID_a-b_9']);
  refuses(groupIdFlaw, ['', 'GID_ab', `GID_${long(61)}`, 'gid_abc', 'GIDabcd', 'XGID_abc']);
  refuses(groupIdFlaw, ['GID_a/b', 'GID_a@b', 'GID_a b', 'GID_abc\n', 'GID_äbc']);
});

test('a parent topic has 3 to 64 characters and no levels', () => {
  accepts(parentTopicFlaw, ['abc', 'Demo_1-x', long(64)]);
  refuses(parentTopicFlaw, ['', 'ab', long(65), 'a/b', '+++', 'abc#', '$SYS', 'a,b', 'abc\0']);
});

test('a client id is a group id, three @, and a device id', () => {
  assert.deepEqual(splitClientId('GID_test@@@dev-1'), { groupId: 'GID_test', deviceId: 'dev-1' });
  assert.deepEqual(splitClientId('GID-abc@@@9'), { groupId: 'GID-abc', deviceId: '9' });
  const others = ['', 'dev-1', 'GID_test', 'GID_test@@@', '@@@dev', 'GID_test@@dev', 'G@@@dev'];
  const odd = [
    'GID_test@@@a@@@b',
    'GID_test@@@@a',
    'GID_test@@@a b',
    'GID_test@@@a/b',
    'GID_ab@@@a',
  ];
  for (const clientId of [...others, ...odd]) {
    assert.equal(splitClientId(clientId), undefined, clientId);
  }
});

test('the parent of a topic is its first level', () => {
  assert.equal(parentOf('demo/a/b'), 'demo');
  assert.equal(parentOf('demo'), 'demo');
  assert.equal(parentOf('/a'), '');
});

test('a whole topic has levels of the permitted characters and its length has bounds', () => {
  const flaw = (topic: string): string | undefined => topicFlaw(topic, 64);
  accepts(flaw, ['abc', 'demo/a', 'demo/a/', 'demo/p2p/GID_a@@@b', `demo/${long(59)}`]);
  refuses(flaw, ['', 'ab', `demo/${long(60)}`, 'demo//a', 'demo/a,b', 'demo/a:b', 'demo/50%']);
  refuses(flaw, ['demo/+', 'demo/#', 'demo/GID_a@@@b', 'demo/p2p/a@@@b/c', 'demo/é']);
  assert.equal(topicFlaw(`demo/${long(60)}`, 65), undefined);
});
