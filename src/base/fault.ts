/**
 * Every refusal and failure this service can utter, once, for every tongue it speaks.
 *
 * `v5` is the MQTT 5.0 reason code (section 2.4), `v3` the CONNACK return code before it
 * (3.1.1 section 3.2.2.3; `null`: no listed code fits, so the connection just closes).
 */

// biome-ignore format: a table reads in columns
export const FAULTS: Readonly<Record<FaultCode, FaultRow>> = {
  unspecified:          { v5: 0x80, v3: 3,    retry: true,  text: 'unspecified error' },
  malformedPacket:      { v5: 0x81, v3: null, retry: false, text: 'malformed packet' },
  protocolError:        { v5: 0x82, v3: null, retry: false, text: 'protocol error' },
  unsupportedVersion:   { v5: 0x84, v3: 1,    retry: false, text: 'unsupported protocol version' },
  clientIdNotValid:     { v5: 0x85, v3: 2,    retry: false, text: 'client identifier not valid' },
  badUserOrPassword:    { v5: 0x86, v3: 4,    retry: false, text: 'bad user name or password' },
  notAuthorized:        { v5: 0x87, v3: 5,    retry: false, text: 'not authorized' },
  serverUnavailable:    { v5: 0x88, v3: 3,    retry: true,  text: 'server unavailable' },
  serverBusy:           { v5: 0x89, v3: 3,    retry: true,  text: 'server busy' },
  banned:               { v5: 0x8a, v3: 5,    retry: false, text: 'banned' },
  serverShuttingDown:   { v5: 0x8b, v3: 3,    retry: true,  text: 'server shutting down' },
  badAuthMethod:        { v5: 0x8c, v3: 5,    retry: false, text: 'bad authentication method' },
  keepAliveTimeout:     { v5: 0x8d, v3: null, retry: true,  text: 'keep alive timeout' },
  sessionTakenOver:     { v5: 0x8e, v3: null, retry: false, text: 'session taken over' },
  topicFilterInvalid:   { v5: 0x8f, v3: null, retry: false, text: 'topic filter invalid' },
  topicNameInvalid:     { v5: 0x90, v3: null, retry: false, text: 'topic name invalid' },
  receiveMaximum:       { v5: 0x93, v3: null, retry: false, text: 'receive maximum exceeded' },
  topicAliasInvalid:    { v5: 0x94, v3: null, retry: false, text: 'topic alias invalid' },
  packetTooLarge:       { v5: 0x95, v3: null, retry: false, text: 'packet too large' },
  messageRateTooHigh:   { v5: 0x96, v3: null, retry: true,  text: 'message rate too high' },
  quotaExceeded:        { v5: 0x97, v3: 3,    retry: true,  text: 'quota exceeded' },
  administrativeAction: { v5: 0x98, v3: null, retry: true,  text: 'administrative action' },
  payloadFormatInvalid: { v5: 0x99, v3: null, retry: false, text: 'payload format invalid' },
  useAnotherServer:     { v5: 0x9c, v3: 3,    retry: true,  text: 'use another server' },
  serverMoved:          { v5: 0x9d, v3: 3,    retry: false, text: 'server moved' },
  connectionRate:       { v5: 0x9f, v3: 3,    retry: true,  text: 'connection rate exceeded' },
  storeFull:            { v5: 0x97, v3: 3,    retry: true,  text: 'store is full' },
  storeUnavailable:     { v5: 0x88, v3: 3,    retry: true,  text: 'store is unavailable' },
  invalidParameter:     { v5: 0x83, v3: null, retry: false, text: 'invalid parameter' },
  notFound:             { v5: 0x83, v3: null, retry: false, text: 'not found' },
  alreadyExists:        { v5: 0x83, v3: null, retry: false, text: 'exists already' },
  overCapacity:         { v5: 0x97, v3: null, retry: false, text: 'capacity reached' },
  instanceUnknown:      { v5: 0x87, v3: 5,    retry: false, text: 'instance does not exist' },
  instanceMismatch:     { v5: 0x87, v3: 5,    retry: false, text: 'endpoint of another instance' },
  groupUnknown:         { v5: 0x85, v3: 2,    retry: false, text: 'group does not exist' },
  userNameMalformed:    { v5: 0x86, v3: 4,    retry: false, text: 'user name not well formed' },
  passwordMalformed:    { v5: 0x86, v3: 4,    retry: false, text: 'password not well formed' },
  badSignature:         { v5: 0x86, v3: 4,    retry: false, text: 'signature does not match' },
  signatureExpired:     { v5: 0x87, v3: 5,    retry: false, text: 'signature is too old' },
  accessKeyInactive:    { v5: 0x87, v3: 5,    retry: false, text: 'access key is not active' },
  tokenForged:          { v5: 0x86, v3: 4,    retry: false, text: 'token is not one of ours' },
  tokenExpired:         { v5: 0x87, v3: 5,    retry: false, text: 'token expired' },
  tokenRevoked:         { v5: 0x87, v3: 5,    retry: false, text: 'token revoked' },
  tokenMismatch:        { v5: 0x87, v3: 5,    retry: false, text: 'token is not for this client' },
  credentialRevoked:    { v5: 0x87, v3: 5,    retry: false, text: 'credential was withdrawn' },
  clientBlacklisted:    { v5: 0x8a, v3: 5,    retry: false, text: 'client is on the blacklist' },
  addressDenied:        { v5: 0x8a, v3: 5,    retry: false, text: 'address is not permitted' },
  certificateMissing:   { v5: 0x87, v3: 5,    retry: false, text: 'a certificate is required' },
  certificateUnknown:   { v5: 0x87, v3: 5,    retry: false, text: 'certificate of no known CA' },
  certificateInactive:  { v5: 0x87, v3: 5,    retry: false, text: 'certificate is not active' },
  certificateExpired:   { v5: 0x87, v3: 5,    retry: false, text: 'certificate is not valid now' },
  certificateMismatch:  { v5: 0x87, v3: 5,    retry: false, text: 'certificate of another client' },
  authServiceDenied:    { v5: 0x87, v3: 5,    retry: false, text: 'denied by the HTTP service' },
  authServiceDown:      { v5: 0x88, v3: 3,    retry: true,  text: 'HTTP service unavailable' },
  jwtInvalid:           { v5: 0x86, v3: 4,    retry: false, text: 'JWT is not valid' },
  jwtExpired:           { v5: 0x87, v3: 5,    retry: false, text: 'JWT expired' },
  permissionWithdrawn:  { v5: 0x87, v3: null, retry: false, text: 'permission was withdrawn' },
  topicUnknown:         { v5: 0x90, v3: null, retry: false, text: 'parent topic does not exist' },
  messageTooLarge:      { v5: 0x95, v3: null, retry: false, text: 'payload too large' },
};

