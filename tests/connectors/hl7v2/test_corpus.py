"""The public messages: every one read or refused with a reason, and read as a plain split reads them."""

import json
import random
from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connectors.api import FINAL, AppointmentFacts, PatientFacts, RejectedError
from connectors.hl7v2.er7 import Message, messages_in
from connectors.hl7v2.mllp import Framer, looks_like_hl7
from tests.connectors.hl7v2.sample import NEW_YORK, connector
from tests.corpus import corpus_path

pytestmark = pytest.mark.corpus

SOURCES = ["cdc", "hl7apy", "lfh_res", "msfhirconv", "pyhl7", "simhospital", "v2tofhir"]

REFUSED = {
    "message-type-missing (MSH-9)": 3,
    "message-type-invalid (MSH-9)": 4,
    "segment-missing (PID)": 7,
    "encoding-characters-invalid (MSH-2)": 1,
}
"Headers alone, templates with {} for a type, and six encoding characters: examples of libraries, from no hospital."


def messages(source: str) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted((corpus_path() / "hl7v2" / source).iterdir())]


def plain(raw: bytes) -> list[list[str]]:
    """Split as the bench's floor does: lines, then fields, nothing else."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("cp1252")
    lines = text.replace("\r\n", "\r").replace("\n", "\r").split("\r")
    return [line.split(raw[3:4].decode()) for line in lines if line]


def test_every_message_is_read_or_refused_with_a_reason() -> None:
    reader = connector()
    read: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for source in SOURCES:
        for _, raw in messages(source):
            assert looks_like_hl7(raw)
            try:
                read.update(type(fact).__name__ for fact in reader.read(raw, timezone=NEW_YORK, region="US"))
            except RejectedError as error:
                refused[str(error)] += 1
    assert sum(len(messages(source)) for source in SOURCES) == 1178
    assert refused == REFUSED
    assert read == {"PatientFacts": 420, "AppointmentFacts": 8, "MergeFacts": 4, "RelatedFacts": 11}


@pytest.mark.parametrize("source", SOURCES)
def test_every_field_is_where_a_plain_split_finds_it(source: str) -> None:
    compared = 0
    for name, raw in messages(source):
        try:
            read = Message.parse(raw)
        except RejectedError:
            continue
        assert bytes(read) == raw
        lines = plain(raw)
        assert [line.name for line in read.lines()] == [fields[0] for fields in lines], name
        for line, fields in zip(read.lines(), lines, strict=True):
            shift = int(line.name == "MSH")
            told = [line.field(number + shift) for number in range(1, len(fields))]
            assert told == fields[1:], name
            compared += len(told)
    assert compared > 30


@pytest.mark.parametrize("source", SOURCES)
def test_every_first_component_is_where_a_plain_split_finds_it(source: str) -> None:
    for name, raw in messages(source):
        try:
            read = Message.parse(raw)
        except RejectedError:
            continue
        marks = read.delimiters
        for line in read.lines():
            for number in range(3 if line.name == "MSH" else 1, len(line) + 1):
                said = line.field(number).split(marks.repetition)[0] if marks.repetition else line.field(number)
                for place, part in enumerate(said.split(marks.component), 1):
                    first = part.split(marks.subcomponent)[0] if marks.subcomponent else part
                    if not marks.escape or marks.escape not in first:
                        expected = "" if '""' in (said, first) else first
                        assert line.composite(number)[place] == expected, (name, line.name, number, place)


def test_patients_have_names_ids_and_versions() -> None:
    for _, raw in messages("simhospital"):
        for fact in connector().read(raw, timezone=NEW_YORK, region="GB"):
            if not isinstance(fact, PatientFacts):
                continue
            assert fact.family
            assert fact.given
            assert fact.birth_date
            assert {identifier.type for identifier in fact.ids} <= {"MRN", "NHSNMBR"}
            assert len(fact.ids) == 2
            assert fact.phones == () or fact.phones[0].e164.startswith("+44")


@pytest.mark.parametrize("source", SOURCES)
def test_a_message_cut_or_garbled_is_read_or_refused(source: str) -> None:
    reader, chance = connector(), random.Random(source)
    for _, raw in messages(source)[:60]:
        for _ in range(20):
            cut = raw[: chance.randrange(len(raw))]
            garbled = bytearray(raw)
            for _ in range(8):
                garbled[chance.randrange(len(garbled))] = chance.choice(b'|^~\\&\r\n\0\x1b\xff"9A')
            for broken in (cut, bytes(garbled)):
                with suppress(RejectedError):  # anything else fails the test
                    reader.read(broken, timezone=NEW_YORK, region="US")


def test_two_messages_in_one_file_are_two() -> None:
    (found,) = [raw for source in SOURCES for _, raw in messages(source) if len(messages_in(raw)) > 1]
    assert [Message.parse(part).control_id for part in messages_in(found)] == ["12334456778890", "12334456778891"]


def feed() -> tuple[list[AppointmentFacts], dict[str, dict[str, Any]]]:
    """Return what each message says, and the truth by appointment id; the truth's times have no zone of their own."""
    folder: Path = corpus_path() / "hl7v2_feed"
    truth = json.loads((folder / "siu_feed_truth.json").read_text())
    frames = list(Framer().feed((folder / "siu_feed.mllp").read_bytes()))
    said = [fact for frame in frames for fact in connector().read(frame.body, timezone=ZoneInfo("UTC"), region="US")]
    assert len(said) == len(frames) == 325
    appointments = [fact for fact in said if isinstance(fact, AppointmentFacts)]
    assert len(appointments) == 325
    return appointments, {row["appointment"]["appointmentId"]: row for row in truth}


def test_each_message_of_the_feed_says_one_appointment() -> None:
    said, truth = feed()
    assert {fact.ids[0].value for fact in said} == truth.keys()
    assert Counter(fact.status.value for fact in said) == {"booked": 250, "cancelled": 46, "noshow": 29}
    for fact in said:
        true = truth[fact.ids[0].value]
        visit, patient, provider = true["appointment"], true["patient"], true["provider"]
        assert [identifier.type for identifier in fact.ids] == ["PLAC", "FILL"]
        assert fact.starts_at == datetime.fromisoformat(visit["startDateTime"])
        assert (fact.minutes, fact.reason) == (visit["durationMinutes"], visit["reason"])
        assert (fact.type, fact.location) == (visit["appointmentType"], visit["location"]["pointOfCare"])
        assert fact.practitioner == f"{provider['givenName']} {provider['familyName']}"
        assert fact.patient is not None
        assert fact.patient.ids[0].value == patient["id"]
        assert (fact.patient.family, fact.patient.given) == (patient["familyName"], patient["givenName"])
        assert fact.creates


def test_the_feed_in_any_order_leads_to_the_true_statuses() -> None:
    said, truth = feed()
    for seed in range(5):
        random.Random(seed).shuffle(said)
        now: dict[str, AppointmentFacts] = {}
        for fact in said:
            before = now.get(fact.ids[0].value)
            newer = before is None or fact.version.at > before.version.at
            final = before is not None and fact.version.at == before.version.at and fact.status in FINAL
            if newer or final:
                now[fact.ids[0].value] = fact
        assert {key: fact.status.value for key, fact in now.items()} == {
            key: true["expected_status"] for key, true in truth.items()
        }
