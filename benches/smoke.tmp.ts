import { systemClock, createLog } from '#base';
import { openLmdbEngine } from '#adapters/lmdb';
import { rmSync } from 'node:fs';
const dir = '/tmp/smoke-store';
if (!process.argv.includes('keep')) rmSync(dir, { recursive: true, force: true });
const log = createLog({
  level: 'debug',
  clock: systemClock,
  write: (l) => process.stderr.write(l),
});
const t0 = Date.now();
const engine = await openLmdbEngine({ directory: dir, clock: systemClock, log });
console.log('open', Date.now() - t0);
const il = engine.log.instance('i1');
console.log(il.size(), il.end());
const payload = Buffer.alloc(128, 1);
const none = new Uint8Array(0);
const N = +(process.env.N ?? 200000),
  W = 200;
let sent = 0,
  done = 0;
await new Promise<void>((res) => {
  const l = {
    appended(p: number) {
      done++;
      if (done === N) res();
      else send();
    },
    refused(f: any) {
      console.log('refused', f.message);
      process.exit(1);
    },
  };
  function send() {
    if (sent < N) {
      const i = sent++;
      il.append(
        {
          topic: 't/' + (i % 1000),
          payload,
          properties: none,
          qos: 1,
          retain: false,
          publisher: 'pub' + (i % 10),
          acceptedMs: Date.now(),
          expiresMs: 0,
        },
        l,
      );
    }
  }
  const t = Date.now();
  const c = process.cpuUsage();
  for (let i = 0; i < W; i++) send();
  setImmediate(function poll() {
    if (done < N) setTimeout(poll, 50);
    else {
      const u = process.cpuUsage(c);
      console.log(
        'rate',
        ((N / (Date.now() - t)) * 1000) | 0,
        'us/msg user',
        (u.user / N).toFixed(2),
        'sys',
        (u.system / N).toFixed(2),
      );
    }
  });
});
await new Promise((r) => setTimeout(r, 100));
console.log(il.size());
for (const f of ['t/7', '#', 't/+']) {
  let after = 0,
    n = 0,
    pages = 0;
  const t = performance.now();
  for (;;) {
    const p = await il.read({
      filters: [{ filter: f, after: 0 }],
      after,
      countMax: 500,
      bytesMax: 1e6,
    });
    n += p.entries.length;
    pages++;
    after = p.next;
    if (p.complete) break;
  }
  console.log(f, n, pages, (performance.now() - t).toFixed(1) + 'ms');
}
const table = engine.store.table('retained');
{
  const M = 200000;
  let d = 0;
  const t = performance.now();
  const c = process.cpuUsage();
  await new Promise<void>((res) => {
    const l = {
      settled(f: any) {
        if (f) {
          console.log(f.message);
          process.exit(1);
        }
        d++;
        if (d === M) res();
        else if (s < M) w();
      },
    };
    let s = 0;
    function w() {
      const i = s++;
      table.write('k/' + (i % 50000), payload, l);
    }
    for (let i = 0; i < 1000; i++) w();
  });
  const u = process.cpuUsage(c);
  console.log(
    'table writes/s',
    ((M / (performance.now() - t)) * 1000) | 0,
    u.user / M,
    u.system / M,
  );
}
let rows = 0;
for await (const p of table.scan('k/1')) rows += p.length;
console.log('scan', rows);
console.log(
  (await table.get('k/77'))?.version,
  await table.put('k/77', payload, 'absent'),
  await table.put('k/77', payload),
);
const t9 = Date.now();
await engine.close();
console.log('close', Date.now() - t9);
