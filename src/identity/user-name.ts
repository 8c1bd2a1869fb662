/**
 * User names of the form `Mode|AccessKeyId|InstanceId`: they say how the caller proves itself, by
 * which key, and which instance it wants.
 */

export type UserNameMode = 'Signature' | 'SignatureV2' | 'Token' | 'DeviceCredential';

export interface ParsedUserName {
  readonly mode: UserNameMode;
  readonly keyId: string;
  readonly instanceId: string;
  /** Behind a fourth bar: the time of `SignatureV2`, which must have one. Others have none. */
  readonly rest: string | undefined;
}

const FORM = /^(Signature|Token|DeviceCredential)\|([A-Za-z0-9._-]{1,128})\|([A-Za-z0-9_-]{1,64})$/;
const TIMED_FORM = /^SignatureV2\|([A-Za-z0-9._-]{1,128})\|([A-Za-z0-9_-]{1,64})\|([0-9]{1,16})$/;
/** The longest that fits a form, and some. */
const CHARS_MAX = 256;

/** `undefined`: of no such form, or of a mode that is not known; case counts. */
export function parseUserName(userName: string): ParsedUserName | undefined {
  if (userName.length > CHARS_MAX) return undefined;
  const match = FORM.exec(userName);
  if (match !== null) {
    const mode = match[1] as UserNameMode; // the pattern has no others
    return { mode, keyId: match[2]!, instanceId: match[3]!, rest: undefined };
  }
  const timed = TIMED_FORM.exec(userName);
  if (timed === null) return undefined;
  return { mode: 'SignatureV2', keyId: timed[1]!, instanceId: timed[2]!, rest: timed[3]! };
}