export interface FaultRow {
  readonly v5: number;
  readonly v3: number | null;
  readonly retry: boolean;
  readonly text: string;
}

export type FaultCode =
  | 'unspecified'
  | 'malformedPacket'
  | 'protocolError'
  | 'unsupportedVersion'
  | 'clientIdNotValid'
  | 'badUserOrPassword'
  | 'notAuthorized'
  | 'serverUnavailable'
  | 'serverBusy'
  | 'banned'
  | 'serverShuttingDown'
  | 'badAuthMethod'
  | 'keepAliveTimeout'
  | 'sessionTakenOver'
  | 'topicFilterInvalid'
  | 'topicNameInvalid'
  | 'receiveMaximum'
  | 'topicAliasInvalid'
  | 'packetTooLarge'
  | 'messageRateTooHigh'
  | 'quotaExceeded'
  | 'administrativeAction'
  | 'payloadFormatInvalid'
  | 'useAnotherServer'
  | 'serverMoved'
  | 'connectionRate'
  | 'storeFull'
  | 'storeUnavailable'
  | 'invalidParameter'
  | 'notFound'
  | 'alreadyExists'
  | 'overCapacity'
  | 'instanceUnknown'
  | 'instanceMismatch'
  | 'groupUnknown'
  | 'userNameMalformed'
  | 'passwordMalformed'
  | 'badSignature'
  | 'signatureExpired'
  | 'accessKeyInactive'
  | 'tokenForged'
  | 'tokenExpired'
  | 'tokenRevoked'
  | 'tokenMismatch'
  | 'credentialRevoked'
  | 'clientBlacklisted'
  | 'addressDenied'
  | 'certificateMissing'
  | 'certificateUnknown'
  | 'certificateInactive'
  | 'certificateExpired'
  | 'certificateMismatch'
  | 'authServiceDenied'
  | 'authServiceDown'
  | 'jwtInvalid'
  | 'jwtExpired'
  | 'permissionWithdrawn'
  | 'topicUnknown'
  | 'messageTooLarge';

/** What callers are expected to meet. Bugs are not faults; they are assertions. */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: FaultCode;

  constructor(code: FaultCode, detail?: string, options?: ErrorOptions) {
    super(detail ?? FAULTS[code].text, options);
    this.code = code;
  }

  /** The MQTT 5.0 reason code. */
  get reason(): number {
    return FAULTS[this.code].v5;
  }

  get retryable(): boolean {
    return FAULTS[this.code].retry;
  }

  static is(error: unknown, code: FaultCode): error is Fault {
    return error instanceof Fault && error.code === code;
  }
}
