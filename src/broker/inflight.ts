/**
 * The packet ids one session has in flight towards its client, how far each delivery is, and how
 * it was sent: what is sent again is what was sent, whatever the session is subscribed to by then.
 *
 * A ring indexed by the low bits of the id: one byte a slot for state and RETAIN, and where the
 * session is durable the log position. It starts small and doubles only while ids far apart are
 * open, so a session with nothing in flight costs nothing and a delivery allocates nothing.
 * Subscription identifiers, which few clients have, lie beside it.
 *
 * @hot
 */
import { assert } from '#base';
import type { Position } from '#ports';

export const InflightState = {
  free: 0,
  /** QoS 1, PUBLISH sent. */
  awaitsPuback: 1,
  /** QoS 2, PUBLISH sent or about to be. */
  awaitsPubrec: 2,
  /** QoS 2, PUBREC received; PUBREL sent or about to be. */
  awaitsPubcomp: 3,
} as const;
export type State = 0 | 1 | 2 | 3;

/** One that is open. */
export interface OpenDelivery {
  readonly id: number;
  readonly state: State;
  readonly position: Position;
  /** The RETAIN flag of the PUBLISH; 0 once that is over. */
  readonly retain: boolean;
  /** Property bytes of the subscription identifiers in the PUBLISH; empty: none, or it is over. */
  readonly identifiers: Uint8Array;
}

/** Beside the state in its byte. */
const RETAIN_BIT = 4;
const STATE_BITS = 3;

const ID_MAX = 65_535;
const SLOTS_MIN = 16;
const SLOTS_MAX = 65_536;
const NO_STATES = new Uint8Array(0);
const NO_IDS = new Uint16Array(0);
const NO_POSITIONS = new Float64Array(0);
/** Of a delivery without subscription identifiers. */
export const NO_IDENTIFIERS: Uint8Array = new Uint8Array(0);

export class Inflight {
  /** Deliveries that count against the client's Receive Maximum. */
  count = 0;
  /** Of all subscription identifiers that are remembered. */
  identifierBytes = 0;
  #states = NO_STATES;
  #ids = NO_IDS;
  #positions = NO_POSITIONS;
  /** By id; `undefined` until the first one. */
  #identifiers: Map<number, Uint8Array> | undefined = undefined;
  #lastId = 0;

  /** Takes the next free id for a delivery; the caller has checked the window. */
  take(state: State, position: Position, retain: boolean, identifiers: Uint8Array): number {
    assert(this.count < ID_MAX, 'the window is smaller than the space of ids');
    let id = this.#lastId;
    for (;;) {
      id = id === ID_MAX ? 1 : id + 1;
      const slot = id & (this.#states.length - 1);
      if (this.#states.length === 0) this.#grow();
      else if (this.#states[slot] === InflightState.free) break;
      else if (this.#states.length < SLOTS_MAX && this.#ids[slot] !== id) this.#grow();
      else continue; // that very id is open: try the next
      id = this.#lastId;
    }
    this.#lastId = id;
    this.#set(id, state, position, retain, identifiers);
    return id;
  }

  /** Puts back what was stored: used when a session is resumed. */
  restore({ id, state, position, retain, identifiers }: OpenDelivery): void {
    if (this.#states.length === 0) this.#grow();
    for (;;) {
      const slot = id & (this.#states.length - 1);
      if (this.#states[slot] === InflightState.free) break;
      assert(this.#ids[slot] !== id, 'an id is restored once');
      this.#grow();
    }
    this.#set(id, state, position, retain, identifiers);
    this.#lastId = id;
  }

  state(id: number): State {
    const slot = id & (this.#states.length - 1);
    return this.#states.length > 0 && this.#ids[slot] === id
      ? ((this.#states[slot]! & STATE_BITS) as State)
      : InflightState.free;
  }

  position(id: number): Position {
    return this.#positions[id & (this.#states.length - 1)]!;
  }

  /** Moves a delivery on, so its PUBLISH is over; the caller has looked at its state. */
  advance(id: number, state: State): void {
    const slot = id & (this.#states.length - 1);
    this.#states[slot] = state;
    if (this.#identifiers !== undefined) this.#forget(this.#identifiers, id);
    if (state === InflightState.free) this.count--;
  }

  /** All that is open, oldest position first. Not for the hot path. */
  list(): OpenDelivery[] {
    const open: OpenDelivery[] = [];
    const states = this.#states;
    const last = this.#lastId;
    // From behind the last one on, so that sorting finds them in order already, or nearly.
    for (let i = 1; i <= states.length; i++) {
      const slot = (last + i) & (states.length - 1);
      const state = (states[slot]! & STATE_BITS) as State;
      if (state === InflightState.free) continue;
      const id = this.#ids[slot]!;
      const retain = (states[slot]! & RETAIN_BIT) !== 0;
      const identifiers = this.#identifiers?.get(id) ?? NO_IDENTIFIERS;
      open.push({ id, state, position: this.#positions[slot]!, retain, identifiers });
    }
    // Ids were handed out in sending order; the ones above the last were handed out before it.
    const age = (id: number): number => (id > last ? id - ID_MAX : id);
    return open.sort((a, b) => age(a.id) - age(b.id));
  }

  /** The id handed out last; the next one follows it. */
  get lastId(): number {
    return this.#lastId;
  }

  set lastId(id: number) {
    this.#lastId = id;
  }

  #set(
    id: number,
    state: State,
    position: Position,
    retain: boolean,
    identifiers: Uint8Array,
  ): void {
    const slot = id & (this.#states.length - 1);
    this.#states[slot] = retain ? state | RETAIN_BIT : state;
    this.#ids[slot] = id;
    this.#positions[slot] = position;
    this.count++;
    if (identifiers.length === 0) return;
    (this.#identifiers ??= new Map()).set(id, identifiers);
    this.identifierBytes += identifiers.length;
  }

  #forget(remembered: Map<number, Uint8Array>, id: number): void {
    const identifiers = remembered.get(id);
    if (identifiers === undefined) return;
    remembered.delete(id);
    this.identifierBytes -= identifiers.length;
  }

  #grow(): void {
    const old = this.#states;
    const oldIds = this.#ids;
    const oldPositions = this.#positions;
    const size = old.length === 0 ? SLOTS_MIN : old.length * 2;
    assert(size <= SLOTS_MAX, 'the ring never outgrows the space of ids');
    this.#states = new Uint8Array(size);
    this.#ids = new Uint16Array(size);
    this.#positions = new Float64Array(size);
    for (let slot = 0; slot < old.length; slot++) {
      if (old[slot] === InflightState.free) continue;
      const id = oldIds[slot]!;
      const to = id & (size - 1);
      this.#states[to] = old[slot]!;
      this.#ids[to] = id;
      this.#positions[to] = oldPositions[slot]!;
    }
  }
}
