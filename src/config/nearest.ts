/** The name somebody probably meant: the known one that takes the fewest slips to mistype. */

/** The nearest of `names` to `name`, or `undefined` where none is near. */
export function nearest(name: string, names: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestSlips = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of names) {
    const slips = name.length > 2 && candidate.startsWith(name) ? 1 : countSlips(name, candidate);
    if (slips < bestSlips) {
      best = candidate;
      bestSlips = slips;
    }
  }
  return best;
}

/** Letters to add, drop or change (Levenshtein), a row of the table at a time. */
function countSlips(from: string, to: string): number {
  let above = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const change = above[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      row.push(Math.min(above[j]! + 1, row[j - 1]! + 1, change));
    }
    above = row;
  }
  return above[to.length]!;
}
