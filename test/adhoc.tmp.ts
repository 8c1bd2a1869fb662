import { test } from 'node:test';
import { residentBytes } from '/work/main/test/harness/broker-numbers.ts';
import { startBroker } from '/work/main/test/harness/index.ts';
import { connectClient } from '/work/main/test/harness/v5-client.ts';
const deepTopic=(prefix:string)=>`${prefix}${'/a'.repeat(Math.floor((65_535 - prefix.length) / 2))}`;
test('churn', async (t) => {
  const own = await startBroker(t);
  const client = await connectClient(t, own.port);
  for (let i = 0; i < 600; i++) {
    const filters = Array.from({ length: 1_000 }, (_, k) => `churn/${i}/${k}/+/x`);
    await client.subscribe(filters.map((filter) => [filter, 1] as const));
    await client.unsubscribe(...filters);
    if (i % 50 === 0) console.log(i, residentBytes(own.pid) >> 20);
  }
});
test('deep publish', async (t) => {
  const own = await startBroker(t);
  const client = await connectClient(t, own.port, {cleanStart:false,clientId:'x',properties:{sessionExpiry:60}});
  const topic = deepTopic('d');
  const plusses = topic.replaceAll('/a', '/+');
  for (const step of ['plain','retain','exact','plus','hash']) {
    try {
      const c = await connectClient(t, own.port);
      if (step==='exact') await client.subscribe(topic,1);
      if (step==='plus') await client.subscribe(plusses,1);
      if (step==='hash') await client.subscribe(`${topic.slice(0,-1)}#`,1);
      console.log(step, await c.publish(topic,'x',{qos:1,retain:step==='retain'}));
    } catch (e) { console.log(step, String(e).slice(0,200)); console.log(own.output().slice(-1500)); break; }
  }
});
test('deep oom', async (t) => {
  const own = await startBroker(t);
  const client = await connectClient(t, own.port);
  let i=0;
  try { for (; i < 700; i++) { await client.subscribe(deepTopic(`deep${i}`), 0);
   if (i%100===0) console.log(i, residentBytes(own.pid)>>20);} } catch (e) { console.log('after', i, String(e).slice(0,200), own.output().slice(-600)); }
});
