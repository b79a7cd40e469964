"""ER7: whatever the bytes are, they are read or refused with a reason, and nothing is lost on the way."""

from contextlib import suppress
from zoneinfo import ZoneInfo

from connectors.api import RejectedError
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.er7 import Message, escape, messages_in, unescape
from connectors.hl7v2.settings import Hl7v2Settings

ZONE = ZoneInfo("America/New_York")

READERS = [
    Hl7v2(Hl7v2Settings(listen="127.0.0.1:0")),
    Hl7v2(Hl7v2Settings.model_validate({"listen": "127.0.0.1:0", "charset": "8859/1", "timezone": "Asia/Tokyo"})),
]


def one(data: bytes) -> None:
    """Read `data` as a packet of messages."""
    parts = messages_in(data)
    assert sum(map(len, parts)) <= len(data)
    for part in parts:
        with suppress(RejectedError):
            _walk(Message.parse(part), part)
    for region, reader in zip(("US", "GB"), READERS, strict=True):
        with suppress(RejectedError):
            for fact in reader.read(data, timezone=ZONE, region=region):
                assert fact.model_validate(fact.model_dump()) == fact


def _walk(message: Message, raw: bytes) -> None:
    """Ask for every part of a message."""
    assert bytes(message) == raw
    names = [line.name for line in message.lines()]
    for name in dict.fromkeys(names[:50]):
        found = message.segment(name)
        assert found is None or found.name == name
    for line in list(message.lines())[:50]:
        for number in range(len(line) + 2):
            composites = line.composites(number)[:20]
            line.value(number)
            for composite in composites:
                for place in (1, 2, 4, 12):
                    assert composite.subs(place)[0] == composite[place]
    text = message.control_id
    assert unescape(escape(text), message.delimiters.__class__()) == text.replace("\0", "")
    assert message.charset
