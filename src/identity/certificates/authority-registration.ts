/**
 * How an authority becomes one of an instance: by a certificate signed with its key that carries,
 * as common name of its subject, a code we gave out.
 *
 * A code is good once, for its instance, for a day. It is spent only when everything else holds,
 * so a mistake can be mended with the same code.
 */
import type { X509Certificate } from 'node:crypto';
import { type Clock, Fault, type Random } from '#base';
import type { Store, Table } from '#ports';
import { commonNameOf, isIssuedBy, parseCertificate } from './certificate-facts.ts';
import {
  type Authorities,
  type AuthorityRow,
  type DeviceStates,
  decodeRow,
  encodeRow,
  removeRows,
} from './certificate-store.ts';

const CODE_MS = 24 * 60 * 60 * 1_000;
const CODES_MAX = 1_000;
const AUTHORITIES_MAX = 100;
const PEM_CHARS_MAX = 64 * 1_024;

export interface AuthorityRegistration {
  readonly instanceId: string;
  readonly name: string;
  /** The authority's certificate, PEM. */
  readonly content: string;
  /** The certificate that carries the code, PEM. */
  readonly verification: string;
}

export type RegistrationProblem =
  | 'codeUnknown'
  | 'codeUsed'
  | 'contentUnusable'
  | 'serialTaken'
  | 'countExceeded';

export type AuthorityVerdict =
  | { readonly serial: string }
  | { readonly problem: RegistrationProblem; readonly detail: string };

interface CodeRow {
  readonly createdMs: number;
  readonly usedMs?: number;
}

export interface Registration {
  createRegistrationCode(instanceId: string): Promise<string>;
  registerAuthority(registration: AuthorityRegistration): Promise<AuthorityVerdict>;
}

export function createRegistration(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly authorities: Authorities;
  readonly devices: DeviceStates;
}): Registration {
  const { store, clock, random, authorities, devices } = options;
  const codes = store.table('registration-codes');

  const register = async (registration: AuthorityRegistration): Promise<AuthorityVerdict> => {
    const { instanceId } = registration;
    const nowMs = clock.nowMs();
    const pair = readPair(registration, nowMs);
    if ('problem' in pair) return pair;
    const { authority, verification, code } = pair;
    const serial = authority.serialNumber;
    const own = authorities.of(instanceId);
    if (own.has(serial)) return problem('serialTaken', 'this serial number is registered already');
    if (own.size >= AUTHORITIES_MAX) {
      return problem('countExceeded', `an instance has at most ${AUTHORITIES_MAX} CA certificates`);
    }
    const spent = await spendCode(codes, `${instanceId}/${code}`, nowMs);
    if (spent !== undefined) return spent;
    const row: AuthorityRow = {
      name: registration.name,
      content: authority.toString(),
      verification: verification.toString(),
      registrationCode: code,
      active: true,
      validFromMs: authority.validFromDate.getTime(),
      validToMs: authority.validToDate.getTime(),
      createdMs: nowMs,
    };
    const key = `${instanceId}/${serial}`;
    // Left behind by a removal that was cut short; maybe of another authority's devices.
    await removeRows(devices.table, `${key}/`);
    const made = await authorities.table.put(key, encodeRow(row), 'absent');
    if (made === undefined) return problem('serialTaken', 'this serial number was just registered');
    return { serial };
  };

  return {
    registerAuthority: register,
    async createRegistrationCode(instanceId) {
      const nowMs = clock.nowMs();
      if ((await removeExpired(codes, instanceId, nowMs)) >= CODES_MAX) {
        throw new Fault('overCapacity', `${CODES_MAX} registration codes were made within a day`);
      }
      const code = createCode(random);
      const row: CodeRow = { createdMs: nowMs };
      await codes.put(`${instanceId}/${code}`, encodeRow(row), 'absent');
      return code;
    },
  };
}

function problem(
  what: RegistrationProblem,
  detail: string,
): AuthorityVerdict & { problem: string } {
  return { problem: what, detail };
}

interface Pair {
  readonly authority: X509Certificate;
  readonly verification: X509Certificate;
  readonly code: string;
}

/** Everything that the two certificates show by themselves. */
function readPair(
  registration: AuthorityRegistration,
  nowMs: number,
): Pair | (AuthorityVerdict & { readonly problem: string }) {
  const unusable = (detail: string): AuthorityVerdict & { problem: string } =>
    problem('contentUnusable', detail);
  const authority = readPem(registration.content);
  if (authority === undefined) return unusable('CaContent is not a certificate in PEM');
  const verification = readPem(registration.verification);
  if (verification === undefined) {
    return unusable('VerificationContent is not a certificate in PEM');
  }
  if (!authority.ca) return unusable('CaContent lacks basicConstraints CA:TRUE');
  if (authority.validFromDate.getTime() > nowMs || authority.validToDate.getTime() < nowMs) {
    return unusable('the CA certificate is not valid now');
  }
  if (!isIssuedBy(verification, authority)) {
    return unusable('the verification certificate is not signed by the CA');
  }
  const code = commonNameOf(verification);
  if (code === undefined || !/^[0-9a-f-]{36}[0-9]{10}$/.test(code)) {
    return problem('codeUnknown', 'its subject carries no registration code as common name');
  }
  return { authority, verification, code };
}

function readPem(text: string): X509Certificate | undefined {
  if (text.length > PEM_CHARS_MAX || !text.includes('-----BEGIN CERTIFICATE-----'))
    return undefined;
  return parseCertificate(text);
}

/** Of two registrations with one code, one wins. */
async function spendCode(
  codes: Table,
  key: string,
  nowMs: number,
): Promise<AuthorityVerdict | undefined> {
  const used = (): AuthorityVerdict => problem('codeUsed', 'the registration code was used before');
  const row = await codes.get(key);
  const code = row === undefined ? undefined : decodeRow<CodeRow>(row.value);
  if (row === undefined || code === undefined || code.createdMs + CODE_MS <= nowMs) {
    return problem('codeUnknown', 'the registration code is not of this instance, or too old');
  }
  if (code.usedMs !== undefined) return used();
  const spent = encodeRow({ ...code, usedMs: nowMs });
  return (await codes.put(key, spent, row.version)) === undefined ? used() : undefined;
}

/** Answers how many codes are left. */
async function removeExpired(codes: Table, instanceId: string, nowMs: number): Promise<number> {
  let count = 0;
  for await (const rows of codes.scan(`${instanceId}/`)) {
    for (const row of rows) {
      if (decodeRow<CodeRow>(row.value).createdMs + CODE_MS > nowMs) count++;
      else codes.write(row.key, undefined);
    }
  }
  return count;
}

/** A version 4 UUID, and ten digits directly after it. */
function createCode(random: Random): string {
  const bytes = Buffer.from(random.bytes(16));
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  const groups = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  const digits = String(Buffer.from(random.bytes(6)).readUIntBE(0, 6) % 10_000_000_000);
  return `${groups.join('-')}-${hex.slice(20)}${digits.padStart(10, '0')}`;
}
