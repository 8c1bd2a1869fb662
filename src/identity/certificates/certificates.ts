/**
 * Certificates of devices: which authorities an instance trusts, which devices came with one.
 *
 * Whoever registers an authority proves to have its key: it signs a certificate that carries a
 * code of ours. Devices are not registered by hand; the first connection does it.
 */
import { X509Certificate } from 'node:crypto';
import type { Clock, Log, Random } from '#base';
import type { Instance } from '#instances';
import type { Store } from '#ports';
import type {
  AuthenticationWay,
  Caller,
  ConnectRequest,
  LiveClient,
  Refusal,
} from '../authenticator.ts';
import {
  type AuthorityRegistration,
  type AuthorityVerdict,
  createRegistration,
} from './authority-registration.ts';
import {
  CertificateCheck,
  type CertificateIdentity,
  type CertificateSettings,
} from './certificate-check.ts';
import { serialOf } from './certificate-facts.ts';
import {
  Authorities,
  type AuthorityRow,
  changeRow,
  type DeviceKey,
  type DeviceRow,
  DeviceStates,
  decodeRow,
  deviceKeyText,
  encodeRow,
  pageOfKeys,
  removeRows,
} from './certificate-store.ts';
import { LiveCertificates } from './live-certificates.ts';
import type { SecretBox } from '../secret-box.ts';
import { openServerCertificates, type ServerCertificates } from './server-certificates.ts';

/** Their keys begin with the id of the instance: its rows go when it goes. */
export const CERTIFICATE_TABLES: readonly string[] = [
  'certificate-authorities',
  'device-certificates',
  'registration-codes',
  'server-certificates',
  'server-names',
];

export interface AuthorityRecord extends AuthorityRow {
  readonly serial: string;
}

export interface DeviceRecord extends DeviceRow {
  readonly authoritySerial: string;
  readonly serial: string;
}

export interface CertificatePage {
  /** Rows in all. */
  readonly total: number;
  readonly rows: readonly DeviceRecord[];
}

/** Serial numbers are taken in either case and told in upper case. */
export interface Certificates {
  /** A UUID and ten digits; good for one registration, within a day. */
  createRegistrationCode(instanceId: string): Promise<string>;
  registerAuthority(registration: AuthorityRegistration): Promise<AuthorityVerdict>;
  authority(instanceId: string, serial: string): AuthorityRecord | undefined;
  /** In the order of their registration. */
  authorities(instanceId: string): readonly AuthorityRecord[];
  /** These four: false where there is none such. */
  setAuthorityActive(instanceId: string, serial: string, active: boolean): Promise<boolean>;
  /** With all its device certificates. */
  removeAuthority(instanceId: string, serial: string): Promise<boolean>;
  setDeviceActive(key: DeviceKey, active: boolean): Promise<boolean>;
  removeDevice(key: DeviceKey): Promise<boolean>;
  device(key: DeviceKey): Promise<DeviceRecord | undefined>;
  /** All of the instance, or those of one authority. */
  devices(
    instanceId: string,
    authoritySerial: string | undefined,
    page: { readonly from: number; readonly count: number },
  ): Promise<CertificatePage>;
  /** Certificates of servers, which the same owners upload. */
  readonly servers: ServerCertificates;

  settings(instance: Instance): CertificateSettings;
  /** Before every way of authentication. `undefined`: no certificate, and none is needed. */
  guard(
    request: ConnectRequest,
  ): Refusal | CertificateIdentity | undefined | Promise<Refusal | CertificateIdentity>;
  /**
   * Once the connection was accepted: registers the device, and disconnects the client when its
   * certificate or authority stops being active, which may be now. Returns what ends the watch.
   */
  watch(identity: CertificateIdentity, client: LiveClient): () => void;
  /** It names an authority of some instance as its issuer: CONNECT will see whether rightly. */
  mayBeRegistered(certificate: X509Certificate): boolean;
  close(): void;
}

/** Reads the registered authorities and follows all changes until `close`. */
export async function openCertificates(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** For the private keys of servers. */
  readonly secretBox: SecretBox;
}): Promise<Certificates> {
  const { store, clock, log } = options;
  const live = new LiveCertificates();
  const authorities = new Authorities(store, (authority) => live.endAuthority(authority));
  const devices = new DeviceStates(store, (key) => live.endDevice(key));
  const stops = [await authorities.open(), devices.open()];
  const servers = await openServerCertificates(options);
  const check = new CertificateCheck({ authorities, devices, clock, log });
  const registration = createRegistration({ ...options, authorities, devices });
  return {
    createRegistrationCode: registration.createRegistrationCode,
    registerAuthority: registration.registerAuthority,
    ...createAuthorityList(authorities, devices),
    servers,
    ...createDeviceList(devices),
    settings: (instance) => check.settings(instance),
    guard: (request) => check.judge(request),
    watch: createWatch({ authorities, devices, live, clock, log }),
    mayBeRegistered(certificate) {
      for (const authority of authorities.issuersOf(certificate)) {
        if (certificate.checkIssued(authority.certificate)) return true;
      }
      return false;
    },
    close: () => {
      for (const stop of stops) stop();
      servers.close();
    },
  };
}

