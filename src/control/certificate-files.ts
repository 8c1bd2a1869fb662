/**
 * The control door's certificate and key, read and checked before TLS sees them, so that what is
 * wrong is said with the name of the file.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { SecureContextOptions } from 'node:tls';
import { Fault } from '#base';

/** Reads the files; rejects with a `Fault` that names the one that will not do. */
export async function readCertificateFiles(
  certificateFile: string,
  keyFile: string,
): Promise<SecureContextOptions> {
  const cert = await read('certificate', certificateFile);
  const key = await read('private key', keyFile);
  const certificate = parse('certificate', certificateFile, () => new X509Certificate(cert));
  const privateKey = parse('private key', keyFile, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    const text = `private key ${keyFile} does not belong to certificate ${certificateFile}`;
    throw new Fault('unspecified', text);
  }
  return { cert, key, minVersion: 'TLSv1.2' };
}

async function read(what: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new Fault('unspecified', `${what} file ${file} cannot be read: ${code}`, { cause });
  }
}

function parse<T>(what: string, file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new Fault('unspecified', `${what} file ${file} holds no usable PEM`, { cause });
  }
}
