/**
 * Every refusal the control API can utter: code, HTTP status and text, once.
 *
 * The vendor moved several codes from HTTP 500 to a status of the caller's; those rows take the
 * newer one. `InternalError` stays 500: it means a bug or a breakdown here, and clients that sort
 * by class of status should hear so. Clients compare codes, spelling mistakes included.
 */

export interface ApiFaultRow {
  readonly status: number;
  readonly text: string;
}

/** `%s` stands for a parameter's name. */
export type ApiFaultCode =
  | 'ApplyTokenOverFlow'
  | 'CheckAccountInfoFailed'
  | 'InstancePermissionCheckFailed'
  | 'PermissionCheckFailed'
  | 'ResourcePermissionCheckFailed'
  | 'ParameterCheckFailed'
  | 'ParameterFieldCheckFailed'
  | 'InvalidParameter.%s'
  | 'InstanceNotFound'
  | 'MqttInstanceNotFound'
  | 'MqttOwnerCheckError'
  | 'GroupIdAlreadyExsited'
  | 'GroupIdAlreadyUsedByOtherUsers'
  | 'CreateGroupIdError'
  | 'DeleteGroupIdError'
  | 'SendMessageFailed'
  | 'RegisterCodeError'
  | 'RegisterCodeUsed'
  | 'GetCaNumError'
  | 'CaNumExceed'
  | 'CertificateContentError'
  | 'SnNotUnique'
  | 'FindCaBySnError'
  | 'Customauth.over.capacity'
  | 'ApiNotSupport'
  | 'InternalError'
  | 'SystemOverFlow'
  | 'SignatureDoesNotMatch'
  | 'InvalidAccessKeyId.NotFound'
  | 'InvalidAccessKeyId.Inactive'
  | 'InvalidTimeStamp.Format'
  | 'InvalidTimeStamp.Expired'
  | 'SignatureNonceUsed'
  | 'IncompleteSignature'
  | 'InvalidSignatureMethod'
  | 'InvalidParameter.Format'
  | 'Missing%s'
  | 'Invalid%s'
  | 'InvalidApi.NotFound'
  | 'InvalidProduct.NotFound'
  | 'InvalidProtocol.NeedSsl'
  | 'UnsupportedHTTPMethod'
  | 'Throttling.User'
  | 'Throttling.Api'
  | 'Forbidden.RAM'
  | 'ServiceUnavailable'
  | 'RequestTooLarge'
  | 'MalformedRequest';

