/** The rules of `Fabric`, shown on any that lets several nodes join. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '#base';
import type { Fabric, FabricMessage } from '#ports';
import { until } from './engine-fixture.ts';

export interface FabricUnderTest {
  join(name: string): Fabric;
}

export function fabricContract(name: string, open: () => FabricUnderTest): void {
  const named = (rule: string): string => `${rule} (${name})`;
  const messageTo = (topic: string, text = ''): FabricMessage => ({
    instance: 'i',
    topic,
    payload: Buffer.from(text),
    properties: new Uint8Array(0),
    qos: 0,
    retain: false,
    publisher: 'p',
  });
  const joined = (...names: string[]): { fabrics: Fabric[]; heard: FabricMessage[][] } => {
    const hub = open();
    const fabrics = names.map((one) => hub.join(one));
    const heard = fabrics.map((fabric) => {
      const messages: FabricMessage[] = [];
      fabric.onMessage((message) => messages.push(message));
      return messages;
    });
    return { fabrics, heard };
  };

  test(named('[FA1] a message reaches each other interested node once'), async () => {
    const { fabrics, heard } = joined('a', 'b', 'c');
    for (const fabric of fabrics) {
      await fabric.interest('i', 't/#', true);
      await fabric.interest('i', 't/1', true);
    }

    fabrics[0]!.publish(messageTo('t/1', 'x'));
    fabrics[1]!.publish(messageTo('t/1', 'end'));

    await until('the end', () => heard[0]!.length === 1 && heard[2]!.length === 2);
    assert.deepEqual(
      heard[1]!.map((one) => Buffer.from(one.payload).toString()),
      ['x'],
    );
  });

  test(named('[FA2] messages of one node arrive in order'), async () => {
    const { fabrics, heard } = joined('a', 'b');
    await fabrics[1]!.interest('i', '#', true);

    for (let i = 0; i < 1000; i++) fabrics[0]!.publish(messageTo(`t/${i % 3}`, `${i}`));

    await until('all arrive', () => heard[1]!.length === 1000);
    const texts = heard[1]!.map((one) => Number(Buffer.from(one.payload).toString()));
    assert.deepEqual(
      texts,
      Array.from({ length: 1000 }, (_, i) => i),
    );
  });

  test(named('[FA3] interest counts from the moment it has settled'), async () => {
    const { fabrics, heard } = joined('a', 'b');

    await fabrics[1]!.interest('i', 't', true);
    fabrics[0]!.publish(messageTo('t'));

    await until('it arrives', () => heard[1]!.length === 1);
  });

  test(named('[FA4] without interest nothing arrives'), async () => {
    const { fabrics, heard } = joined('a', 'b');
    await fabrics[1]!.interest('i', 'no', true);
    await fabrics[1]!.interest('other', 't', true);
    await fabrics[1]!.interest('i', 't', true);
    await fabrics[1]!.interest('i', 't', false);
    await fabrics[1]!.interest('i', 'end', true);

    fabrics[0]!.publish(messageTo('t'));
    fabrics[0]!.publish(messageTo('end'));

    await until('the end', () => heard[1]!.length === 1);
    assert.equal(heard[1]![0]!.topic, 'end');
  });

  test(named('[FA5] request answers what the node answered, or fails'), async () => {
    const { fabrics } = joined('a', 'b');
    fabrics[1]!.onRequest(async (body) => Buffer.concat([body, Buffer.from('!')]));

    const answer = await fabrics[0]!.request('b', Buffer.from('hello'));

    assert.equal(Buffer.from(answer).toString(), 'hello!');
    const gone = (error: unknown): boolean => Fault.is(error, 'serverUnavailable');
    await assert.rejects(fabrics[0]!.request('nobody', Buffer.from('x')), gone);
    await fabrics[1]!.close();
    await assert.rejects(fabrics[0]!.request('b', Buffer.from('x')), gone);
  });

  test(
    named('[FA6] nodes lists the living, this one first, and tells of each change once'),
    async () => {
      const hub = open();
      const a = hub.join('a');
      const told: (readonly string[])[] = [];
      a.onNodes((nodes) => told.push(nodes));

      const b = hub.join('b');
      await until('b is heard of', () => told.length === 1);
      assert.deepEqual(b.nodes(), ['b', 'a']);
      await b.close();
      await until('b is gone', () => told.length === 2);

      assert.deepEqual(told, [['a', 'b'], ['a']]);
      assert.deepEqual(a.nodes(), ['a']);
    },
  );
}
