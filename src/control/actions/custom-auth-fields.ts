/** Parameters and answers of custom authentication, as they are on the wire. */
import type { Parameter, ResultField } from '../action.ts';

const CLIENT_ID_CHARS_MAX = 1024;

type ParameterName =
  | 'Username'
  | 'IdentityType'
  | 'ClientId'
  | 'Secret'
  | 'SignMode'
  | 'Identity'
  | 'Topic'
  | 'PermitAction'
  | 'Effect'
  | 'NextToken'
  | 'Size';

const PARAMETERS: Readonly<Record<ParameterName, Omit<Parameter, 'name' | 'required'>>> = {
  Username: { type: 'string', about: 'The user name, 64 characters at most.', charsMax: 64 },
  IdentityType: {
    type: 'string',
    about: '`USER`: a user name alone; `CLIENT`: with, or by, one client identifier.',
    oneOf: ['USER', 'CLIENT'],
  },
  ClientId: {
    type: 'string',
    about: 'The client identifier; an identity of type `CLIENT` must have one.',
    charsMax: CLIENT_ID_CHARS_MAX,
  },
  Secret: { type: 'string', about: 'The secret, 1024 characters at most.', charsMax: 1024 },
  SignMode: {
    type: 'string',
    about:
      '`ORIGIN`: the password is the secret; `SIGNED`: it is Base64(HMAC-SHA1(secret, client ' +
      'identifier)).',
    oneOf: ['ORIGIN', 'SIGNED'],
  },
  Identity: {
    type: 'string',
    about: 'The user name (`USER`) or the client identifier (`CLIENT`).',
    charsMax: CLIENT_ID_CHARS_MAX,
  },
  Topic: {
    type: 'string',
    about:
      'A topic filter; the wildcards `+` and `#` are allowed. In a compatible instance its ' +
      'first level is a parent topic that exists.',
    charsMax: 4096,
  },
  PermitAction: {
    type: 'string',
    about: 'To publish, to subscribe, or both.',
    oneOf: ['PUB', 'SUB', 'PUB_SUB'],
  },
  Effect: {
    type: 'string',
    about: 'What is denied stays denied, whatever else is allowed.',
    oneOf: ['ALLOW', 'DENY'],
  },
  NextToken: {
    type: 'string',
    about: 'From the answer before; left out for the first page.',
    charsMax: 16_384,
  },
  Size: { type: 'integer', about: 'How many records, 1 to 100.', min: 1, max: 100 },
};

/** Required, unless said otherwise. */
export function parameter(name: ParameterName, required = true): Parameter {
  return { name, required, ...PARAMETERS[name] };
}

export const IDENTITY_ROWS: readonly ResultField[] = rows([
  { name: 'ClientId', type: 'string', about: 'Empty where the type is `USER`.' },
  { name: 'IdentityType', type: 'string', about: '`USER` or `CLIENT`.' },
  { name: 'Secret', type: 'string', about: 'The secret in clear.' },
  { name: 'SignMode', type: 'string', about: '`ORIGIN` or `SIGNED`.' },
  { name: 'Username', type: 'string', about: 'The user name.' },
]);

export const PERMISSION_ROWS: readonly ResultField[] = rows([
  { name: 'Effect', type: 'string', about: '`ALLOW` or `DENY`.' },
  { name: 'Identity', type: 'string', about: 'The user name or the client identifier.' },
  { name: 'IdentityType', type: 'string', about: '`USER` or `CLIENT`.' },
  { name: 'PermitAction', type: 'string', about: '`PUB`, `SUB` or `PUB_SUB`.' },
  { name: 'Topic', type: 'string', about: 'The topic filter.' },
]);

export const BLACK_ROWS: readonly ResultField[] = rows([
  { name: 'ClientId', type: 'string', about: 'The client that is kept out.' },
  { name: 'Effect', type: 'string', about: 'Always `DENY`.' },
  { name: 'PermitAction', type: 'string', about: 'Always `CONNECT`.' },
]);

function rows(fields: readonly ResultField[]): readonly ResultField[] {
  return [
    {
      name: 'Data',
      about: 'A page.',
      type: [
        { name: 'NextToken', type: 'string', about: 'For the next page; empty after the last.' },
        { name: 'Results', type: fields, many: true, about: 'The records.' },
      ],
    },
  ];
}