// biome-ignore format: a table reads in columns
export const API_FAULTS: Readonly<Record<ApiFaultCode, ApiFaultRow>> = {
  'ApplyTokenOverFlow':            { status: 400, text: 'Tokens are applied for too often.' },
  'CheckAccountInfoFailed':        { status: 400, text: 'The temporary credential belongs to no account.' },
  'InstancePermissionCheckFailed': { status: 400, text: 'The instance does not exist or is not yours to use.' },
  'PermissionCheckFailed':         { status: 400, text: 'The policy does not permit this.' },
  'ResourcePermissionCheckFailed': { status: 400, text: 'The policy does not permit this on the resource.' },
  'ParameterCheckFailed':          { status: 400, text: 'A parameter is missing or not valid.' },
  'ParameterFieldCheckFailed':     { status: 400, text: 'A parameter is missing or not valid.' },
  'InvalidParameter.%s':           { status: 400, text: 'The parameter is missing or not valid.' },
  'InstanceNotFound':              { status: 400, text: 'The instance does not exist.' },
  'MqttInstanceNotFound':          { status: 400, text: 'The instance does not exist.' },
  'MqttOwnerCheckError':           { status: 403, text: 'The instance is not yours to use.' },
  'GroupIdAlreadyExsited':         { status: 400, text: 'The group exists already.' },
  'GroupIdAlreadyUsedByOtherUsers': { status: 400, text: 'Another account has a group of that name.' },
  'CreateGroupIdError':            { status: 417, text: 'The group could not be made.' },
  'DeleteGroupIdError':            { status: 417, text: 'The group could not be removed.' },
  'SendMessageFailed':             { status: 417, text: 'The message could not be stored.' },
  'RegisterCodeError':             { status: 400, text: 'The certificate does not carry the registration code.' },
  'RegisterCodeUsed':              { status: 401, text: 'The registration code was used before.' },
  'GetCaNumError':                 { status: 401, text: 'The number of CA certificates could not be read.' },
  'CaNumExceed':                   { status: 401, text: 'There are too many CA certificates.' },
  'CertificateContentError':       { status: 401, text: 'The certificate cannot be used.' },
  'SnNotUnique':                   { status: 401, text: 'The serial number is taken.' },
  'FindCaBySnError':               { status: 400, text: 'No CA certificate has this serial number.' },
  'Customauth.over.capacity':      { status: 400, text: 'No more records of custom authentication fit.' },
  'ApiNotSupport':                 { status: 404, text: 'The operation is not available here.' },
  'InternalError':                 { status: 500, text: 'Something failed here; the log has the request id.' },
  'SystemOverFlow':                { status: 403, text: 'The service is at its limit; try again later.' },
  'SignatureDoesNotMatch':         { status: 400, text: 'Specified signature does not match our calculation.' },
  'InvalidAccessKeyId.NotFound':   { status: 404, text: 'The access key does not exist.' },
  'InvalidAccessKeyId.Inactive':   { status: 400, text: 'The access key is disabled.' },
  'InvalidTimeStamp.Format':       { status: 400, text: 'The time is not of the form 2026-11-22T12:44:58Z.' },
  'InvalidTimeStamp.Expired':      { status: 400, text: 'The time is more than 15 minutes from ours.' },
  'SignatureNonceUsed':            { status: 400, text: 'The nonce was used before.' },
  'IncompleteSignature':           { status: 400, text: 'The signature is missing, incomplete or malformed.' },
  'InvalidSignatureMethod':        { status: 400, text: 'The signature method is not supported.' },
  'InvalidParameter.Format':       { status: 400, text: 'Format can be JSON only.' },
  'Missing%s':                     { status: 400, text: 'A parameter that every request needs is missing.' },
  'Invalid%s':                     { status: 400, text: 'A parameter that every request needs is not valid.' },
  'InvalidApi.NotFound':           { status: 404, text: 'There is no such action in this version, or no such path.' },
  'InvalidProduct.NotFound':       { status: 404, text: 'No such product is served here.' },
  'InvalidProtocol.NeedSsl':       { status: 404, text: 'The operation needs HTTPS.' },
  'UnsupportedHTTPMethod':         { status: 405, text: 'Use GET or POST.' },
  'Throttling.User':               { status: 400, text: 'The account calls this action too often.' },
  'Throttling.Api':                { status: 400, text: 'Too many requests come from this address.' },
  'Forbidden.RAM':                 { status: 403, text: 'The policy does not permit this call.' },
  'ServiceUnavailable':            { status: 503, text: 'The service cannot do this now; try again.' },
  'RequestTooLarge':               { status: 413, text: 'The request is too large.' },
  'MalformedRequest':              { status: 400, text: 'The request is not well-formed HTTP, or not UTF-8.' },
};

/** A refusal of the control API, thrown anywhere behind its door. */
export class ApiFault extends Error {
  override readonly name = 'ApiFault';
  readonly code: ApiFaultCode;
  readonly status: number;
  /** Fills the `%s` of the code. */
  readonly parameter: string | undefined;

  /** `detail` is said to the caller: no secrets. `parameter` fills the `%s` of some codes. */
  constructor(
    code: ApiFaultCode,
    detail?: string,
    options?: ErrorOptions & { readonly parameter?: string },
  ) {
    super(detail ?? API_FAULTS[code].text, options);
    this.code = code;
    this.status = API_FAULTS[code].status;
    this.parameter = options?.parameter;
  }

  /** The code as the caller reads it: `InvalidParameter.%s` becomes `InvalidParameter.Size`. */
  get wireCode(): string {
    if (this.parameter !== undefined) return this.code.replace('%s', this.parameter);
    return this.code.replace('.%s', '').replace('%s', 'Parameter');
  }
}