function createAuthorityList(
  authorities: Authorities,
  devices: DeviceStates,
): Pick<Certificates, 'authority' | 'authorities' | 'setAuthorityActive' | 'removeAuthority'> {
  return {
    authority: (instanceId, text) => authorities.of(instanceId).get(serialOf(text) ?? ''),
    authorities: (instanceId) =>
      [...authorities.of(instanceId).values()].sort(
        (a, b) => a.createdMs - b.createdMs || (a.serial < b.serial ? -1 : 1),
      ),
    async setAuthorityActive(instanceId, text, active) {
      const serial = serialOf(text);
      if (serial === undefined) return false;
      const key = `${instanceId}/${serial}`;
      return await changeRow<AuthorityRow>(authorities.table, key, (row) => ({ ...row, active }));
    },
    async removeAuthority(instanceId, text) {
      const serial = serialOf(text);
      if (serial === undefined) return false;
      const key = `${instanceId}/${serial}`;
      const removed = await authorities.table.remove(key);
      // Also where it was gone: an earlier removal may have been cut short.
      await removeRows(devices.table, `${key}/`);
      return removed;
    },
  };
}

function createDeviceList(
  devices: DeviceStates,
): Pick<Certificates, 'setDeviceActive' | 'removeDevice' | 'device' | 'devices'> {
  const { table } = devices;
  const read = async (key: string): Promise<DeviceRecord | undefined> => {
    const row = await table.get(key);
    if (row === undefined) return undefined;
    const [, authoritySerial = '', serial = ''] = key.split('/');
    return { ...decodeRow<DeviceRow>(row.value), authoritySerial, serial };
  };
  return {
    async setDeviceActive(key, active) {
      const text = checkedKey(key);
      if (text === undefined) return false;
      return await changeRow<DeviceRow>(table, text, (row) => ({ ...row, active }));
    },
    async removeDevice(key) {
      const text = checkedKey(key);
      return text === undefined ? false : await table.remove(text);
    },
    async device(key) {
      const text = checkedKey(key);
      return text === undefined ? undefined : await read(text);
    },
    async devices(instanceId, authoritySerial, page) {
      const serial = serialOf(authoritySerial ?? '0');
      if (serial === undefined) return { total: 0, rows: [] };
      const prefix = authoritySerial === undefined ? `${instanceId}/` : `${instanceId}/${serial}/`;
      const { total, keys } = await pageOfKeys(table, prefix, page);
      const rows = await Promise.all(keys.map(read));
      return { total, rows: rows.filter((row) => row !== undefined) };
    },
  };
}

function checkedKey(key: DeviceKey): string | undefined {
  const authoritySerial = serialOf(key.authoritySerial);
  const serial = serialOf(key.serial);
  if (authoritySerial === undefined || serial === undefined) return undefined;
  return deviceKeyText({ instanceId: key.instanceId, authoritySerial, serial });
}

function createWatch(options: {
  readonly authorities: Authorities;
  readonly devices: DeviceStates;
  readonly live: LiveCertificates;
  readonly clock: Clock;
  readonly log: Log;
}): Certificates['watch'] {
  const { authorities, devices, live, clock, log } = options;
  const stillTrusted = (key: DeviceKey): boolean =>
    authorities.of(key.instanceId).get(key.authoritySerial)?.active === true;

  /** True where the device may stay; a device that is new is stored. */
  const admit = async (key: DeviceKey, identity: CertificateIdentity): Promise<boolean> => {
    const state = await devices.state(key);
    if (state !== 'absent') return state === 'active';
    const row: DeviceRow = {
      name: identity.commonName ?? '',
      content: new X509Certificate(identity.content).toString(),
      active: true,
      validFromMs: identity.validFromMs,
      validToMs: identity.validToMs,
      createdMs: clock.nowMs(),
    };
    const text = deviceKeyText(key);
    const made = await devices.table.put(text, encodeRow(row), 'absent');
    if (made !== undefined) {
      // The authority's removal may have passed over this row before it was there.
      if (!authorities.of(key.instanceId).has(key.authoritySerial)) {
        await devices.table.remove(text);
        return false;
      }
      return true;
    }
    const present = await devices.table.get(text);
    return present === undefined || decodeRow<DeviceRow>(present.value).active;
  };

  return (identity, client) => {
    const { instanceId, authoritySerial, serial } = identity;
    if (authoritySerial === undefined) return () => {};
    const key: DeviceKey = { instanceId, authoritySerial, serial };
    // Since the guard was asked, time has passed.
    const state = devices.known(key);
    if (!stillTrusted(key) || state === 'inactive') {
      client.disconnect('certificateInactive');
      return () => {};
    }
    const stop = live.add(key, client);
    if (state !== 'active') {
      admit(key, identity).then(
        (admitted) => {
          if (!admitted) live.endDevice(key);
        },
        (error: unknown) =>
          log.warn('a device certificate was not registered', {
            instance: instanceId,
            serial,
            error: error instanceof Error ? error.message : String(error),
          }),
      );
    }
    return stop;
  };
}

/** A CONNECT without user name and password, where the instance takes the certificate for both. */
export function createCertificateWay(certificates: Certificates): AuthenticationWay {
  const caller = (request: ConnectRequest, identity: CertificateIdentity): Caller | undefined => {
    // What only the listener trusts says nothing of this instance.
    if (identity.authoritySerial === undefined) return undefined;
    return { instance: request.instance, userName: undefined, permissions: undefined };
  };
  return {
    authenticate(request) {
      if (request.userName !== undefined || request.password !== undefined) return undefined;
      if (request.certificate === undefined) return undefined;
      if (!certificates.settings(request.instance).passwordless) return undefined;
      const answer = certificates.guard(request);
      if (answer === undefined) return undefined;
      if (answer instanceof Promise) {
        return answer.then((found) => ('refused' in found ? found : caller(request, found)));
      }
      return 'refused' in answer ? answer : caller(request, answer);
    },
  };
}
