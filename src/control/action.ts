/**
 * An operation of the control API, as data: HTTP dispatch, the OpenAPI document,
 * `docs/actions.md` and `ternmq api` all come from tables of these.
 */
import type { ApiFaultCode } from './api-fault.ts';
import type { Principal } from '#identity';
import type { Services } from './services.ts';

/** `list`: `Name.1`, `Name.2`; `tags`: `Name.1.Key`, `Name.1.Value`. `long` is a whole number. */
export type ParameterType = 'string' | 'integer' | 'long' | 'boolean' | 'list' | 'tags' | 'json';

export interface Parameter {
  readonly name: string;
  readonly type: ParameterType;
  readonly required: boolean;
  /** Meaning and bounds, in a sentence. */
  readonly about: string;
  readonly charsMax?: number;
  readonly oneOf?: readonly string[];
  readonly min?: number;
  readonly max?: number;
}

/** What an answer holds beside `RequestId`; names as on the wire. */
export interface ResultField {
  readonly name: string;
  /** `string`, `number`, `boolean`, `string[]`, or the fields of an object, or of many. */
  readonly type: string | readonly ResultField[];
  readonly many?: boolean;
  readonly about: string;
}

/**
 * How success looks. `bare`: fields only; `number`: with `Code` 200, `Success` true and `Message`;
 * `text`: with `Code` "200", `Success` "true" and `Message`, all texts.
 */
export type AnswerStyle = 'bare' | 'number' | 'text';

export interface Tag {
  readonly key: string;
  readonly value: string;
}

export type ArgumentValue = string | number | boolean | readonly string[] | readonly Tag[];

/** Checked arguments by name; those left out are not there. */
export type Arguments = Readonly<Record<string, ArgumentValue | undefined>>;

export interface Call {
  readonly arguments: Arguments;
  readonly principal: Principal;
  readonly requestId: string;
  /** Throws `PermissionCheckFailed` where the principal may not act on that topic or group. */
  demand(resource: string): void;
}

export interface Action {
  readonly name: string;
  readonly family: string;
  /** One sentence. */
  readonly about: string;
  /** Of the product's own API, or an addition of ours. */
  readonly origin: 'product' | 'ternmq';
  readonly parameters: readonly Parameter[];
  readonly result: readonly ResultField[];
  readonly answer: AnswerStyle;
  readonly faults: readonly ApiFaultCode[];
  /** The policy action a caller needs, such as `mq:ApplyToken`. */
  readonly permission: string;
  /** The parameter that names the instance; `undefined`: the action belongs to none. */
  readonly instanceParameter: 'InstanceId' | 'MqttInstanceId' | undefined;
  /** Calls a second for one account. */
  readonly callsPerSecondMax: number;
  /** A failure with base fault `notFound` and so on is translated by `faults` of the family. */
  handle(services: Services, call: Call): Promise<Record<string, unknown>>;
}

/** The argument as text; '' where it was left out. */
export function text(call: Call, name: string): string {
  const value = call.arguments[name];
  return typeof value === 'string' ? value : '';
}

/** The argument as a number, or `undefined` where it was left out. */
export function number(call: Call, name: string): number | undefined {
  const value = call.arguments[name];
  return typeof value === 'number' ? value : undefined;
}
