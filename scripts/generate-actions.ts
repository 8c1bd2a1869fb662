/** `docs/actions.md`: what the control API can do, from the table that it is served by. */
import {
  type Action,
  ACTIONS,
  answerFields,
  API_FAULTS,
  type Parameter,
  type ResultField,
  wireNames,
} from '#control';

/** The page. */
export function actionsPage(notice: string): string {
  let text = `# Actions of the control API

${notice}
Every action is a signed request to \`/\`, as GET or POST, with its parameters in the query or in
a form. Names count exactly, case included; a parameter that an action does not have is ignored.
The same from a shell: \`ternmq api ApplyToken --InstanceId ...\`. A server with the control API
describes itself as OpenAPI on \`/openapi.json\`.

Actions marked *ours* are additions; the others are those of ApsaraMQ for MQTT, version 2020-04-20.
Every answer has a \`RequestId\`. A refusal is JSON with \`RequestId\`, \`HostId\`, \`Code\` and
\`Message\`; the code is one of [these](#codes).
`;
  for (const [family, actions] of Map.groupBy(ACTIONS, (action) => action.family)) {
    text += `\n## ${title(family)}\n`;
    text += '\n| action | does | permission | calls a second |\n|---|---|---|---|\n';
    for (const action of actions) text += summaryRow(action);
    for (const action of actions) text += actionEntry(action);
  }
  return text + codes();
}

function title(family: string): string {
  const words = family.replaceAll('-', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function summaryRow({ name, about, origin, permission, callsPerSecondMax }: Action): string {
  const ours = origin === 'ternmq' ? ' *ours*' : '';
  const link = `[${name}](#${name.toLowerCase()})${ours}`;
  return `| ${link} | ${cell(about)} | \`${permission}\` | ${callsPerSecondMax} |\n`;
}

function actionEntry(action: Action): string {
  let text = `\n### ${action.name}\n\n${action.about}\n`;
  if (action.parameters.length > 0) {
    text += '\n| parameter | type | required | meaning |\n|---|---|---|---|\n';
    for (const parameter of action.parameters) text += parameterRow(parameter);
  }
  const results = answerFields(action).slice(1);
  if (results.length > 0) {
    text += '\n| result | type | meaning |\n|---|---|---|\n';
    for (const field of results) text += resultRows(field, '');
  }
  const faults = action.faults.map((code) => `\`${code}\``).join(', ');
  return faults === '' ? text : `${text}\nFaults: ${faults}.\n`;
}

function parameterRow(parameter: Parameter): string {
  const { name, type, required, about } = parameter;
  const many = type === 'list' || type === 'tags';
  const shown = many ? `${type}: \`${wireNames(parameter)}\`` : type;
  const bounds = boundsOf(parameter);
  const meaning = bounds === '' ? about : `${about} ${bounds}`;
  return `| \`${name}\` | ${shown} | ${required ? 'yes' : 'no'} | ${cell(meaning)} |\n`;
}

function boundsOf({ type, charsMax, oneOf, min, max }: Parameter): string {
  const many = type === 'list' || type === 'tags';
  const bounds: string[] = [];
  if (oneOf !== undefined) bounds.push(`One of ${oneOf.map((one) => `\`${one}\``).join(', ')}.`);
  if (charsMax !== undefined) bounds.push(`At most ${charsMax} characters.`);
  if (max !== undefined) bounds.push(many ? `At most ${max}.` : `${min ?? 'Up'} to ${max}.`);
  else if (min !== undefined) bounds.push(`At least ${min}.`);
  return bounds.join(' ');
}

function resultRows(field: ResultField, above: string): string {
  const { type, many, about } = field;
  const path = above + field.name;
  const shown = typeof type === 'string' ? type : 'object';
  const row = `| \`${path}\` | ${many === true ? `${shown}[]` : shown} | ${cell(about)} |\n`;
  if (typeof type === 'string') return row;
  const under = many === true ? `${path}[].` : `${path}.`;
  return row + type.map((member) => resultRows(member, under)).join('');
}

function codes(): string {
  let text = '\n## Codes\n\n`%s` stands for the name of a parameter.\n';
  text += '\n| code | HTTP status | meaning |\n|---|---|---|\n';
  for (const [code, row] of Object.entries(API_FAULTS)) {
    text += `| \`${code}\` | ${row.status} | ${cell(row.text)} |\n`;
  }
  return text;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
