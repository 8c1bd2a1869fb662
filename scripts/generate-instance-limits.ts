/** `docs/instance-limits.md`, written from the table of an instance's limits. */
import { INSTANCE_LIMITS } from '#instances';

/** The page, below `notice`. */
export function instanceLimitsPage(notice: string): string {
  let text = `# Limits of an instance

${notice}
What an instance allows. Each limit has a default by the kind of instance and can be set for one
instance with \`UpdateInstance\`: by its name with a capital (\`PayloadBytesMax\`), or several as
JSON in \`Limits\`. There -1 means no bound, and in the JSON null means the default. A change holds
at once, for connected clients too. Numbers of the compatible kind that the product documents are
marked with \`*\`; below an instance's limits those of [the broker](limits.md) hold as well.

| limit | compatible | open | unit | at the bound |
|---|---|---|---|---|
`;
  for (const row of INSTANCE_LIMITS) {
    const mark = row.source === 'product' ? ' \\*' : '';
    const cells = [row.name, `${show(row.compatible)}${mark}`, show(row.open), row.unit];
    text += `| ${cells.join(' | ')} | ${row.policy} |\n`;
  }
  return text;
}

function show(value: number): string {
  return value === Number.POSITIVE_INFINITY ? 'none' : value.toLocaleString('en');
}
