"""Paho's Python client against a broker: what it does and hears, printed as one JSON object.

Usage: clients-paho.py VERSION(3|4|5) TRANSPORT(tcp|websockets) PORT [CA_FILE]
Takes paho-mqtt 1.6 (Debian) and 2.x alike.
"""
import json
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

version, transport, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
authority = sys.argv[4] if len(sys.argv) > 4 else None
PATIENCE = 15
unique = "py%d%s%d" % (version, transport[0], port)
dialect = getattr(mqtt, "CallbackAPIVersion", None)


class Client:
    def __init__(self, name, clean=True, will=None):
        options = {"client_id": unique + name, "protocol": version, "transport": transport}
        if dialect is not None:
            options["callback_api_version"] = dialect.VERSION1
        if version < 5:
            options["clean_session"] = clean
        self.client = mqtt.Client(**options)
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.client.on_connect = lambda *words: self.events.put(("connect", words[2], words[3]))
        self.client.on_subscribe = lambda *words: self.events.put(("subscribe", words[3]))
        self.client.on_disconnect = lambda *words: self.events.put(("disconnect",))
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        if will is not None:
            self.client.will_set(will, "gone", qos=1)
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        if authority is not None:
            self.client.tls_set(ca_certs=authority)
        more = {}
        if version == 5:
            more["clean_start"] = clean
            if not clean:
                more["properties"] = Properties(PacketTypes.CONNECT)
                more["properties"].SessionExpiryInterval = 600
        self.client.connect("127.0.0.1", port, keepalive=30, **more)
        self.client.loop_start()
        _, flags, code = self.events.get(timeout=PATIENCE)
        present = flags["session present"] if isinstance(flags, dict) else flags.session_present
        self.present = bool(present)
        self.code = int(getattr(code, "value", code))

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        self.events.get(timeout=PATIENCE)

    def publish(self, topic, payload, **options):
        self.client.publish(topic, payload, **options).wait_for_publish(PATIENCE)

    def take(self, count):
        taken = [self.messages.get(timeout=PATIENCE) for _ in range(count)]
        return [[one.topic, one.payload.decode(), one.qos, bool(one.retain)] for one in taken]

    def leave(self):
        self.client.disconnect()
        self.events.get(timeout=PATIENCE)
        self.client.loop_stop()

    def break_off(self):
        self.client.loop_stop()
        self.client.socket().close()


result = {}
sender, receiver = Client("sender"), Client("receiver")
result["codes"] = [sender.code, receiver.code]
receiver.subscribe(unique + "/#", 2)
for qos in (0, 1, 2):
    sender.publish(unique + "/q", str(qos), qos=qos)
result["qos"] = [[payload, qos] for _, payload, qos, _ in receiver.take(3)]

for i in range(1000):
    sender.client.publish(unique + "/many", str(i), qos=1)
result["inOrder"] = [int(one[1]) for one in receiver.take(1000)] == list(range(1000))

sender.publish(unique + "/large", "x" * 2_000_000, qos=2)
result["largeSize"] = len(receiver.take(1)[0][1])

sender.publish(unique + "/kept", "kept", qos=1, retain=True)
receiver.take(1)
late = Client("late")
late.subscribe(unique + "/kept", 1)
result["retained"] = [one[1:] for one in late.take(1)]
late.leave()

sleeper = Client("sleeper", clean=False)
sleeper.subscribe(unique + "/sleep", 1)
result["presentAtFirst"] = sleeper.present
sleeper.leave()
for i in range(20):
    sender.publish(unique + "/sleep", str(i), qos=1)
receiver.take(20)
sleeper = Client("sleeper", clean=False)
result["presentLater"] = sleeper.present
result["missed"] = [one[1] for one in sleeper.take(20)]
sleeper.leave()

mortal = Client("mortal", will=unique + "/will")
mortal.break_off()
result["will"] = [one[1:3] for one in receiver.take(1)]

if version == 5:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("colour", "red"), ("colour", "blue")]
    properties.ResponseTopic = "answers"
    properties.CorrelationData = b"\x00\x01"
    sender.publish(unique + "/properties", "x", qos=1, properties=properties)
    came = receiver.messages.get(timeout=PATIENCE).properties
    result["properties"] = [came.UserProperty, came.ResponseTopic, list(came.CorrelationData)]

sender.leave()
receiver.leave()
print(json.dumps(result))
