/**
 * The three ways an MQTT 5.0 broker meets a fault, each as a ready-made test.
 *
 * A test made here looks at both sides: the offender gets the reason code and the close, and
 * nothing it sent behind the fault is acted on; a bystander sees the offender's will and
 * otherwise goes on undisturbed.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { againstPeer } from './broker-process.ts';
import { connectClient, hex, openClient, unique } from './v5-client.ts';
import { type Properties, publishPacket, subscribePacket } from './v5-packets.ts';

interface PortHolder {
  readonly port: number;
}

function assertOneOf(reason: number, reasons: readonly number[]): void {
  assert.ok(reasons.includes(reason), `${hex(reason)} is one of ${reasons.map(hex).join(', ')}`);
}

/** A connected client sends `packet`: DISCONNECT with one of `reasons`, close, will. */
export function violation(
  broker: PortHolder,
  name: string,
  packet: Buffer,
  reasons: readonly number[],
  properties: Properties = {},
): void {
  test(name, async (t) => {
    const willTopic = unique('will/');
    const after = unique('after/');
    const bystander = await connectClient(t, broker.port);
    await bystander.subscribe([
      [willTopic, 0],
      [after, 0],
    ]);
    const will = { topic: willTopic, payload: 'gone' };
    const offender = await connectClient(t, broker.port, { will, properties });

    offender.send(packet, publishPacket(after, 'never acted on'));

    if (againstPeer)
      await offender.hungUp(); // its codes differ, or are missing
    else assertOneOf((await offender.next('disconnect')).reason, reasons);
    await offender.closed(); // [MQTT-4.13.1-1]
    const message = await bystander.message();
    assert.equal(message.topic, willTopic);
    assert.equal(message.payload, 'gone');
    await bystander.idle();
  });
}

/** A CONNECT is answered by CONNACK with one of `reasons` and a close; `stranger`: nobody may. */
export function refusal(
  broker: PortHolder,
  name: string,
  connect: Buffer,
  reasons: readonly number[],
  stranger = false,
): void {
  test(name, async (t) => {
    const after = unique('after/');
    const bystander = stranger ? undefined : await connectClient(t, broker.port);
    await bystander?.subscribe(after);
    const offender = await openClient(t, broker.port);

    offender.send(
      connect,
      subscribePacket(1, [['#', 0]]),
      publishPacket(after, 'never acted on', { retain: true }),
    );

    if (againstPeer) {
      await offender.hungUp(); // its codes differ, or are missing
    } else {
      const connack = await offender.next('connack');
      assertOneOf(connack.reason, reasons);
      assert.equal(connack.sessionPresent, false);
    }
    await offender.closed(); // [MQTT-3.1.4-6] [MQTT-3.2.2-7]
    await bystander?.idle();
  });
}

/** What is sent on a new connection is met by a close and no packet at all. */
export function silentClose(broker: PortHolder, name: string, sent: Buffer): void {
  test(name, async (t) => {
    const bystander = await connectClient(t, broker.port);
    const offender = await openClient(t, broker.port);

    offender.send(sent);

    await offender.closed();
    await bystander.idle();
  });
}
