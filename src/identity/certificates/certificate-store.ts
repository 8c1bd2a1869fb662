/**
 * Rows of certificates, and what of them is in memory.
 *
 * Authorities are few and asked for on every connect, so all are held. Devices are many: of them
 * only the states asked for last. Both follow their table, so what another node writes counts too.
 */
import type { KeyObject, X509Certificate } from 'node:crypto';
import type { RowChange, Store, Table } from '#ports';
import { fingerprintOf, parseCertificate } from './certificate-facts.ts';
import { RecentMap } from '../recent-map.ts';

/** A registered authority as it is stored; certificates in PEM. */
export interface AuthorityRow {
  readonly name: string;
  readonly content: string;
  readonly verification: string;
  readonly registrationCode: string;
  readonly active: boolean;
  readonly validFromMs: number;
  readonly validToMs: number;
  readonly createdMs: number;
}

/** A registered authority, ready to verify. */
export interface Authority extends AuthorityRow {
  readonly instanceId: string;
  readonly serial: string;
  readonly certificate: X509Certificate;
  readonly publicKey: KeyObject;
  readonly fingerprint: string;
  readonly version: number;
}

/** A device certificate as it is stored. */
export interface DeviceRow {
  readonly name: string;
  readonly content: string;
  readonly active: boolean;
  readonly validFromMs: number;
  readonly validToMs: number;
  readonly createdMs: number;
}

export interface DeviceKey {
  readonly instanceId: string;
  readonly authoritySerial: string;
  readonly serial: string;
}

export type DeviceState = 'active' | 'inactive' | 'absent';

const NO_AUTHORITIES: ReadonlyMap<string, Authority> = new Map();

/** All authorities of all instances. */
export class Authorities {
  readonly table: Table;
  readonly #byInstance = new Map<string, Map<string, Authority>>();
  readonly #bySubject = new Map<string, Set<Authority>>();
  readonly #versions = new Map<string, number>();
  readonly #ended: (authority: Authority) => void;

  /** `ended` hears of an authority that was removed or is no longer active. */
  constructor(store: Store, ended: (authority: Authority) => void) {
    this.table = store.table('certificate-authorities');
    this.#ended = ended;
  }

  /** Reads all rows and follows them from then on. */
  async open(): Promise<() => void> {
    const changed = new Set<string>();
    const stop = this.table.watch('', (change) => {
      changed.add(change.key);
      this.#apply(change);
    });
    for await (const rows of this.table.scan('')) {
      for (const row of rows) if (!changed.has(row.key)) this.#apply(row);
    }
    return stop;
  }

  /** Grows when an authority of the instance comes or goes, not with its state. */
  version(instanceId: string): number {
    return this.#versions.get(instanceId) ?? 0;
  }

  of(instanceId: string): ReadonlyMap<string, Authority> {
    return this.#byInstance.get(instanceId) ?? NO_AUTHORITIES;
  }

  /** Those that bear the name of the certificate's issuer, of whatever instance. */
  issuersOf(certificate: X509Certificate): Iterable<Authority> {
    return this.#bySubject.get(certificate.issuer) ?? [];
  }

  #apply(change: RowChange): void {
    const [instanceId = '', serial = ''] = change.key.split('/');
    const present = this.#byInstance.get(instanceId)?.get(serial);
    const next = change.value === undefined ? undefined : authorityOf(change.key, change, present);
    if (present !== undefined) this.#drop(present);
    if (next !== undefined) this.#add(next);
    if (present?.fingerprint !== next?.fingerprint) {
      this.#versions.set(instanceId, this.version(instanceId) + 1);
    }
    if (present === undefined) return;
    if (next?.active !== true || next.fingerprint !== present.fingerprint) this.#ended(present);
  }

  #add(authority: Authority): void {
    const { instanceId, serial, certificate } = authority;
    const own = this.#byInstance.get(instanceId) ?? new Map<string, Authority>();
    this.#byInstance.set(instanceId, own.set(serial, authority));
    const namesakes = this.#bySubject.get(certificate.subject) ?? new Set();
    this.#bySubject.set(certificate.subject, namesakes.add(authority));
  }

  #drop(authority: Authority): void {
    const { instanceId, serial, certificate } = authority;
    const own = this.#byInstance.get(instanceId);
    own?.delete(serial);
    if (own?.size === 0) this.#byInstance.delete(instanceId);
    const namesakes = this.#bySubject.get(certificate.subject);
    namesakes?.delete(authority);
    if (namesakes?.size === 0) this.#bySubject.delete(certificate.subject);
  }
}

