/** What a connection speaks, known as soon as the first bytes of its CONNECT are. */
import type { Connection } from './connection.ts';

export function setVersion(connection: Connection, version: 3 | 4 | 5): void {
  connection.version = version;
  connection.version5 = version === 5;
  connection.versionKnown = true;
}

/** The version of a CONNECT that is not read on, so that it can be told why. */
export function peekVersion(connection: Connection, bytes: Buffer, bodyStart: number): void {
  const name = bytes.toString('latin1', bodyStart, bodyStart + 6);
  const level = bytes[bodyStart + 6];
  if (name === '\0\u0004MQTT' && (level === 4 || level === 5)) setVersion(connection, level);
}
