/** Who is connected with which registered certificate, so that it can be ended. */
import type { LiveClient } from '../authenticator.ts';
import type { DeviceKey } from './certificate-store.ts';

export class LiveCertificates {
  /** By authority (`instance/serial`), then by the device's serial number. */
  readonly #clients = new Map<string, Map<string, Set<LiveClient>>>();

  /** Returns the way out. */
  add(key: DeviceKey, client: LiveClient): () => void {
    const authority = `${key.instanceId}/${key.authoritySerial}`;
    const devices = this.#clients.get(authority) ?? new Map<string, Set<LiveClient>>();
    this.#clients.set(authority, devices);
    const clients = devices.get(key.serial) ?? new Set<LiveClient>();
    devices.set(key.serial, clients.add(client));
    return () => {
      clients.delete(client);
      if (clients.size === 0 && devices.get(key.serial) === clients) devices.delete(key.serial);
      if (devices.size === 0 && this.#clients.get(authority) === devices) {
        this.#clients.delete(authority);
      }
    };
  }

  endDevice(key: DeviceKey): void {
    end(this.#clients.get(`${key.instanceId}/${key.authoritySerial}`)?.get(key.serial));
  }

  endAuthority(authority: { readonly instanceId: string; readonly serial: string }): void {
    const devices = this.#clients.get(`${authority.instanceId}/${authority.serial}`);
    for (const clients of devices?.values() ?? []) end(clients);
  }
}

/** Once each: whoever has been told leaves the set before it hears. */
function end(clients: Set<LiveClient> | undefined): void {
  if (clients === undefined) return;
  for (const client of clients) {
    clients.delete(client);
    client.disconnect('certificateInactive');
  }
}