function authorityOf(
  key: string,
  change: RowChange,
  present: Authority | undefined,
): Authority | undefined {
  const row = decodeRow<AuthorityRow>(change.value as Uint8Array);
  const [instanceId = '', serial = ''] = key.split('/');
  const same = present?.content === row.content ? present : undefined;
  const certificate = same?.certificate ?? parseCertificate(row.content);
  if (certificate === undefined) return undefined;
  return {
    ...row,
    instanceId,
    serial,
    certificate,
    publicKey: same?.publicKey ?? certificate.publicKey,
    fingerprint: same?.fingerprint ?? fingerprintOf(certificate.raw),
    version: change.version,
  };
}

const STATES_MAX = 20_000;

interface KnownState {
  readonly state: DeviceState;
  readonly version: number;
}

/** The states of the device certificates seen last. */
export class DeviceStates {
  readonly table: Table;
  readonly #known = new RecentMap<KnownState>(STATES_MAX);
  readonly #ended: (key: DeviceKey) => void;

  /** `ended` hears of a certificate that was removed or is no longer active. */
  constructor(store: Store, ended: (key: DeviceKey) => void) {
    this.table = store.table('device-certificates');
    this.#ended = ended;
  }

  /** Follows the table. Returns the way to stop. */
  open(): () => void {
    return this.table.watch('', (change) => {
      const state = stateOf(change.value);
      this.#learn(change.key, state, change.version);
      if (state === 'active') return;
      const [instanceId = '', authoritySerial = '', serial = ''] = change.key.split('/');
      this.#ended({ instanceId, authoritySerial, serial });
    });
  }

  /** At once where it is known, which it is for whoever connected lately. */
  state(key: DeviceKey): DeviceState | Promise<DeviceState> {
    return this.known(key) ?? this.#look(deviceKeyText(key));
  }

  known(key: DeviceKey): DeviceState | undefined {
    return this.#known.get(deviceKeyText(key))?.state;
  }

  async #look(key: string): Promise<DeviceState> {
    const row = await this.table.get(key);
    const state = stateOf(row?.value);
    this.#learn(key, state, row?.version ?? 0);
    return this.#known.get(key)?.state ?? state;
  }

  /** A look-up that was overtaken by a change knows less than the change. */
  #learn(key: string, state: DeviceState, version: number): void {
    const known = this.#known.get(key);
    if (known === undefined || known.version <= version) this.#known.set(key, { state, version });
  }
}

function stateOf(value: Uint8Array | undefined): DeviceState {
  if (value === undefined) return 'absent';
  return decodeRow<DeviceRow>(value).active ? 'active' : 'inactive';
}

export function deviceKeyText(key: DeviceKey): string {
  return `${key.instanceId}/${key.authoritySerial}/${key.serial}`;
}

export function encodeRow(row: object): Uint8Array {
  return Buffer.from(JSON.stringify(row));
}

export function decodeRow<Row>(value: Uint8Array): Row {
  const row: Row = JSON.parse(Buffer.from(value).toString());
  return row;
}

/** Changes a row that may be written by others as well; false where it is not there. */
export async function changeRow<Row extends object>(
  table: Table,
  key: string,
  change: (row: Row) => Row,
): Promise<boolean> {
  for (;;) {
    const row = await table.get(key);
    if (row === undefined) return false;
    const next = encodeRow(change(decodeRow<Row>(row.value)));
    if ((await table.put(key, next, row.version)) !== undefined) return true;
  }
}

/** Removes every row whose key starts so. */
export async function removeRows(table: Table, prefix: string): Promise<void> {
  const removals: Promise<boolean>[] = [];
  for await (const rows of table.scan(prefix)) {
    for (const row of rows) removals.push(table.remove(row.key));
    if (removals.length >= 1_000) await Promise.all(removals.splice(0));
  }
  await Promise.all(removals);
}

export interface KeyPage {
  readonly total: number;
  readonly keys: readonly string[];
}

/** A page of keys in their order; a scan has none, so the first ones are kept while it lasts. */
export async function pageOfKeys(
  table: Table,
  prefix: string,
  page: { readonly from: number; readonly count: number },
): Promise<KeyPage> {
  const wanted = page.from + page.count;
  let total = 0;
  let first: string[] = [];
  for await (const rows of table.scan(prefix)) {
    total += rows.length;
    for (const row of rows) first.push(row.key);
    if (first.length > wanted * 2 + 1_000) first = first.sort().slice(0, wanted);
  }
  return { total, keys: first.sort().slice(page.from, wanted) };
}
