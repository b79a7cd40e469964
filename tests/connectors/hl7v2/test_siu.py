"""What SIU messages say of an appointment."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from connectors.api import AppointmentFacts, Change, Identifier, RejectedError
from connectors.hl7v2.siu import EVENTS
from tests.connectors.hl7v2.sample import NEW_YORK, SIU, connector, fields, siu

START = datetime(2026, 3, 10, 18, 30, tzinfo=UTC)


def read(raw: bytes, **settings: object) -> list[Change]:
    return list(connector(**settings).read(raw, timezone=NEW_YORK, region="US"))


def appointment(raw: bytes, **settings: object) -> AppointmentFacts:
    (said,) = read(raw, **settings)
    assert isinstance(said, AppointmentFacts)
    return said


def sch(**values: str) -> str:
    return fields("SCH", **{"f2": "F200", "f11": "^^^20260310143000", **values})


def test_a_booking() -> None:
    said = appointment(siu())
    assert said.ids == (
        Identifier(system="SCHED", value="P100", type="PLAC"),
        Identifier(system="SCHED", value="F200", type="FILL"),
    )
    assert (said.status, said.starts_at, said.minutes, said.creates) == ("booked", START, 30, True)
    assert (said.practitioner, said.location) == ("Ngozi Okafor", "HARBOR MAIN, EAST")
    assert (said.type, said.reason) == ("Routine visit", "Follow-up")
    assert said.version.at == datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
    assert said.version.tag == "M0001"
    assert said.patient is not None
    assert (said.patient.family, said.patient.version) == ("Rivera", said.version)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("S12", "booked"),
        ("S13", "booked"),
        ("S14", "booked"),
        ("S15", "cancelled"),
        ("S16", "cancelled"),
        ("S17", "entered-in-error"),
        ("S26", "noshow"),
    ],
)
def test_the_trigger_says_the_status(event: str, status: str) -> None:
    assert appointment(siu(event)).status == status


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("Pending", "pending"),
        ("Waitlist", "waitlist"),
        ("Booked", "booked"),
        ("Scheduled", "booked"),
        ("Overbook", "booked"),
        ("Started", "checked-in"),
        ("CHECKED-IN", "checked-in"),
        ("Complete", "fulfilled"),
        ("Cancelled^Cancelled", "cancelled"),
        ("X1^No Show", "noshow"),
        ("Dc", "cancelled"),
        ("Deleted", "entered-in-error"),
        ("Blocked", "booked"),
        ("something else", "booked"),
        ("", "booked"),
        ('""', "booked"),
    ],
)
def test_the_filler_status_says_more_of_an_open_appointment(code: str, status: str) -> None:
    for event in ("S12", "S13", "S14"):
        assert appointment(siu(event, SCH=sch(f25=code))).status == status
    assert appointment(siu("S15", SCH=sch(f25=code))).status == "cancelled"


@pytest.mark.parametrize("code", ["Confirmed", "CONFIRMED^Confirmed", "c1^Confirmed", "CONF"])
def test_a_patient_may_have_confirmed(code: str) -> None:
    for event in ("S12", "S14"):
        said = appointment(siu(event, SCH=sch(f25=code)), statuses={"CONF": "confirmed"})
        assert (said.status, said.confirmed) == ("booked", True)
    assert appointment(siu("S15", SCH=sch(f25=code))).confirmed is None
    assert appointment(siu(SCH=sch(f25="Booked"))).confirmed is None


def test_an_appointment_of_several_patients_is_one_for_each() -> None:
    others = {
        "PD1": "PD1|",
        "NX": "PID|||8^^^HARBOR^MR||Silva^Rui",
        "PD2": fields("PD1", f12="Y"),
        "N3": "PID|||8^^^HARBOR^MR",
    }
    said = read(siu("S12", **others))
    assert [
        (fact.ids[1].value, fact.patient.ids[0].value, fact.patient.restricted)
        for fact in said
        if isinstance(fact, AppointmentFacts) and fact.patient is not None
    ] == [("F200", "MRN77", None), ("F200/HARBOR/8", "8", True)]
    again = read(siu("S15", **others))
    assert [fact.ids for fact in again if isinstance(fact, AppointmentFacts)] == [
        fact.ids for fact in said if isinstance(fact, AppointmentFacts)
    ]


def test_only_an_unmatched_reschedule_is_no_appointment_of_its_own() -> None:
    assert {event: appointment(siu(event)).creates for event in EVENTS} == {event: event != "S13" for event in EVENTS}


def test_a_source_s_own_codes_and_events_hold_above_the_standard() -> None:
    assert appointment(siu(SCH=sch(f25="CONF")), statuses={"conf": "arrived"}).status == "arrived"
    assert appointment(siu(SCH=sch(f25="CONF")), statuses={"CONF": "arrived"}).status == "arrived"
    assert appointment(siu("S14"), events={"S14": "S26"}).status == "noshow"


@pytest.mark.parametrize("event", ["S18", "S20", "S22", "S23", "S24", "S27"])
def test_other_events_say_nothing_that_matters_here(event: str) -> None:
    assert read(siu(event, SCH=None)) == []


NO_TIME = {"SCH": sch(f11=""), "AIL": None, "AIP": None}


@pytest.mark.parametrize(
    ("changed", "minutes"),
    [
        ({"SCH": sch(f11="^^^20260310143000^20260310145500")}, 25),
        ({"SCH": sch(f11="^^^20260310143000", f9="45", f10="min"), "AIL": None, "AIP": None}, 45),
        ({"SCH": sch(f11="^^^202603101430-0400")}, 30),
        ({"SCH": sch(f11="^^^202603101130-0700^202603101200-0700")}, 30),
        ({"SCH": sch(f11="^^^20260310143000^20260319143000", f9="40")}, 40),
        ({"SCH": sch(f11="^^^20260310143000~^^^20260311143000"), "AIL": None, "AIP": None}, None),
        ({**NO_TIME, "TQ1": "TQ1|1||||||20260310143000|20260310151500"}, 45),
        ({**NO_TIME, "AIS": "AIS|1|A|FU|20260310143000|||20|min"}, 20),
        ({**NO_TIME, "AIG": "AIG|1|A|R|||||20260310143000|||20|min"}, 20),
        ({**NO_TIME, "AIL": "AIL|1|A|EAST|||20260310143000|||20|min"}, 20),
        ({**NO_TIME, "AIP": "AIP|1|A|12^Okafor|||20260310143000|||20|min"}, 20),
        ({**NO_TIME, "SCH": sch(f11="", f9="50"), "AIP": "AIP|1|A|12|||20260310143000"}, 50),
        ({"SCH": sch(f11="^^^20260310")}, 30),
    ],
)
def test_start_and_length_are_found_where_the_sender_put_them(changed: dict[str, str | None], minutes: int) -> None:
    said = appointment(siu(**changed))
    assert (said.starts_at, said.minutes) == (START, minutes)


def test_the_header_s_offset_holds_for_times_without_one() -> None:
    raw = siu(MSH=SIU["MSH"].replace("20260302090000", "20260302090000-0800"))
    assert appointment(raw).starts_at == datetime(2026, 3, 10, 22, 30, tzinfo=UTC)


def test_the_source_s_zone_stands_above_the_practice_s() -> None:
    said = appointment(siu(), timezone="America/Chicago")
    assert said.starts_at == datetime(2026, 3, 10, 19, 30, tzinfo=UTC)


def test_a_start_is_needed_for_a_booking_only() -> None:
    for event in ("S12", "S13"):
        with pytest.raises(RejectedError, match="appointment-start-missing"):
            read(siu(event, **NO_TIME))
    for event in EVENTS - {"S12", "S13"}:
        assert appointment(siu(event, **NO_TIME)).starts_at is None


def test_either_id_may_be_missing_but_not_both() -> None:
    assert [found.type for found in appointment(siu(SCH=sch())).ids] == ["FILL"]
    assert [found.type for found in appointment(siu(SCH=sch(f1="P1", f2=""))).ids] == ["PLAC"]
    with pytest.raises(RejectedError, match="appointment-id-missing"):
        read(siu(SCH=sch(f2="^SCHED")))


def test_placer_and_filler_numbers_are_not_mixed_up() -> None:
    placed = appointment(siu(SCH=sch(f1="7", f2="")))
    filled = appointment(siu(SCH=sch(f2="7")))
    assert not set(placed.ids) & set(filled.ids)


def test_an_appointment_without_a_patient_is_one_all_the_same() -> None:
    assert appointment(siu(PID=None)).patient is None
    assert appointment(siu(PID="PID|1||||Rivera^Ana")).patient is None


def test_the_practitioner_and_the_place_are_found_where_the_sender_put_them() -> None:
    bare = {"AIP": None, "AIL": None}
    said = appointment(siu(SCH=sch(f16="9^Silva^Rui"), **bare))
    assert (said.practitioner, said.location) == ("Rui Silva", "HARBOR, CLINIC")
    assert appointment(siu(SCH=sch(), **bare)).practitioner == "Per Lindqvist"
    nothing = appointment(siu(SCH=sch(), PV1=None, **bare))
    assert (nothing.practitioner, nothing.location, nothing.type, nothing.reason) == (None, None, None, None)


def test_without_its_segment_a_message_is_not_understood() -> None:
    with pytest.raises(RejectedError, match="segment-missing"):
        read(siu(SCH=None))


def test_a_message_cut_anywhere_is_read_or_refused() -> None:
    whole = siu()
    for end in range(len(whole)):
        with suppress(RejectedError):  # anything else fails the test
            read(whole[:end])
