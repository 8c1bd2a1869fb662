/**
 * Judges the certificate of a CONNECT for the instance the client wants to enter.
 *
 * What a signature proves does not change while the instance's authorities stay the same, so it
 * is remembered by fingerprint: reconnecting costs a hash and a few look-ups. What may change
 * (states, dates, the client identifier) is asked every time.
 */
import { type Clock, Fault, type Log } from '#base';
import type { Instance } from '#instances';
import { SettingsReader } from '../auth-settings.ts';
import type { ConnectRequest, Refusal } from '../authenticator.ts';
import {
  type CertificateFacts,
  fingerprintOf,
  isIssuedBy,
  mayBeClient,
  parseCertificate,
  readFacts,
} from './certificate-facts.ts';
import type { Authorities, Authority, DeviceState, DeviceStates } from './certificate-store.ts';
import { RecentMap } from '../recent-map.ts';

/** `authentication.certificates` of an instance. */
export interface CertificateSettings {
  /** Nobody connects without a certificate that holds. */
  readonly required: boolean;
  /** The common name, or an alternative name, must be the client identifier or its DeviceID. */
  readonly bind: 'none' | 'cn' | 'san';
  /** A CONNECT without user name and password is admitted on its certificate alone. */
  readonly passwordless: boolean;
}

/** A certificate that holds. */
export interface CertificateIdentity extends CertificateFacts {
  readonly instanceId: string;
  /** `undefined`: the listener trusts it, the instance knows nothing of it. */
  readonly authoritySerial: string | undefined;
  /** The certificate in DER. */
  readonly content: Uint8Array;
}

interface Proof extends CertificateFacts {
  readonly authoritySerial: string | undefined;
  readonly mayBeClient: boolean;
  /** Of the instance's authorities, when this was found. */
  readonly authoritiesVersion: number;
}

const PROOFS_MAX = 20_000;
// Apart, so that a flood of worthless certificates does not push out the others.
const FOREIGN_PROOFS_MAX = 1_000;

const BINDINGS = ['none', 'cn', 'san'] as const;
const NO_SETTINGS: CertificateSettings = { required: false, bind: 'none', passwordless: false };
const STRICTEST: CertificateSettings = { required: true, bind: 'cn', passwordless: false };

const MISSING: Refusal = { refused: 'certificateMissing' };
const NOT_READABLE: Refusal = { refused: 'certificateUnknown', detail: 'not a certificate' };
const UNKNOWN: Refusal = { refused: 'certificateUnknown' };
const NO_CLIENT: Refusal = {
  refused: 'certificateUnknown',
  detail: 'the certificate is not for clients',
};
const AUTHORITY_INACTIVE: Refusal = {
  refused: 'certificateInactive',
  detail: 'the CA of the certificate is not active',
};
const DEVICE_INACTIVE: Refusal = { refused: 'certificateInactive' };
const AUTHORITY_EXPIRED: Refusal = {
  refused: 'certificateExpired',
  detail: 'the CA of the certificate is not valid now',
};
const EXPIRED: Refusal = { refused: 'certificateExpired' };
const MISMATCH: Refusal = { refused: 'certificateMismatch' };

/** Throws `invalidParameter`, saying what is wrong; what is left out takes its default. */
export function parseCertificateSettings(value: unknown): CertificateSettings {
  if (value === undefined) return NO_SETTINGS;
  const reader = new SettingsReader('certificates', value);
  const settings: CertificateSettings = {
    required: reader.flag('required', false),
    bind: reader.oneOf('bind', BINDINGS, 'none'),
    passwordless: reader.flag('passwordless', false),
  };
  reader.end();
  if (settings.passwordless && settings.bind === 'none') {
    const why = 'needs bind, or any device could take any client identifier';
    throw reader.bad('passwordless', why);
  }
  return settings;
}

export class CertificateCheck {
  readonly #authorities: Authorities;
  readonly #devices: DeviceStates;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #settings = new WeakMap<
    Instance,
    { readonly version: number; readonly settings: CertificateSettings }
  >();
  readonly #proofs = new RecentMap<Proof>(PROOFS_MAX);
  readonly #foreign = new RecentMap<Proof>(FOREIGN_PROOFS_MAX);

  constructor(options: {
    readonly authorities: Authorities;
    readonly devices: DeviceStates;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#authorities = options.authorities;
    this.#devices = options.devices;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Settings that do not hold are the strictest: a mistake opens no door. */
  settings(instance: Instance): CertificateSettings {
    const known = this.#settings.get(instance);
    if (known !== undefined && known.version === instance.version) return known.settings;
    let settings = STRICTEST;
    try {
      settings = parseCertificateSettings(instance.authentication['certificates']);
    } catch (error) {
      if (!Fault.is(error, 'invalidParameter')) throw error;
      this.#log.error('settings of certificates are not valid, the strictest apply', {
        instance: instance.id,
        error: error.message,
      });
    }
    this.#settings.set(instance, { version: instance.version, settings });
    return settings;
  }

