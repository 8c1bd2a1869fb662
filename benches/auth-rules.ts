/** What a PUBLISH pays for permissions: the compiled rules alone, by how many there are. */
import { type TopicRule, TopicRules } from '#identity';
import { type Line, nsPerCall, type Section } from './auth-measure.ts';

const RULE_COUNTS = [0, 10, 1000, 10_000] as const;
const CALLS = 200_000;
const ROUNDS = 9;
const DEEP = '/a/b/c/d/e/f/g/h/i/j/k/l';

/** Nine in ten name a topic, some have a wildcard at the end or within, one in ten denies. */
export function manyRules(count: number): TopicRule[] {
  return Array.from({ length: count }, (_, i) => {
    const site = `plant/site-${i % 100}/line-${i}`;
    const filter = i % 20 === 7 ? `${site}/#` : i % 20 === 13 ? `plant/+/line-${i}/state` : site;
    const effect = i % 10 === 9 ? 'deny' : 'allow';
    return { effect, publish: true, subscribe: true, filter };
  });
}

interface Questions {
  readonly title: string;
  readonly topics: readonly string[];
}

function questions(count: number): readonly Questions[] {
  const lines = Array.from({ length: 1000 }, (_, i) => Math.floor((i * count) / 1000));
  return [
    { title: 'hit', topics: lines.map((i) => `plant/site-${i % 100}/line-${i}`) },
    { title: 'miss, last level', topics: lines.map((i) => `plant/site-${i % 100}/other-${i}`) },
    { title: 'miss, first level', topics: lines.map((i) => `elsewhere/line-${i}`) },
    { title: 'deep', topics: lines.map((i) => `plant/site-${i % 100}/line-${i}${DEEP}`) },
  ];
}

/** Nanoseconds of `mayPublish`, a topic never asked twice in a row. */
export async function measureRules(): Promise<Section> {
  const lines: Line[] = [];
  for (const count of RULE_COUNTS) {
    const rules = new TopicRules(manyRules(count));
    const figures: number[] = [];
    for (const { topics } of questions(count)) {
      let allowed = 0;
      const ns = await nsPerCall(CALLS, ROUNDS, (calls) => {
        for (let i = 0; i < calls; i++) if (rules.mayPublish(topics[i % topics.length]!)) allowed++;
      });
      figures.push(allowed < 0 ? Number.NaN : ns); // the answers are used, so they are made
    }
    lines.push({ name: `${count} rules`, figures });
  }
  return {
    title: 'mayPublish, ns of processor time',
    columns: questions(1).map((one) => one.title),
    lines,
    notes: [],
  };
}
