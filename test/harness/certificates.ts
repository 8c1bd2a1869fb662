/**
 * Certificates for tests, made anew by `openssl` in a directory that ends with the test.
 *
 * Node can read certificates and not make them, and ones kept in the tree would expire some day.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateAuthority {
  /** Where its files are; others may be put beside them. */
  readonly directory: string;
  readonly certificateFile: string;
  readonly certificate: string;
  /** Signs a certificate for `localhost` and 127.0.0.1, or for a client by that name. */
  issue(name: string, options?: { readonly days?: number }): CertificateFiles;
}

/** A new authority; its files are gone when the test (or suite) is. */
export function createAuthority(
  scope: { after(cleanUp: () => void): void },
  name = 'TernMQ test authority',
): CertificateAuthority {
  const directory = mkdtempSync(join(tmpdir(), 'ternmq-certificates-'));
  scope.after(() => rmSync(directory, { recursive: true, force: true }));
  const run = (words: string): void => {
    execFileSync('openssl', words.split(' '), { cwd: directory, stdio: 'pipe' });
  };
  const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';
  const subject = `/CN=${name.replaceAll(' ', '-')}`;
  run(`req -x509 ${newKey} -keyout ca.key -out ca.pem -days 30 -subj ${subject}`);
  writeFileSync(join(directory, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  let count = 0;
  return {
    directory,
    certificateFile: join(directory, 'ca.pem'),
    certificate: readFileSync(join(directory, 'ca.pem'), 'utf8'),
    issue: (subjectName, options = {}) => {
      const file = `issued-${++count}`;
      const days = options.days ?? 30;
      run(`req -new ${newKey} -keyout ${file}.key -out ${file}.csr -subj /CN=${subjectName}`);
      const signing = `-CA ca.pem -CAkey ca.key -set_serial ${1_000 + count} -extfile names`;
      run(`x509 -req -in ${file}.csr ${signing} -days ${days} -out ${file}.pem`);
      const certificateFile = join(directory, `${file}.pem`);
      const keyFile = join(directory, `${file}.key`);
      return {
        certificateFile,
        keyFile,
        certificate: readFileSync(certificateFile, 'utf8'),
        key: readFileSync(keyFile, 'utf8'),
      };
    },
  };
}
