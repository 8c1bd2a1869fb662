/**
 * The packet ids one session has in flight towards its client, and how far each delivery is.
 *
 * A ring indexed by the low bits of the id: one byte of state a slot, and where the session is
 * durable the log position. It starts small and doubles only while ids far apart are open, so a
 * session with nothing in flight costs nothing and a delivery allocates nothing.
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

const ID_MAX = 65_535;
const SLOTS_MIN = 16;
const SLOTS_MAX = 65_536;
const NO_STATES = new Uint8Array(0);
const NO_IDS = new Uint16Array(0);
const NO_POSITIONS = new Float64Array(0);

export class Inflight {
  /** Deliveries that count against the client's Receive Maximum. */
  count = 0;
  #states = NO_STATES;
  #ids = NO_IDS;
  #positions = NO_POSITIONS;
  #lastId = 0;

  /** Takes the next free id for a delivery; the caller has checked the window. */
  take(state: State, position: Position): number {
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
    this.#set(id, state, position);
    return id;
  }

  /** Puts back what was stored: used when a session is resumed. */
  restore(id: number, state: State, position: Position): void {
    if (this.#states.length === 0) this.#grow();
    for (;;) {
      const slot = id & (this.#states.length - 1);
      if (this.#states[slot] === InflightState.free) break;
      assert(this.#ids[slot] !== id, 'an id is restored once');
      this.#grow();
    }
    this.#set(id, state, position);
    this.#lastId = id;
  }

  state(id: number): State {
    const slot = id & (this.#states.length - 1);
    return this.#states.length > 0 && this.#ids[slot] === id
      ? (this.#states[slot] as State)
      : InflightState.free;
  }

  position(id: number): Position {
    return this.#positions[id & (this.#states.length - 1)]!;
  }

  /** Moves a delivery on; the caller has looked at its state. */
  advance(id: number, state: State): void {
    const slot = id & (this.#states.length - 1);
    this.#states[slot] = state;
    if (state === InflightState.free) this.count--;
  }

  /** All that is open, oldest position first. Not for the hot path. */
  list(): { readonly id: number; readonly state: State; readonly position: Position }[] {
    const open: { id: number; state: State; position: Position }[] = [];
    const states = this.#states;
    const last = this.#lastId;
    // From behind the last one on, so that sorting finds them in order already, or nearly.
    for (let i = 1; i <= states.length; i++) {
      const slot = (last + i) & (states.length - 1);
      const state = states[slot] as State;
      if (state === InflightState.free) continue;
      open.push({ id: this.#ids[slot]!, state, position: this.#positions[slot]! });
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

  #set(id: number, state: State, position: Position): void {
    const slot = id & (this.#states.length - 1);
    this.#states[slot] = state;
    this.#ids[slot] = id;
    this.#positions[slot] = position;
    this.count++;
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
