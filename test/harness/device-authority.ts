/**
 * Authorities and certificates of devices for tests, of every kind that a customer may come with:
 * RSA or EC, wrong in one place or another. Made by `openssl`, gone when the test is.
 */
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Issued {
  readonly certificate: string;
  readonly key: string;
  readonly der: Uint8Array;
  readonly serial: string;
}

export interface DeviceAuthority {
  readonly certificate: string;
  readonly serial: string;
  issue(commonName: string, options?: IssueOptions): Issued;
}

export interface IssueOptions {
  /** As in a configuration of openssl: `subjectAltName=DNS:a`, `extendedKeyUsage=serverAuth`. */
  readonly extensions?: readonly string[];
  readonly days?: number;
  readonly serial?: number;
  /** Of the device's own key. */
  readonly algorithm?: 'ec' | 'rsa';
}

export interface AuthorityOptions {
  readonly name?: string;
  readonly algorithm?: 'ec' | 'rsa';
  readonly days?: number;
  readonly serial?: number;
  /** Without basicConstraints. */
  readonly plain?: boolean;
  /** Another certificate for the key of that authority. */
  readonly keyOf?: DeviceAuthority;
}

/** Where authorities are made. */
export interface Workshop {
  authority(options?: AuthorityOptions): DeviceAuthority;
}

const NEW_KEYS = {
  ec: '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes',
  rsa: '-newkey rsa:2048 -nodes',
} as const;

export function openWorkshop(scope: { after(cleanUp: () => void): void }): Workshop {
  const directory = mkdtempSync(join(tmpdir(), 'ternmq-devices-'));
  scope.after(() => rmSync(directory, { recursive: true, force: true }));
  /** `words` by their spaces, then the subject, which may have some itself. */
  const openssl = (words: string, commonName?: string): void => {
    const subject = commonName === undefined ? [] : ['-subj', `/CN=${commonName}`];
    const all = words.split(' ').filter((word) => word !== '');
    execFileSync('openssl', [...all, ...subject], { cwd: directory, stdio: 'pipe' });
  };
  const read = (file: string): string => readFileSync(join(directory, file), 'utf8');
  // The system's configuration would add extensions of its own.
  writeFileSync(join(directory, 'bare.cnf'), '[req]\ndistinguished_name=dn\n[dn]\n');
  const keyFiles = new Map<DeviceAuthority, string>();
  let count = 0;

  const issue = (
    authority: { readonly file: string; readonly keyFile: string },
    commonName: string,
    options: IssueOptions,
  ): Issued => {
    const file = `device-${++count}`;
    const { serial = 1_000 + count, days = 20 } = options;
    writeFileSync(join(directory, `${file}.ext`), (options.extensions ?? []).join('\n'));
    const request = `req -new -config bare.cnf ${NEW_KEYS[options.algorithm ?? 'ec']}`;
    openssl(`${request} -keyout ${file}.key -out ${file}.csr`, commonName);
    const signing = `-CA ${authority.file}.pem -CAkey ${authority.keyFile} -set_serial ${serial}`;
    const content = `-days ${days} -extfile ${file}.ext`;
    openssl(`x509 -req -in ${file}.csr ${signing} ${content} -out ${file}.pem`);
    const certificate = read(`${file}.pem`);
    const { raw, serialNumber } = new X509Certificate(certificate);
    return { certificate, key: read(`${file}.key`), der: raw, serial: serialNumber };
  };

  return {
    authority(options = {}) {
      const file = `authority-${++count}`;
      const newKey = NEW_KEYS[options.algorithm ?? 'ec'];
      const ownKey = options.keyOf && keyFiles.get(options.keyOf);
      const keyFile = ownKey ?? `${file}.key`;
      const key = ownKey === undefined ? `${newKey} -keyout ${keyFile}` : `-key ${ownKey}`;
      const plain = options.plain === true ? '' : '-addext basicConstraints=critical,CA:TRUE';
      const serial = options.serial === undefined ? '' : `-set_serial ${options.serial}`;
      const words = `${key} ${plain} ${serial} -days ${options.days ?? 30} -out ${file}.pem`;
      openssl(`req -x509 -config bare.cnf ${words}`, options.name ?? file);
      const certificate = read(`${file}.pem`);
      const authority: DeviceAuthority = {
        certificate,
        serial: new X509Certificate(certificate).serialNumber,
        issue: (commonName, wanted = {}) => issue({ file, keyFile }, commonName, wanted),
      };
      keyFiles.set(authority, keyFile);
      return authority;
    },
  };
}
