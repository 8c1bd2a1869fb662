/**
 * Server certificates of instances, chosen by the name a client asks for in its TLS handshake.
 *
 * A name belongs to the instance that set it first, whichever listener it arrives at. Private
 * keys are stored sealed and opened when their name is first asked for.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { type Clock, Fault, type Log } from '#base';
import type { RowChange, Store, Table } from '#ports';
import { decodeRow, encodeRow } from './certificate-store.ts';
import type { SecretBox } from '../secret-box.ts';

const CERTIFICATES_MAX = 100;
const NAMES_MAX = 100;
const CHARS_MAX = 64 * 1_024;
const RSA_BITS_MIN = 2_048;
const ID = /^[A-Za-z0-9_-]{1,64}$/;
const DOMAIN = /^(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/;

export interface ServerCertificateUpload {
  readonly instanceId: string;
  /** `[A-Za-z0-9_-]{1,64}`; one that is there is replaced. */
  readonly id: string;
  /** The certificate and any intermediate ones, PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Of the key, where it is encrypted. */
  readonly keyPassword?: string | undefined;
}

export interface ServerCertificateRecord {
  readonly id: string;
  readonly subject: string;
  readonly alternativeNames: string;
  readonly validFromMs: number;
  readonly validToMs: number;
  readonly createdMs: number;
}

export interface ServerNames {
  /** For names of the instance that have none of their own: `<instance id>.anything`. */
  readonly defaultId: string;
  readonly names: readonly { readonly domain: string; readonly id: string }[];
}

/** Refuses with the Faults `invalidParameter`, `notFound`, `alreadyExists`, `overCapacity`. */
export interface ServerCertificates {
  upload(upload: ServerCertificateUpload): Promise<void>;
  list(instanceId: string): readonly ServerCertificateRecord[];
  /** One that names point to stays. */
  remove(instanceId: string, id: string): Promise<void>;
  setNames(instanceId: string, names: ServerNames): Promise<void>;
  names(instanceId: string): ServerNames | undefined;
  /** PEM; the same object until something changes. `undefined`: the listener's own. */
  find(serverName: string): { readonly certificate: string; readonly key: string } | undefined;
  /** Whose name that is; only of names that were set. */
  instanceOf(serverName: string): string | undefined;
  close(): void;
}

interface CertificateRow extends Omit<ServerCertificateRecord, 'id'> {
  readonly certificate: string;
  /** Base64 of what the secret box made of the PEM. */
  readonly sealedKey: string;
}

interface NamesRow extends ServerNames {
  readonly updatedMs: number;
}

interface Material {
  readonly certificate: string;
  readonly key: string;
}

interface Held {
  readonly row: CertificateRow;
  /** `null`: not usable; `undefined`: not opened yet. */
  material: Material | null | undefined;
}

interface Target {
  readonly instanceId: string;
  readonly id: string;
}

export async function openServerCertificates(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly secretBox: SecretBox;
}): Promise<ServerCertificates> {
  const register = new ServerCertificateRegister(options);
  await register.open();
  return register;
}

class ServerCertificateRegister implements ServerCertificates {
  readonly #table: Table;
  readonly #namesTable: Table;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #box: SecretBox;
  readonly #held = new Map<string, Held>();
  readonly #settings = new Map<string, NamesRow>();
  #byName: ReadonlyMap<string, Target> = new Map();
  #byLabel: ReadonlyMap<string, Target> = new Map();
  #stops: readonly (() => void)[] = [];

  constructor(options: {
    readonly store: Store;
    readonly clock: Clock;
    readonly log: Log;
    readonly secretBox: SecretBox;
  }) {
    this.#table = options.store.table('server-certificates');
    this.#namesTable = options.store.table('server-names');
    this.#clock = options.clock;
    this.#log = options.log;
    this.#box = options.secretBox;
  }

