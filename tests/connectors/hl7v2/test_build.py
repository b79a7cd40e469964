"""Building messages: what `er7` reads back, hypothesis; what hl7apy makes of them."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.api import Identifier, RejectedError
from connectors.hl7v2.build import Draft, Header, control_id_of, entity, made_at, message, segment, stamp
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.field import entity_identifier, instant_of
from hub.db import uuid7

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
HEADER = Header("CHARTLINE", "HARBOR", "EHR^1.2.3^ISO", "HARBOR")


def built(header: Header = HEADER, **fields: object) -> bytes:
    numbered = {int(name[1:]): value for name, value in fields.items()}
    draft = Draft(("ZZZ", "Z01", "ZZZ_Z01"), [("ZZ1", numbered)])  # type: ignore[list-item]
    return message(header, draft, control_id="ID1", at=NOW, zone=NEW_YORK)


def test_a_message_has_its_header_and_nothing_empty_at_the_end() -> None:
    assert built(f1="a", f3=("b", "", ""), f5="") == (
        b"MSH|^~\\&|CHARTLINE|HARBOR|EHR^1.2.3^ISO|HARBOR|20261123100000-0500||ZZZ^Z01^ZZZ_Z01|ID1|P|2.5.1\rZZ1|a||b\r"
    )


def test_repetitions_components_and_subcomponents_have_their_marks() -> None:
    assert segment("PID", {3: [("A9", "", "", ("HARBOR", "1.2", "ISO"), "MR"), "B"], 5: ("Rivera", "Ana")}) == (
        "PID|||A9^^^HARBOR&1.2&ISO^MR~B||Rivera^Ana"
    )


def test_what_looks_like_a_mark_is_escaped() -> None:
    raw = built(f1="a|b^c~d\\e&f\r\n\x0b\x1c")
    assert raw.endswith(b"ZZ1|a\\F\\b\\S\\c\\R\\d\\E\\e\\T\\f\\X0D\\\\X0A\\\\X0B\\\\X1C\\\r")


def test_two_quotation_marks_are_said_and_delete_nothing() -> None:
    said = Message.parse(built(f1='""')).segment("ZZ1")
    assert said is not None
    assert not said.deleted(1)
    assert said.value(1) == '""'


def test_a_receiver_may_ask_for_acknowledgments_and_for_its_character_set() -> None:
    raw = built(Header("A", "B", "C", "D", "T", "2.4", "AL", "NE", "8859/1"), f1="Zoë")
    assert b"|T|2.4|||AL|NE||8859/1\r" in raw
    assert raw.endswith(b"ZZ1|Zo\xeb\r")


def test_what_is_not_ascii_goes_as_utf_8_and_says_so() -> None:
    raw = built(f1="Łucja")
    assert b"||||||UNICODE UTF-8\r" in raw
    assert Message.parse(raw).segment("ZZ1").value(1) == "Łucja"  # type: ignore[union-attr]


@pytest.mark.parametrize("charset", ["8859/1", "ASCII"])
def test_a_character_that_the_receiver_has_no_byte_for_is_refused_without_naming_it(charset: str) -> None:
    with pytest.raises(RejectedError) as caught:
        built(Header("A", "B", "C", "D", charset=charset), f1="Łucja")
    assert (caught.value.reason, caught.value.field) == ("character-not-in-charset", "MSH-18")
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("version", "kind"), [("2.2", b"|ZZZ^Z01|"), ("2.3", b"|ZZZ^Z01|"), ("2.3.1", b"^ZZZ_Z01|")])
def test_old_versions_know_no_message_structure(version: str, kind: bytes) -> None:
    assert kind in built(Header("A", "B", "C", "D", version=version))


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
COMPONENT = st.one_of(TEXT, st.tuples(TEXT, TEXT))
COMPOSITE = st.tuples(COMPONENT, COMPONENT, COMPONENT)


@given(st.lists(COMPOSITE, min_size=1, max_size=3), TEXT)
def test_what_is_built_is_what_is_read(repetitions: list[tuple[str | tuple[str, str], ...]], text: str) -> None:
    read = Message.parse(built(f2=repetitions, f3=text, f4="end")).segment("ZZ1")
    assert read is not None
    assert read.value(3) == text
    said = [composite for composite in repetitions if any(any(part) for part in composite)]
    found = read.composites(2)
    assert len(found) == len(said)
    for composite, parts in zip(found, said, strict=True):
        for number, part in enumerate(parts, 1):
            subs = list(part) if isinstance(part, tuple) else [part]
            assert [*composite.subs(number), "", ""][: len(subs)] == subs


@given(st.text("\\|CMXE2480\r", max_size=16))
@example("\\M2442\\")
@example("|C2842|")
@example("\r\\M2442\\E")
def test_text_that_looks_like_an_escape_sequence_is_what_is_read(text: str) -> None:
    read = Message.parse(built(f1=text, f2="end")).segment("ZZ1")
    assert read is not None
    assert read.value(1) == text


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20),
    st.sampled_from(["", "HARBOR", "urn:oid:1.2.3", "urn:uuid:0f-1", "https://ehr.example.org/id"]),
)
def test_an_identifier_comes_back_as_it_was(value: str, system: str) -> None:
    identifier = Identifier(system=system, value=value, type="FILL")
    read = Message.parse(built(f1=entity(identifier))).segment("ZZ1")
    assert read is not None
    assert entity_identifier(read.composite(1), "FILL") == identifier


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - the offset comes with the zone
    st.sampled_from([NEW_YORK, UTC, timezone(timedelta(hours=-3, minutes=-30))]),
)
def test_an_instant_comes_back_to_the_second(naive: datetime, zone: timezone) -> None:
    at = naive.replace(tzinfo=zone)
    assert instant_of(stamp(at, zone), UTC) == at.astimezone(UTC).replace(microsecond=0)


def test_a_key_has_one_control_id_that_every_version_has_room_for() -> None:
    assert control_id_of("k1") == control_id_of("k1") != control_id_of("k2")
    assert len(control_id_of("k" * 500)) == 20
    assert control_id_of("k1").isalnum()


def test_a_key_that_tells_its_time_gives_the_message_its_own() -> None:
    key = uuid7()
    now = datetime.now(UTC)
    at = made_at(str(key), now)
    assert now - timedelta(seconds=10) < at <= now
    assert made_at(str(key), now + timedelta(days=3)) == at


@pytest.mark.parametrize("key", ["", "appointment-1", str(UUID(int=0)), "5b0e6f3e-4c1d-4c0e-9a55-0f1b6f1f7a11"])
def test_a_key_that_tells_no_time_gives_the_present(key: str) -> None:
    assert made_at(key, NOW) == NOW


def test_hl7apy_reads_the_same() -> None:
    raw = built(f1="a|b")
    read = parse_message(raw.decode(), validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
    assert read.msh.msh_10.value == "ID1"
    assert read.msh.msh_7.value == "20261123100000-0500"
