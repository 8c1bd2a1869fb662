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
  payload: Buffer = NO_BYTES;
  payloadStart = 0;
  payloadEnd = 0;
  properties: Buffer = NO_BYTES;
  propertiesStart = 0;
  propertiesEnd = 0;
  qos: 1 | 2 = 1;
  retain = false;
  publisher = '';
  acceptedMs = 0;
  expiresMs = 0;

  of(publication: Publication): LogView {
    this.topic = publication.topic;
    const whole = publication.rest === undefined;
    const payload = whole ? publication.payload : publication.payloadBytes;
    // What is old and is made to refer to what is young is noted for the collector each time.
    if (this.payload !== payload) this.payload = payload;
    this.payloadStart = whole ? publication.payloadStart : 0;
    this.payloadEnd = whole ? publication.payloadEnd : payload.length;
    if (this.properties !== publication.properties) this.properties = publication.properties;
    this.propertiesStart = publication.propertiesStart;
    this.propertiesEnd = publication.propertiesEnd;
    this.qos = publication.qos === 2 ? 2 : 1;
    this.retain = publication.retain;
    this.publisher = publication.publisherId;
    this.acceptedMs = publication.acceptedMs;
    this.expiresMs = publication.expiresMs;
    return this;
  }
}
