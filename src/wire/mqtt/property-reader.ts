/** Reads the property sections of the rare packets by walking the table of properties. */
import type { PacketReader } from './packet-reader.ts';
import {
  type PropertyPlace,
  type PropertyRow,
  propertyRow,
  type PropertyValues,
  type Sender,
} from './properties.ts';

/** Reads the Property Length and everything it covers. */
export function readProperties(
  packet: PacketReader,
  place: PropertyPlace,
  sender: Sender,
): PropertyValues {
  const section = propertySection(packet);
  const values: PropertyValues = {};
  while (section.left > 0) readProperty(section, place, sender, values);
  return values;
}

/** A reader of just the properties; `packet` stands behind them. */
export function propertySection(packet: PacketReader): PacketReader {
  return packet.section(packet.varint('property length'), 'properties'); // [MQTT-2.2.2-1]
}

/** Reads one property into `values` and returns its identifier. */
export function readProperty(
  section: PacketReader,
  place: PropertyPlace,
  sender: Sender,
  values: PropertyValues,
): number {
  // A variable byte integer by the letter; none has ever needed a second byte.
  const id = section.u8('property identifier');
  const row = propertyRow(id);
  if (row === undefined) throw section.malformed(`property 0x${id.toString(16)} does not exist`);
  if (!row[sender].includes(place)) {
    throw section.malformed(`property ${row.name} does not belong into ${place} of a ${sender}`);
  }
  const slots = values as Record<string, unknown>;
  const earlier = slots[row.name];
  if (earlier !== undefined && !row.repeatable.includes(place)) {
    throw section.protocolError(`property ${row.name} stands there twice`);
  }
  const value = readValue(section, row);
  if (row.type === 'pair' || row.type === 'varint') {
    if (earlier === undefined) slots[row.name] = [value];
    else (earlier as unknown[]).push(value);
  } else {
    slots[row.name] = value;
  }
  return id;
}

function readValue(section: PacketReader, row: PropertyRow): unknown {
  switch (row.type) {
    case 'byte':
      return within(section, row, section.u8(row.name));
    case 'flag': {
      const value = section.u8(row.name);
      if (value > 1) throw section.protocolError(`property ${row.name} is ${value}, not 0 or 1`);
      return value === 1;
    }
    case 'u16':
      return within(section, row, section.u16(row.name));
    case 'u32':
      return within(section, row, section.u32(row.name));
    case 'varint':
      return within(section, row, section.varint(row.name));
    case 'string':
      return section.string(row.name);
    case 'binary':
      return section.binary(row.name);
    case 'pair':
      return [section.string('user property name'), section.string('user property value')];
  }
}

function within(section: PacketReader, row: PropertyRow, value: number): number {
  const { least = 0, most = value } = row;
  if (value < least || value > most) {
    throw section.protocolError(`property ${row.name} is ${value}`);
  }
  return value;
}
