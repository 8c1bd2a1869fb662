/**
 * The vendor's own npm clients, as a program uses them: given an endpoint and a key, they sign,
 * place parameters and read answers in their own ways.
 *
 * They are CommonJS with types of little use; what is used of them is written down here.
 */
import { createRequire } from 'node:module';
import { Agent } from 'node:https';
import { OPERATIONS } from './control-operations.ts';

const load = createRequire(import.meta.url);

const VERSION = '2020-04-20';

export type Answer = Readonly<Record<string, unknown>>;

/** Some client of the control API, whoever wrote it. */
export interface VendorClient {
  call(action: string, parameters: Answer): Promise<Answer>;
}

/** Where to call, and as whom. */
export interface VendorAccess {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  readonly keyId: string;
  readonly secret: string;
  /** Of a temporary key. */
  readonly securityToken?: string;
  /** The private authority of an HTTPS door, PEM. */
  readonly authority?: string;
  /** Of the API; the present one where it is left out. */
  readonly version?: string;
}

/** What a client throws, as far as programs look at it. */
export interface VendorFailure extends Error {
  readonly code: string;
  readonly statusCode?: number;
  readonly requestId?: string;
  readonly retryAfter?: number;
  readonly data?: { readonly [field: string]: unknown };
}

interface PopCore {
  readonly RPCClient: new (
    settings: object,
  ) => { request(action: string, parameters: object, options: object): Promise<Answer> };
}

/** @alicloud/pop-core: the older generation of signatures; everything in the query, or the body. */
export function openPopCore(access: VendorAccess, method: 'GET' | 'POST'): VendorClient {
  const { RPCClient } = load('@alicloud/pop-core') as PopCore;
  const { authority, securityToken, version = VERSION } = access;
  const client = new RPCClient({
    endpoint: access.url,
    apiVersion: version,
    accessKeyId: access.keyId,
    accessKeySecret: access.secret,
    ...(securityToken !== undefined && { securityToken }),
  });
  const agent = authority === undefined ? {} : { agent: new Agent({ ca: authority }) };
  return {
    call: (action, parameters) => client.request(action, parameters, { method, ...agent }),
  };
}

export const SIGNATURE_ALGORITHMS = ['ACS3-HMAC-SHA256', 'ACS3-HMAC-SM3', 'v2'] as const;

export type SignatureAlgorithm = (typeof SIGNATURE_ALGORITHMS)[number];

/** The parts of the newer packages: classes to fill, and a client to call. */
interface OpenApiParts {
  readonly Config: new (settings: object) => object;
  readonly Params: new (parts: object) => object;
  readonly OpenApiRequest: new (parts: object) => object;
}

interface OpenApiClient {
  callApi(parameters: object, request: object, runtime: object): Promise<{ readonly body: Answer }>;
}

type OpenApiClientClass = new (config: object) => OpenApiClient;

interface RuntimeModule {
  readonly RuntimeOptions: new (settings: object) => object;
}

/** `query` flattens lists and objects, as the generated SDKs let it do for them. */
interface UtilModule {
  query(parameters: object): object;
  parseToMap(parameters: object): object;
}

export const OPEN_API_PACKAGES = ['@alicloud/openapi-client', '@alicloud/openapi-core'] as const;

export type OpenApiPackage = (typeof OPEN_API_PACKAGES)[number];

interface OpenApi {
  readonly Client: OpenApiClientClass;
  readonly parts: OpenApiParts;
  readonly util: UtilModule;
  readonly runtime: object;
}

/** Both have the same parts in different places. */
function loadOpenApi(name: OpenApiPackage): OpenApi {
  if (name === '@alicloud/openapi-client') {
    const module = load(name) as OpenApiParts & { readonly default: OpenApiClientClass };
    const { RuntimeOptions } = load('@alicloud/tea-util') as RuntimeModule;
    const { default: util } = load('@alicloud/openapi-util') as { readonly default: UtilModule };
    return { Client: module.default, parts: module, util, runtime: new RuntimeOptions({}) };
  }
  const module = load(name) as {
    readonly default: OpenApiClientClass;
    readonly $OpenApiUtil: OpenApiParts;
    readonly OpenApiUtil: UtilModule;
  };
  const { RuntimeOptions } = load('@darabonba/typescript') as RuntimeModule;
  return {
    Client: module.default,
    parts: module.$OpenApiUtil,
    util: module.OpenApiUtil,
    runtime: new RuntimeOptions({}),
  };
}

/** The newer clients, called as the generated SDKs call them, operation by operation. */
export function openOpenApi(
  name: OpenApiPackage,
  access: VendorAccess,
  signatureAlgorithm: SignatureAlgorithm,
): VendorClient {
  const { Client, parts, util, runtime } = loadOpenApi(name);
  const { host, protocol } = new URL(access.url);
  const { authority, securityToken, version = VERSION } = access;
  const config = new parts.Config({
    accessKeyId: access.keyId,
    accessKeySecret: access.secret,
    endpoint: host,
    signatureAlgorithm,
    // Left out where it is https: that is their default, and what a user has who changes nothing.
    ...(protocol === 'http:' && { protocol: 'http' }),
    ...(authority !== undefined && { ca: authority }),
    ...(securityToken !== undefined && { securityToken }),
  });
  const client = new Client(config);
  return {
    call: async (action, parameters) => {
      const { method, place } = OPERATIONS.get(action) ?? { method: 'POST', place: 'query' };
      const call = new parts.Params({
        action,
        version,
        protocol: 'HTTPS',
        pathname: '/',
        method,
        authType: 'AK',
        style: 'RPC',
        reqBodyType: 'formData',
        bodyType: 'json',
      });
      const placed =
        place === 'query'
          ? { query: util.query(parameters) }
          : { body: util.parseToMap(parameters) };
      return (await client.callApi(call, new parts.OpenApiRequest(placed), runtime)).body;
    },
  };
}
