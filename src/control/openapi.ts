/**
 * The API as an OpenAPI 3.1 document, made from the table of actions.
 *
 * All actions share one path: the name of the action is a header or a parameter. A document needs
 * one path for each, so they stand under `/?Action=Name`, which is an honest RPC URL.
 */
import type { Action, Parameter, ResultField } from './action.ts';
import { API_FAULTS } from './api-fault.ts';

type Schema = Readonly<Record<string, unknown>>;

const VERSION = '2020-04-20';

/** The document, ready for JSON. */
export function describeApi(actions: readonly Action[]): Schema {
  return {
    openapi: '3.1.0',
    info: {
      title: 'TernMQ control API',
      version: VERSION,
      description:
        'Every request is signed with an access key: ACS3-HMAC-SHA256 or ACS3-HMAC-SM3 in the ' +
        'Authorization header, or HMAC-SHA1 version 1.0 in the parameters. Parameters may come ' +
        'in the query, in a form body, or in both.',
    },
    paths: Object.fromEntries(
      actions.map((action) => [
        `/?Action=${action.name}`,
        { get: operation(action, 'get'), post: operation(action, 'post') },
      ]),
    ),
    components: {
      schemas: { Error: ERROR },
      securitySchemes: {
        acs3: {
          type: 'apiKey',
          in: 'header',
          name: 'Authorization',
          description: 'ACS3-HMAC-SHA256 Credential=...,SignedHeaders=...,Signature=...',
        },
        rpc: {
          type: 'apiKey',
          in: 'query',
          name: 'Signature',
          description: 'HMAC-SHA1 over all parameters, SignatureVersion 1.0',
        },
      },
    },
    security: [{ acs3: [] }, { rpc: [] }],
  };
}

function operation(action: Action, method: 'get' | 'post'): Schema {
  return {
    operationId: method === 'get' ? `${action.name}ByGet` : action.name,
    tags: [action.family],
    summary: action.about,
    'x-permission': action.permission,
    'x-calls-per-second': action.callsPerSecondMax,
    'x-faults': action.faults,
    parameters: action.parameters.map((parameter) => ({
      name: parameter.name,
      in: 'query',
      required: parameter.required,
      description: parameter.about,
      schema: parameterSchema(parameter),
      ...(isMany(parameter) ? { 'x-wire': wireNames(parameter) } : {}),
    })),
    responses: {
      200: {
        description: 'Done.',
        content: { 'application/json': { schema: answerSchema(action) } },
      },
      default: {
        description: `Refused: ${action.faults.join(', ')}, or a code that any action has.`,
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

/** How a list or tags are written in a request. */
export function wireNames({ name, type }: Parameter): string {
  return type === 'tags' ? `${name}.1.Key, ${name}.1.Value` : `${name}.1, ${name}.2`;
}

function isMany({ type }: Parameter): boolean {
  return type === 'list' || type === 'tags';
}

function parameterSchema(parameter: Parameter): Schema {
  const { type, charsMax, oneOf, min, max } = parameter;
  const text = {
    type: 'string',
    ...(charsMax === undefined ? {} : { maxLength: charsMax }),
    ...(oneOf === undefined ? {} : { enum: oneOf }),
  };
  const counts = {
    ...(min === undefined ? {} : { minItems: min }),
    ...(max === undefined ? {} : { maxItems: max }),
  };
  switch (type) {
    case 'string':
      return text;
    case 'json':
      return { ...text, contentMediaType: 'application/json' };
    case 'boolean':
      return { type: 'boolean' };
    case 'integer':
    case 'long':
      return {
        type: 'integer',
        format: type === 'long' ? 'int64' : 'int32',
        ...(min === undefined ? {} : { minimum: min }),
        ...(max === undefined ? {} : { maximum: max }),
      };
    case 'list':
      return { type: 'array', items: text, ...counts };
    case 'tags':
      return { type: 'array', items: TAG, ...counts };
  }
}

const TAG: Schema = {
  type: 'object',
  required: ['Key'],
  properties: { Key: { type: 'string' }, Value: { type: 'string' } },
};

const ERROR: Schema = {
  type: 'object',
  required: ['RequestId', 'Code', 'Message'],
  properties: {
    RequestId: { type: 'string' },
    HostId: { type: 'string' },
    Code: {
      type: 'string',
      description: `One of ${Object.keys(API_FAULTS).join(', ')}; %s is a parameter's name.`,
    },
    Message: { type: 'string' },
  },
};

/** The fields each style of answer has beside the action's own. */
const STYLES: Readonly<Record<Action['answer'], readonly ResultField[]>> = {
  bare: [],
  number: [
    { name: 'Code', type: 'number', about: '200.' },
    { name: 'Success', type: 'boolean', about: 'True.' },
    { name: 'Message', type: 'string', about: 'A few words.' },
  ],
  text: [
    { name: 'Code', type: 'string', about: '200, as text.' },
    { name: 'Success', type: 'string', about: 'true, as text.' },
    { name: 'Message', type: 'string', about: 'A few words.' },
  ],
};

/** Every field of a success, `RequestId` and those of its style included. */
export function answerFields(action: Action): readonly ResultField[] {
  const id: ResultField = { name: 'RequestId', type: 'string', about: 'Names this request.' };
  const own = new Set(action.result.map(({ name }) => name));
  return [id, ...STYLES[action.answer].filter(({ name }) => !own.has(name)), ...action.result];
}

function answerSchema(action: Action): Schema {
  return fieldsSchema(answerFields(action));
}

function fieldsSchema(fields: readonly ResultField[]): Schema {
  return {
    type: 'object',
    properties: Object.fromEntries(fields.map((field) => [field.name, fieldSchema(field)])),
  };
}

function fieldSchema(field: ResultField): Schema {
  const schema =
    typeof field.type !== 'string'
      ? fieldsSchema(field.type)
      : field.type === 'string[]'
        ? { type: 'array', items: { type: 'string' } }
        : { type: field.type };
  if (field.many === true) return { type: 'array', items: schema, description: field.about };
  return { ...schema, description: field.about };
}
