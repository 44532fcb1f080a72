"""Writes OSC packets as python-osc makes them, in hexadecimal, for tests/work/external.rs: packets.json that are received, and
notifications.json that are to be sent.

    python3 -m venv /tmp/osc && /tmp/osc/bin/pip install python-osc==1.10.2
    /tmp/osc/bin/python make_packets.py
"""

import json
from pathlib import Path

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder


def message(name, *values, root="/softprefix/"):
    builder = OscMessageBuilder(address=root + name)
    for value in values:
        if isinstance(value, tuple):
            builder.add_arg(value[1], value[0])
        else:
            builder.add_arg(value)
    return builder.build()


def bundle(*contents):
    builder = OscBundleBuilder(IMMEDIATELY)
    for content in contents:
        builder.add_content(content)
    return builder.build()


packets = {
    "magnitude": message("magnitude", 2.5),
    "magnitude as a double": message("magnitude", ("d", 0.1)),
    "magnitude as an integer": message("magnitude", 3),
    "p": message("p", 4),
    "p as a float": message("p", 3.6),
    "seed": message("seed", 7),
    "seed as a long": message("seed", ("h", 2**40)),
    "row": message("row/2", 0.25),
    "blend": message("blend", 0.75),
    "prompt": message("prompt", "海について短く書いてください。"),
    "preset": message("preset", 2),
    "run": message("run"),
    "run pressed": message("run", 1.0),
    "run as true": message("run", True),
    "run released": message("run", 0.0),
    "all at once": bundle(
        message("p", 2),
        bundle(message("row/1", 1.0), message("row/2", 0.5)),
        message("magnitude", 1.5),
        message("run"),
    ),
    "bad: another root": message("volume", 0.5, root="/mixer/"),
    "bad: no such name": message("volume", 0.5),
    "bad: a text": message("magnitude", "much"),
    "bad: two values": message("magnitude", 1.0, 2.0),
    "bad: none": message("magnitude"),
    "bad: a blob": message("magnitude", b"\x00\x01"),
    "bad: not finite": message("magnitude", float("nan")),
    "bad: a negative seed": message("seed", -1),
    "bad: row 0": message("row/0", 1.0),
    "bad: no such preset": message("preset", 99),
    "bad: an empty prompt": message("prompt", ""),
    "bad: in part": bundle(message("magnitude", 9.0), message("seed", -1)),
}

notifications = {
    "state": message("state", "idle"),
    "token": message("token", " the"),
    "text": message("text", "海は彼の名を知っていた。"),
    "similarity": message("similarity", 73.25),
    "error": message("error", "The module is lost."),
}


def write(name, messages):
    encoded = {name: packet.dgram.hex() for name, packet in messages.items()}
    text = json.dumps(encoded, indent=1, ensure_ascii=False)
    Path(__file__).with_name(name).write_text(text + "\n", encoding="utf-8")


write("packets.json", packets)
write("notifications.json", notifications)