  /** `undefined`: there is no certificate, and none is needed. */
  judge(
    request: ConnectRequest,
  ): Refusal | CertificateIdentity | undefined | Promise<Refusal | CertificateIdentity> {
    const { instance, certificate } = request;
    const settings = this.settings(instance);
    if (certificate === undefined) return settings.required ? MISSING : undefined;
    const proof = this.#prove(instance.id, certificate);
    if (proof === undefined) return NOT_READABLE;
    const refusal = this.#refusal(request, proof, settings);
    if (refusal !== undefined) return refusal;
    const identity = identityOf(instance.id, certificate, proof);
    const { authoritySerial } = proof;
    if (authoritySerial === undefined) return identity;
    const key = { instanceId: instance.id, authoritySerial, serial: proof.serial };
    const state = this.#devices.state(key);
    if (typeof state === 'string') return byState(state, identity);
    return state.then((found) => byState(found, identity));
  }

  /** What can be said without asking for the device's state. */
  #refusal(
    request: ConnectRequest,
    proof: Proof,
    settings: CertificateSettings,
  ): Refusal | undefined {
    if (proof.authoritySerial === undefined) {
      if (!request.certificateVerified) return UNKNOWN;
    } else {
      const authority = this.#authorities.of(request.instance.id).get(proof.authoritySerial);
      if (authority === undefined) return UNKNOWN;
      if (!authority.active) return AUTHORITY_INACTIVE;
      if (!this.#validNow(authority)) return AUTHORITY_EXPIRED;
    }
    if (!proof.mayBeClient) return NO_CLIENT;
    if (!this.#validNow(proof)) return EXPIRED;
    return isBound(request.clientId, proof, settings.bind) ? undefined : MISMATCH;
  }

  #validNow(dates: { readonly validFromMs: number; readonly validToMs: number }): boolean {
    const nowMs = this.#clock.nowMs();
    return dates.validFromMs <= nowMs && nowMs <= dates.validToMs;
  }

  #prove(instanceId: string, der: Uint8Array): Proof | undefined {
    const key = `${instanceId}/${fingerprintOf(der)}`;
    const authoritiesVersion = this.#authorities.version(instanceId);
    const known = this.#proofs.get(key) ?? this.#foreign.get(key);
    if (known?.authoritiesVersion === authoritiesVersion) return known;
    const certificate = parseCertificate(der);
    if (certificate === undefined) return undefined;
    let issuer: Authority | undefined;
    for (const authority of this.#authorities.issuersOf(certificate)) {
      if (authority.instanceId !== instanceId) continue;
      // An authority renewed with the same key has signed it too: the one that lasts counts.
      if (issuer !== undefined && issuer.validToMs >= authority.validToMs) continue;
      if (isIssuedBy(certificate, authority.certificate)) issuer = authority;
    }
    const proof: Proof = {
      ...readFacts(certificate),
      authoritySerial: issuer?.serial,
      mayBeClient: mayBeClient(certificate),
      authoritiesVersion,
    };
    (issuer === undefined ? this.#foreign : this.#proofs).set(key, proof);
    (issuer === undefined ? this.#proofs : this.#foreign).delete(key);
    return proof;
  }
}

function byState(state: DeviceState, identity: CertificateIdentity): Refusal | CertificateIdentity {
  return state === 'inactive' ? DEVICE_INACTIVE : identity;
}

function identityOf(instanceId: string, content: Uint8Array, proof: Proof): CertificateIdentity {
  return {
    instanceId,
    content,
    authoritySerial: proof.authoritySerial,
    serial: proof.serial,
    fingerprint: proof.fingerprint,
    commonName: proof.commonName,
    alternativeNames: proof.alternativeNames,
    validFromMs: proof.validFromMs,
    validToMs: proof.validToMs,
  };
}

/** `GroupID@@@DeviceID` may be named whole, or by the DeviceID that the maker knew. */
function isBound(
  clientId: string,
  facts: CertificateFacts,
  bind: CertificateSettings['bind'],
): boolean {
  if (bind === 'none') return true;
  const at = clientId.indexOf('@@@');
  const deviceId = at === -1 ? clientId : clientId.slice(at + 3);
  const names = bind === 'san' ? facts.alternativeNames : [facts.commonName];
  return names.some((name) => name === clientId || (deviceId !== '' && name === deviceId));
}
