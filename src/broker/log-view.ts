/**
 * A publication as the log takes it: one object, filled anew for each message, because the log
 * copies what it is given within the call.
 *
 * @hot
 */
import type { LogMessage } from '#ports';
import type { Publication } from './publication.ts';

const NO_BYTES = Buffer.alloc(0);

export class LogView implements LogMessage {
  topic = '';
  payload: Uint8Array = NO_BYTES;
  properties: Uint8Array = NO_BYTES;
  qos: 1 | 2 = 1;
  retain = false;
  publisher = '';
  acceptedMs = 0;
  expiresMs = 0;

  of(publication: Publication): LogView {
    this.topic = publication.topic;
    this.payload = publication.payloadBytes;
    const { propertiesStart, propertiesEnd } = publication;
    this.properties = propertiesStart === propertiesEnd ? NO_BYTES : publication.propertyBytes;
    this.qos = publication.qos === 2 ? 2 : 1;
    this.retain = publication.retain;
    this.publisher = publication.publisherId;
    this.acceptedMs = publication.acceptedMs;
    this.expiresMs = publication.expiresMs;
    return this;
  }
}
