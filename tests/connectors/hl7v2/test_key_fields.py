"""Thirteen key fields of every public message, against a reader of nothing but the standard's text.

The other reader works on the bytes as stored, by HL7 v2.5.1 chapter 2 and nothing of ours: it splits them at the
delimiters that MSH-1 and MSH-2 declare, takes the first repetition, the component, the first subcomponent, and replaces
escape sequences one by one.
"""

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from connectors.api import RejectedError
from connectors.hl7v2.er7 import Message, messages_in
from tests.connectors.hl7v2.test_corpus import SOURCES, messages
from tests.corpus import corpus_path

pytestmark = pytest.mark.corpus

FIELDS = {
    ("MSH", 7, 1): "Date/Time of Message, 2.15.9.7",
    ("MSH", 9, 1): "Message Type: message code, 2.15.9.9",
    ("MSH", 9, 2): "Message Type: trigger event, 2.15.9.9",
    ("MSH", 10, 1): "Message Control ID, 2.15.9.10",
    ("MSH", 12, 1): "Version ID, 2.15.9.12",
    ("PID", 3, 1): "Patient Identifier List: ID number, 3.4.2.3",
    ("PID", 3, 4): "Patient Identifier List: assigning authority, 3.4.2.3",
    ("PID", 5, 1): "Patient Name: family name, 3.4.2.5",
    ("PID", 5, 2): "Patient Name: given name, 3.4.2.5",
    ("PID", 7, 1): "Date/Time of Birth, 3.4.2.7",
    ("PID", 13, 1): "Phone Number - Home: telephone number, 3.4.2.13",
    ("SCH", 2, 1): "Filler Appointment ID: entity identifier, 10.6.1.2",
    ("SCH", 11, 4): "Appointment Timing Quantity: start date/time, 10.6.1.11",
}
"Segment, field and component, to its name and its section in HL7 v2.5.1."


def by_the_book(raw: bytes) -> dict[tuple[str, int, int], str]:
    """Return the key fields of the first segment of each kind, as the standard's chapter 2 reads them."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252")
    begin = text.index("MSH")
    field = text[begin + 3]
    header = text[begin + 4 :].split(field)[0]
    marks = dict(zip(("S", "R", "E", "T", "P"), dict.fromkeys(header), strict=False))
    segments: dict[str, list[str]] = {}
    for line in re.split("[\r\n]+", text[begin:]):
        parts = line.split(field)
        if parts[0] == "MSH":
            parts.insert(1, field)
        segments.setdefault(parts[0], parts)
    return {
        (name, number, component): part(segments.get(name, []), number, component, field, marks)
        for name, number, component in FIELDS
    }


def part(segment: list[str], number: int, component: int, field: str, marks: dict[str, str]) -> str:
    said = segment[number] if number < len(segment) else ""
    if "R" in marks:
        said = said.split(marks["R"])[0]
    components = said.split(marks["S"]) if "S" in marks else [said]
    if said == '""' or component > len(components):
        return ""
    said = components[component - 1]
    if "T" in marks:
        said = said.split(marks["T"])[0]
    return "" if said == '""' else without_escapes(said, field, marks)


def without_escapes(text: str, field: str, marks: dict[str, str]) -> str:
    """Replace escape sequences, one after another (section 2.7); what is none stays."""
    escape = marks.get("E", "")
    if not escape or escape not in text:
        return text
    before, _, rest = text.partition(escape)
    sequence, end, after = rest.partition(escape)
    meaning = {"F": field, **marks}.get(sequence) if end else None
    if end and sequence.startswith("X"):
        meaning = bytes.fromhex(sequence[1:]).decode("utf-8")
    if meaning is None:
        return before + escape + without_escapes(rest, field, marks)
    return before + meaning + without_escapes(after, field, marks)


def as_read(raw: bytes) -> dict[tuple[str, int, int], str]:
    """Return the key fields as the connector reads them."""
    message = Message.parse(messages_in(raw)[0])
    found = {}
    for name, number, component in FIELDS:
        segment = message.header if name == "MSH" else message.segment(name)
        found[name, number, component] = "" if segment is None else segment.composite(number)[component]
    return found


def everything() -> Iterator[tuple[str, bytes]]:
    """Yield every public message by its name: those of the seven sources, and those of the appointment feed."""
    for source in SOURCES:
        yield from messages(source)
    stream = (corpus_path() / "hl7v2_feed" / "siu_feed.mllp").read_bytes()
    for number, frame in enumerate(stream.split(b"\x1c\r")[:-1]):
        yield f"siu_feed {number}", frame.removeprefix(b"\x0b")


def test_thirteen_key_fields_of_every_message_agree_with_the_standard_s_text() -> None:
    compared: Counter[tuple[str, int, int]] = Counter()
    refused, differing = [], []
    for name, raw in everything():
        try:
            ours = as_read(raw)
        except RejectedError as error:
            refused.append(str(error))
            continue
        if ours != by_the_book(raw):
            differing.append(name)
        compared.update(key for key, value in ours.items() if value)
    assert differing == []
    assert refused == ["encoding-characters-invalid (MSH-2)"]  # six of them, of an example
    assert len(FIELDS) == 13
    assert set(compared) == set(FIELDS), "every field is in some message"
    assert sum(compared.values()) > 12_000
    assert compared["SCH", 11, 4] > 325
