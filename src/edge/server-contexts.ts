/**
 * Server certificates by the name a client asks for, as contexts that TLS can use.
 *
 * A context is made when its name is first asked for and kept for as long as the directory
 * answers the same certificate. It trusts clients on the listener's terms, whose session tickets
 * it shares.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import type {
  CertificateDirectory,
  LoadedCertificates,
  ServerCertificate,
} from './certificates.ts';
import type { Door } from './door.ts';

export interface ServerContexts {
  /** `undefined`: the listener's own certificate. */
  readonly find: (serverName: string) => SecureContext | undefined;
  /** The listener has new certificates. */
  renew(loaded: LoadedCertificates): void;
}

export function createServerContexts(
  directory: CertificateDirectory | undefined,
  loaded: LoadedCertificates,
  door: Door,
): ServerContexts {
  let own = loaded;
  let made = new WeakMap<ServerCertificate, { readonly context: SecureContext | undefined }>();

  const make = (found: ServerCertificate, serverName: string): SecureContext | undefined => {
    try {
      return createSecureContext({
        ...own.context,
        cert: found.certificate,
        key: found.key,
      });
    } catch (error) {
      door.log.error('a registered server certificate is not usable, the own one serves', {
        listener: door.url,
        serverName,
        error: error instanceof Error ? error.message : String(error),
      });
      return undefined;
    }
  };

  return {
    find(serverName) {
      const name = serverName.toLowerCase();
      const found = directory?.find(name);
      if (found === undefined) return undefined;
      // Nobody takes a name from the listener by registering it.
      if (own.certificate.checkHost(name, { wildcards: false }) !== undefined) return undefined;
      let entry = made.get(found);
      if (entry === undefined) {
        entry = { context: make(found, name) };
        made.set(found, entry);
      }
      return entry.context;
    },
    renew(fresh) {
      own = fresh;
      made = new WeakMap();
    },
  };
}
