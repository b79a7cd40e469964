# ruff: noqa: DTZ001 - times without a zone are what some of this is about
"""What the kit does to answers and messages does what it says, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import AppointmentFacts, AppointmentStatus, Identifier, PatientFacts, Phone, Version
from connectors.kit import er7
from connectors.kit.expect import difference, goes_by
from connectors.kit.ledger import Ledger, differing
from connectors.kit.mutation import (
    changes_of_clocks,
    instead_of,
    paths_in,
    put,
    records_in,
    time_in,
    with_records,
    without_zone,
)
from connectors.kit.telephone import Numbers, each_text, ways

ZONE = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
PHONE = "+15554364287"


def test_the_longest_list_of_objects_is_that_of_the_records() -> None:
    answer: dict[str, Any] = {"links": [{"a": 1}], "data": {"rows": [{"id": "1", "name": "long"}]}, "tags": ["x"] * 99}
    assert records_in(answer) == [{"id": "1", "name": "long"}]
    assert records_in(answer, "links") == [{"a": 1}]
    assert records_in(answer, "data.rows") == [{"id": "1", "name": "long"}]
    assert records_in([{"id": "1"}]) == [{"id": "1"}]
    assert records_in({"id": "1"}) is None
    assert records_in(answer, "nothing.here") is None


def test_a_changed_list_leaves_the_recording_alone() -> None:
    answer = {"rows": [{"id": "1"}, {"id": "2"}]}
    assert with_records(answer, "", lambda rows: rows[::-1]) == {"rows": [{"id": "2"}, {"id": "1"}]}
    assert answer == {"rows": [{"id": "1"}, {"id": "2"}]}


def test_every_field_is_found_once_and_set_wherever_it_stands() -> None:
    record: dict[str, Any] = {"id": "1", "name": [{"family": "A", "given": ["B"]}, {"family": "C"}]}
    assert list(paths_in(record)) == [("id",), ("name",), ("name", "family"), ("name", "given")]
    assert put(record, ("name", "family"), None)
    assert record["name"] == [{"family": None, "given": ["B"]}, {"family": None}]
    assert not put(record, ("name", "suffix"), None)


def test_a_time_with_an_offset_becomes_local_and_the_same_instant() -> None:
    shorn = without_zone(ZONE)
    assert shorn("2026-11-24T14:00:00Z") == "2026-11-24T09:00:00"
    assert shorn("2026-07-24T14:00:00.250+02:00") == "2026-07-24T08:00:00.250000"
    for kept in ("2026-11-24T09:00:00", "2026-11-24", "at 2026-11-24T14:00:00Z", "ge2026-11-24T14:00:00Z"):
        assert shorn(kept) == kept
    assert time_in("2026-11-24T09:00", ZONE) == datetime(2026, 11, 24, 14, tzinfo=UTC)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)))
def test_a_shorn_time_names_the_instant_or_the_other_of_the_same_hour(at: datetime) -> None:
    instant = at.replace(tzinfo=UTC, microsecond=0)
    back = time_in(without_zone(ZONE)(instant.isoformat()), ZONE)
    assert back is not None
    assert instant in {back.replace(fold=fold).astimezone(UTC) for fold in (0, 1)}


def test_a_start_is_moved_wherever_it_stands_and_nothing_else() -> None:
    moved = instead_of({datetime(2026, 11, 24, 14, tzinfo=UTC)}, datetime(2027, 3, 14, 2, 30), ZONE)
    assert moved("2026-11-24T14:00:00Z") == "2027-03-14T02:30:00"
    assert moved("2026-11-24T09:00:00") == "2027-03-14T02:30:00"
    assert moved("2026-11-24T14:30:00Z") == "2026-11-24T14:30:00Z"


def test_clocks_change_twice_a_year_or_not_at_all() -> None:
    assert changes_of_clocks(ZONE, NOW) == [
        (datetime(2027, 3, 14, 7, tzinfo=UTC), timedelta(hours=1)),
        (datetime(2027, 11, 7, 6, tzinfo=UTC), timedelta(hours=-1)),
    ]
    assert changes_of_clocks(ZoneInfo("America/Phoenix"), NOW) == []


def test_known_numbers_are_seen_in_any_way_of_writing_and_no_others() -> None:
    numbers = Numbers([PHONE])
    for way in (*ways(PHONE), "1-555-436-4287", "555.436.4287", "+1 (555) 436-4287"):
        assert numbers.neutral(f"FIND {{{way}}}") == f"FIND {{<{PHONE}>}}", way
    for other in ("15554364288", "2026-11-24T14:00:00Z", "555436428", "95554364287", "55543642870"):
        assert numbers.neutral(other) == other
    assert numbers.rewritten("call 5554364287", 3) == "call (555) 436-4287"
    assert numbers.rewritten(PHONE, 0, {PHONE: "+15554369911"}) == "+15554369911"
    assert ways("+442079460018")[1:] == ("2079460018", "+44 20 7946 0018", "020 7946 0018")


def test_texts_change_and_names_do_not() -> None:
    assert each_text({"a": ["a", 1, None, {"a": "a"}]}, str.upper) == {"a": ["A", 1, None, {"a": "A"}]}


MESSAGE = (
    b"MSH|^~\\&|A|B|C|D|20261120090000-0500||SIU^S12|M1|P|2.5.1\rSCH|1|2|||||||||^^^202612010930\rPID|||17||Moreno^Ana"
)


def test_times_of_a_message_are_shorn_and_moved() -> None:
    assert er7.without_zone(MESSAGE, ZONE) == MESSAGE.replace(b"20261120090000-0500", b"20261120090000")
    assert er7.without_zone(MESSAGE, ZoneInfo("UTC")) == MESSAGE.replace(b"20261120090000-0500", b"20261120140000")
    starts = {datetime(2026, 12, 1, 14, 30, tzinfo=UTC)}
    local = datetime(2027, 3, 14, 2, 30)
    assert er7.moved(MESSAGE, starts, local, ZONE) == MESSAGE.replace(b"202612010930", b"202703140230")


def test_an_escape_stands_within_the_name_alone() -> None:
    assert er7.escaped(MESSAGE, "Moreno", "T") == (MESSAGE.replace(b"Moreno", b"Mo\\T\\reno"), "Mo&reno")
    assert er7.escaped(MESSAGE, "Moren", "T") is None
    assert er7.with_endings(MESSAGE, b"\r\n") == MESSAGE.replace(b"\r", b"\r\n")


def test_damage_is_cuts_and_fields_of_every_segment() -> None:
    found = list(er7.damaged(MESSAGE, 10))
    assert MESSAGE[: len(MESSAGE) // 10] in found
    assert MESSAGE.replace(b"Moreno^Ana", b"") in found
    assert MESSAGE.replace(b"|17|", b'|""|') in found
    assert all(one != MESSAGE for one in found[:10])


def visit(minute: int, status: str, reason: str | None = None) -> AppointmentFacts:
    return AppointmentFacts(
        ids=(Identifier(system="v", value="1"),),
        version=Version(at=NOW + timedelta(minutes=minute), tag=str(minute)),
        status=AppointmentStatus(status),
        reason=reason,
        patient=PatientFacts(ids=(Identifier(system="p", value="17"),), version=Version(at=NOW, tag=""), family="A"),
    )


TOLD = [visit(1, "booked", "Knee pain"), visit(2, "arrived"), visit(3, "cancelled"), visit(3, "cancelled")]


@given(st.permutations(TOLD))
def test_the_record_is_the_same_in_whatever_order_it_was_told(told: list[AppointmentFacts]) -> None:
    record = Ledger(told)
    assert record.counts() == {"appointment": 1, "patient": 1}
    (kept,) = [entry for entry in record if entry.name == "appointment"]
    assert (kept.values["status"], kept.values["reason"]) == (AppointmentStatus.CANCELLED, "Knee pain")
    assert differing(record, Ledger(reversed(told))) == []
    assert differing(record, Ledger(TOLD[:2])) == [kept.key]


def test_what_only_changes_a_known_appointment_makes_none() -> None:
    assert Ledger([visit(1, "cancelled").model_copy(update={"creates": False})]).counts() == {}


@pytest.mark.parametrize(
    ("expected", "path"),
    [
        ({"status": "booked", "patient": {"family": "A", "ids": ["17"]}}, None),
        ({"patient": {"ids": ["p|17"]}}, None),
        ({"status": "arrived"}, "status"),
        ({"patient": {"family": "B"}}, "patient.family"),
        ({"patient": {"ids": ["p|18"]}}, "patient.ids"),
        ({"patient": {"phones": [PHONE]}}, "patient.phones"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_difference_is_named_by_its_path(expected: dict[str, Any], path: str | None) -> None:
    assert difference(expected, visit(1, "booked")) == path


def test_numbers_and_identifiers_compare_as_a_case_writes_them() -> None:
    assert difference([PHONE], (Phone(e164=PHONE),)) is None
    assert difference(["+15554369911"], (Phone(e164=PHONE),)) is not None
    assert goes_by("17", {"p|17"})
    assert goes_by("p|17", {"p|17"})
    assert not goes_by("7", {"p|17"})