  async open(): Promise<void> {
    this.#stops = [
      await follow(this.#table, ({ key, value }) => {
        if (value === undefined) this.#held.delete(key);
        else this.#held.set(key, { row: decodeRow(value), material: undefined });
      }),
      await follow(this.#namesTable, ({ key, value }) => {
        const instanceId = key.slice(0, key.indexOf('/'));
        if (value === undefined) this.#settings.delete(instanceId);
        else this.#settings.set(instanceId, decodeRow(value));
        this.#index();
      }),
    ];
  }

  async upload(upload: ServerCertificateUpload): Promise<void> {
    const { instanceId, id } = upload;
    if (!ID.test(id)) throw refusal('a certificate id has 1 to 64 of A-Z, a-z, 0-9, _ and -');
    const key = `${instanceId}/${id}`;
    const { chain, first } = readChain(upload.certificate);
    const privateKey = readKey(upload);
    if (!first.checkPrivateKey(privateKey)) {
      throw refusal('the private key does not belong to the certificate');
    }
    if (first.validToDate.getTime() <= this.#clock.nowMs()) {
      throw refusal('the certificate has expired');
    }
    if (!this.#held.has(key) && this.list(instanceId).length >= CERTIFICATES_MAX) {
      throw new Fault('overCapacity', `an instance has at most ${CERTIFICATES_MAX} of these`);
    }
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const row: CertificateRow = {
      subject: first.subject,
      alternativeNames: first.subjectAltName ?? '',
      validFromMs: first.validFromDate.getTime(),
      validToMs: first.validToDate.getTime(),
      createdMs: this.#clock.nowMs(),
      certificate: chain,
      sealedKey: Buffer.from(this.#box.seal(pem)).toString('base64'),
    };
    await this.#table.put(key, encodeRow(row));
  }

  list(instanceId: string): readonly ServerCertificateRecord[] {
    const records: ServerCertificateRecord[] = [];
    for (const [key, { row }] of this.#held) {
      if (!key.startsWith(`${instanceId}/`)) continue;
      const { subject, alternativeNames, validFromMs, validToMs, createdMs } = row;
      const id = key.slice(instanceId.length + 1);
      records.push({ id, subject, alternativeNames, validFromMs, validToMs, createdMs });
    }
    return records.sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async remove(instanceId: string, id: string): Promise<void> {
    const settings = this.#settings.get(instanceId);
    if (settings?.defaultId === id || settings?.names.some((name) => name.id === id) === true) {
      throw refusal('names point to this certificate: set them to another first');
    }
    if (!ID.test(id) || !(await this.#table.remove(`${instanceId}/${id}`))) throw unknown(id);
  }

  async setNames(instanceId: string, { defaultId, names }: ServerNames): Promise<void> {
    if (names.length > NAMES_MAX) {
      throw new Fault('overCapacity', `an instance has at most ${NAMES_MAX} names`);
    }
    if (!this.#held.has(`${instanceId}/${defaultId}`)) throw unknown(defaultId);
    const lower = names.map(({ domain, id }) => ({ domain: domain.toLowerCase(), id }));
    if (new Set(lower.map(({ domain }) => domain)).size !== lower.length) {
      throw refusal('a name stands there twice');
    }
    for (const { domain, id } of lower) {
      if (domain.length > 253 || !DOMAIN.test(domain)) throw refusal(`'${domain}' is no host name`);
      const held = this.#held.get(`${instanceId}/${id}`);
      if (held === undefined) throw unknown(id);
      const example = domain.replace('*', 'any');
      if (new X509Certificate(held.row.certificate).checkHost(example) === undefined) {
        throw refusal(`certificate ${id} is not for ${domain}`);
      }
      const owner = this.#byName.get(domain)?.instanceId ?? instanceId;
      if (owner !== instanceId)
        throw new Fault('alreadyExists', `${domain} is of another instance`);
    }
    const row: NamesRow = { defaultId, names: lower, updatedMs: this.#clock.nowMs() };
    await this.#namesTable.put(`${instanceId}/names`, encodeRow(row));
  }

  names(instanceId: string): ServerNames | undefined {
    const settings = this.#settings.get(instanceId);
    return settings && { defaultId: settings.defaultId, names: settings.names };
  }

  find(serverName: string): Material | undefined {
    if (this.#settings.size === 0) return undefined;
    const name = serverName.toLowerCase();
    const label = name.split('.', 1)[0] as string;
    const target = this.#byNameOrWildcard(name) ?? this.#byLabel.get(label);
    if (target === undefined) return undefined;
    const held = this.#held.get(`${target.instanceId}/${target.id}`);
    if (held === undefined) return undefined;
    held.material ??= this.#material(target, held.row);
    return held.material ?? undefined;
  }

  instanceOf(serverName: string): string | undefined {
    return this.#byNameOrWildcard(serverName.toLowerCase())?.instanceId;
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #byNameOrWildcard(name: string): Target | undefined {
    const exact = this.#byName.get(name);
    if (exact !== undefined) return exact;
    const dot = name.indexOf('.');
    return dot < 0 ? undefined : this.#byName.get(`*${name.slice(dot)}`);
  }

  #material({ instanceId, id }: Target, row: CertificateRow): Material | null {
    try {
      const key = this.#box.open(Buffer.from(row.sealedKey, 'base64'));
      return { certificate: row.certificate, key };
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#log.error('the private key of a server certificate cannot be opened', {
        instance: instanceId,
        certificate: id,
        error: error.message,
      });
      return null;
    }
  }

  /** Two nodes may have let in one name at the same moment: the earlier setting stands. */
  #index(): void {
    const byName = new Map<string, Target>();
    const byLabel = new Map<string, Target>();
    const all = [...this.#settings].sort(
      ([idA, a], [idB, b]) => a.updatedMs - b.updatedMs || (idA < idB ? -1 : 1),
    );
    for (const [instanceId, { defaultId, names }] of all) {
      byLabel.set(instanceId.toLowerCase(), { instanceId, id: defaultId });
      for (const { domain, id } of names) {
        if (!byName.has(domain)) byName.set(domain, { instanceId, id });
      }
    }
    this.#byName = byName;
    this.#byLabel = byLabel;
  }
}

/** Tells every row of the table, then its changes. */
async function follow(table: Table, tell: (change: RowChange) => void): Promise<() => void> {
  const changed = new Set<string>();
  const stop = table.watch('', (change) => {
    changed.add(change.key);
    tell(change);
  });
  for await (const rows of table.scan('')) {
    for (const row of rows) if (!changed.has(row.key)) tell(row);
  }
  return stop;
}

function refusal(why: string): Fault {
  return new Fault('invalidParameter', why);
}

function unknown(id: string): Fault {
  return new Fault('notFound', `there is no server certificate '${id}'`);
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Certificates only: a key that somebody left in the same file is not kept. */
function readChain(text: string): { readonly chain: string; readonly first: X509Certificate } {
  if (text.length > CHARS_MAX) throw refusal('the certificate is too long');
  const parts = text.match(PEM_CERTIFICATE) ?? [];
  try {
    const certificates = parts.map((part) => new X509Certificate(part));
    const [first] = certificates;
    if (first === undefined) throw refusal('the certificate is not PEM');
    return { chain: certificates.map(String).join(''), first };
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    throw refusal('the certificate is not PEM');
  }
}

function readKey({ key, keyPassword }: ServerCertificateUpload): KeyObject {
  if (key.length > CHARS_MAX) throw refusal('the private key is too long');
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({
      key,
      ...(keyPassword !== undefined && { passphrase: keyPassword }),
    });
  } catch {
    // Without a cause: what the parser says may quote what it read.
    throw refusal('the private key is not PEM, or its password is missing or wrong');
  }
  const bits = privateKey.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < RSA_BITS_MIN) {
    throw refusal(`an RSA key has at least ${RSA_BITS_MIN} bits`);
  }
  return privateKey;
}
