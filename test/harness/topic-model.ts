/**
 * Topics and filters for property tests, and the plainest way to say which match.
 *
 * Few level names, so that random filters and topics meet often; the odd ones are among them.
 */
import fc from 'fast-check';

const LEVELS = ['a', 'a', 'a', 'b', 'b', '', 'ab', '$', '$SYS', 'é', ' '] as const;

/** A topic name: 1 to 4 levels, empty ones and `$` included. */
export const anyTopic: fc.Arbitrary<string> = fc
  .array(fc.constantFrom(...LEVELS), { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join('/'))
  .filter((topic) => topic !== '');

/** A valid filter, often with wildcards. */
export const anyFilter: fc.Arbitrary<string> = fc
  .tuple(
    fc.array(fc.constantFrom(...LEVELS, '+', '+', '+'), { maxLength: 3 }),
    fc.constantFrom('#', '#', '+', 'a', ''),
  )
  .map(([levels, last]) => [...levels, last].join('/'))
  .filter((filter) => filter !== '');

/** MQTT 5.0 section 4.7, word for word, level by level. */
export function matchesNaively(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false;
  const match = (filters: readonly string[], topics: readonly string[]): boolean => {
    const [level, ...filtersLeft] = filters;
    const [name, ...topicsLeft] = topics;
    if (level === undefined) return name === undefined;
    if (level === '#') return true; // any number of levels, none as well
    if (name === undefined) return false;
    return (level === '+' || level === name) && match(filtersLeft, topicsLeft);
  };
  return match(filter.split('/'), topic.split('/'));
}
