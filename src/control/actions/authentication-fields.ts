/**
 * Parameters and results of the actions on HTTP authentication and JWTs. A parameter's name is
 * that of the setting with a capital; bounds are with the settings (`readHttpSettings` and so on).
 */
import type { Parameter, ParameterType, ResultField } from '../action.ts';

const optional = (name: string, type: ParameterType, about: string): Parameter => ({
  name,
  type,
  required: false,
  about,
});

/** Of `SetHttpAuth`. */
export const HTTP_PARAMETERS: readonly Parameter[] = [
  {
    name: 'Url',
    type: 'string',
    required: true,
    about: 'Where to ask: http or https, without user name and password.',
    charsMax: 2048,
  },
  optional('TimeoutMs', 'integer', 'For the whole call, 100 to 30000; 3000 by default.'),
  optional(
    'CacheSeconds',
    'integer',
    'How long an allowing answer stands; 5 by default, 0: never.',
  ),
  optional('DenyCacheSeconds', 'integer', 'How long a denying answer stands; 0 by default.'),
  optional('ConcurrencyMax', 'integer', 'Calls at a time, 1 to 1024; 64 by default.'),
  optional('FailOpen', 'boolean', 'While the service is down everybody gets in; false by default.'),
  optional('BreakerFailureCountMax', 'integer', 'Failures in a row that mean down; 5 by default.'),
  optional('BreakerOpenMs', 'integer', 'When to try again once it is down; 10000 by default.'),
  {
    name: 'Headers',
    type: 'json',
    required: false,
    about: 'More headers, `{"name": "value"}`; the values are stored sealed.',
    charsMax: 65_536,
  },
  optional('Ca', 'string', 'Authorities (PEM) that vouch for the service, not the usual ones.'),
];

/** Of `SetJwtAuth`; one of `Jwks`, `JwksUrl` and `Secret` is needed. */
export const JWT_PARAMETERS: readonly Parameter[] = [
  optional('Jwks', 'json', 'Public keys, `{"keys": [...]}`, up to 20.'),
  optional('JwksUrl', 'string', 'Where to fetch public keys.'),
  optional('Ca', 'string', 'Authorities (PEM) that vouch for `JwksUrl`, not the usual ones.'),
  optional('Secret', 'string', 'For HS256 and the like: 32 bytes or more; stored sealed.'),
  optional('SecretIsBase64', 'boolean', 'The secret is given as base64; false by default.'),
  optional('Algorithms', 'list', 'Those accepted; all that fit the keys, with a secret HS256.'),
  optional('Issuer', 'list', 'One of them must be `iss`.'),
  optional('Audience', 'list', 'One of them must be in `aud`.'),
  { ...optional('From', 'string', 'Where the token is.'), oneOf: ['password', 'username'] },
  optional('ClientIdClaim', 'string', 'The claim that must equal the client identifier.'),
  optional('UserNameClaim', 'string', 'The claim that must equal the user name, if there is one.'),
  optional('AclClaim', 'string', 'The claim with permissions; `acl` by default.'),
  optional('ExpiryRequired', 'boolean', 'Tokens without `exp` are refused; true by default.'),
  optional('ToleranceSeconds', 'integer', 'How wrong clocks may be, 0 to 300; 10 by default.'),
  optional('TimeoutMs', 'integer', 'For fetching keys, 100 to 30000; 3000 by default.'),
];

const field = (name: string, type: ResultField['type'], about: string): ResultField => ({
  name,
  type,
  about,
});

/** Of `GetAuthentication`. */
export const HTTP_FIELDS: readonly ResultField[] = [
  field('Url', 'string', 'Where it is asked.'),
  field('TimeoutMs', 'number', 'For the whole call.'),
  field('CacheSeconds', 'number', 'How long an allowing answer stands.'),
  field('DenyCacheSeconds', 'number', 'How long a denying answer stands.'),
  field('ConcurrencyMax', 'number', 'Calls at a time.'),
  field('FailOpen', 'boolean', 'While the service is down everybody gets in.'),
  field('BreakerFailureCountMax', 'number', 'Failures in a row that mean down.'),
  field('BreakerOpenMs', 'number', 'When to try again once it is down.'),
  field('HeaderNames', 'string[]', 'Names of the headers; their values are secret.'),
  field('Ca', 'string', 'Authorities that vouch for it.'),
];

/** Of `GetAuthentication`. */
export const JWT_FIELDS: readonly ResultField[] = [
  field('Jwks', 'string', 'The public keys as JSON, where they were given.'),
  field('JwksUrl', 'string', 'Where public keys are fetched.'),
  field('Ca', 'string', 'Authorities that vouch for `JwksUrl`.'),
  field('SecretSet', 'boolean', 'There is a secret.'),
  field('Algorithms', 'string[]', 'Those accepted.'),
  field('Issuer', 'string[]', 'One of them must be `iss`; empty: any.'),
  field('Audience', 'string[]', 'One of them must be in `aud`; empty: any.'),
  field('From', 'string', 'Where the token is.'),
  field('ClientIdClaim', 'string', 'The claim that must equal the client identifier.'),
  field('UserNameClaim', 'string', 'The claim that must equal the user name.'),
  field('AclClaim', 'string', 'The claim with permissions.'),
  field('ExpiryRequired', 'boolean', 'Tokens without `exp` are refused.'),
  field('ToleranceSeconds', 'number', 'How wrong clocks may be.'),
  field('TimeoutMs', 'number', 'For fetching keys.'),
];
