"""What ADT messages say of patients."""

from datetime import UTC, date, datetime

import pytest

from connectors.api import Change, Identifier, MergeFacts, PatientFacts, RejectedError
from connectors.hl7v2.adt import MERGES, TELLS
from tests.connectors.hl7v2.sample import ADT, NEW_YORK, adt, connector, fields

MRN = Identifier(system="urn:oid:2.16.840.1.113883.19.5", value="MRN77", type="MR")


def read(raw: bytes, **settings: object) -> list[Change]:
    return list(connector(**settings).read(raw, timezone=NEW_YORK, region="US"))


def patient(raw: bytes) -> PatientFacts:
    (said,) = read(raw)
    assert isinstance(said, PatientFacts)
    return said


@pytest.mark.parametrize("event", sorted(TELLS))
def test_a_snapshot_of_the_patient(event: str) -> None:
    said = patient(adt(event))
    assert said.ids == (MRN,)
    assert (said.family, said.given, said.birth_date, said.sex) == ("Rivera", "Ana", date(1979, 5, 15), "female")
    assert [(phone.e164, phone.use) for phone in said.phones] == [("+12075550142", "home"), ("+12075550143", "mobile")]
    assert (said.language, said.postal_code, said.state, said.deceased) == ("es", "04101", "ME", None)
    assert said.version.at == datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
    assert said.version.tag == "M0002"
    assert said.cleared == frozenset()


@pytest.mark.parametrize("event", ["A09", "A11", "A20", "A29", "A41", "A44", "A60", "Z01"])
def test_other_events_say_nothing_that_matters_here(event: str) -> None:
    assert read(adt(event)) == []


def pid(**values: str) -> str:
    return fields("PID", **{"f3": "7^^^H^MR", **values})


def test_what_is_not_said_changes_nothing() -> None:
    said = patient(adt(PID=pid(f5="")))
    assert (said.family, said.given, said.birth_date, said.sex, said.phones) == (None, None, None, None, ())
    assert said.cleared == frozenset()


def test_what_is_deleted_is_said_to_be() -> None:
    null = '""'
    said = patient(adt(PID=pid(f5=null, f7=null, f8=null, f11=null, f13=null, f15=null, f30=null)))
    assert said.cleared == {
        "family", "given", "birth_date", "sex", "postal_code", "state", "phones", "language", "deceased",
    }  # fmt: skip


def test_numbers_are_deleted_only_where_none_is_left() -> None:
    said = patient(adt(PID=pid(f13='""', f14="207-555-0144")))
    assert [(phone.e164, phone.use) for phone in said.phones] == [("+12075550144", "work")]
    assert said.cleared == frozenset()


def test_a_part_that_is_deleted_is_empty() -> None:
    said = patient(adt(PID=pid(f5='Rivera^""', f11='""^^Portland^ME^""')))
    assert (said.given, said.postal_code, said.state) == (None, None, "ME")


def test_the_legal_name_is_taken_among_several() -> None:
    assert patient(adt(PID=pid(f5="Ana^Annie^^^^^A~Rivera^Ana^^^^^L"))).family == "Rivera"
    assert patient(adt(PID=pid(f5="Rios^Ana~Rivera^Ana"))).family == "Rios"


@pytest.mark.parametrize(
    ("died", "flag", "expected"),
    [("", "", None), ("", "N", False), ("", "N ", False), ("", "Y", True), ("20260101", "", True), ("", "NO", None)],
)
def test_whether_the_patient_died(died: str, flag: str, expected: bool | None) -> None:
    assert patient(adt(PID=pid(f29=died, f30=flag))).deceased is expected


@pytest.mark.parametrize(
    ("code", "sex"), [("M", "male"), ("f ", "female"), ("A", "other"), ("U", "unknown"), ("1", None), ("", None)]
)
def test_sexes(code: str, sex: str | None) -> None:
    assert patient(adt(PID=pid(f8=code))).sex == sex


def test_older_fields_for_ids_count_where_they_name_an_assigner() -> None:
    said = patient(adt(PID=fields("PID", f2="X1", f3="7^^^H^MR", f4="Y2^^^LAB^PI~7^^^H^MR")))
    assert said.ids == (
        Identifier(system="H", value="7", type="MR"),
        Identifier(system="LAB", value="Y2", type="PI"),
    )


@pytest.mark.parametrize("kind", ["SS", "DL", "TAX", "MB", "AN", "VN", "ss"])
def test_numbers_that_name_no_single_patient_are_left_out(kind: str) -> None:
    assert patient(adt(PID=pid(f3=f"999999999^^^X^{kind}~7^^^H^MR"))).ids == (
        Identifier(system="H", value="7", type="MR"),
    )
    with pytest.raises(RejectedError, match="patient-id-missing"):
        read(adt(PID=pid(f3=f"999999999^^^X^{kind}")))


@pytest.mark.parametrize("cx", ["^^^H^MR", " ^^^H^MR", '""^^^H^MR', "1^^^SSA&2.16.840.1.113883.4.1&ISO"])
def test_what_names_nobody_is_left_out(cx: str) -> None:
    assert patient(adt(PID=pid(f3=f"{cx}~7^^^H^MR"))).ids == (Identifier(system="H", value="7", type="MR"),)


def test_an_older_id_stands_alone_where_there_is_no_other() -> None:
    assert patient(adt(PID=fields("PID", f2="X1", f5="Rivera"))).ids == (Identifier(system="", value="X1"),)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (adt(PID=None), "segment-missing (PID)"),
        (adt(PID=fields("PID", f5="Rivera^Ana")), "patient-id-missing (PID-3)"),
        (adt(PID=fields("PID", f3='""')), "patient-id-missing (PID-3)"),
        (adt(MSH=ADT["MSH"].replace("20260302090000-0500", "")), "message-time-missing (MSH-7)"),
        (adt(MSH=ADT["MSH"].replace("20260302090000-0500", "then")), "message-time-invalid (MSH-7)"),
        (adt(MSH=ADT["MSH"].replace("ADT^A08^ADT_A01", "")), "message-type-missing (MSH-9)"),
        (adt(MSH=ADT["MSH"].replace("ADT^A08^ADT_A01", "{}")), "message-type-invalid (MSH-9)"),
        (adt("A40"), "segment-missing (MRG)"),
        (adt("A40", PID=None, MRG="MRG|8^^^H"), "segment-missing (PID)"),
        (adt("A40", MRG="MRG|"), "patient-id-missing (MRG-1)"),
        (adt("A40", MRG="MRG|8^^^H^MR") + b"PID|||9^^^H^MR\r", "segment-missing (MRG)"),
        (adt("A40", PID=pid(), ZID=pid(), MRG="MRG|8^^^H^MR"), "segment-missing (MRG)"),
        (adt("A24", ZID=pid()), "patients-linked (MSH-9)"),
        (adt("A37", ZID=pid()), "patients-unlinked (MSH-9)"),
        (adt("A40", PID=pid(), MRG="MRG|7^^^H^MR"), "patient-id-missing (MRG-1)"),
        (b"not HL7 at all", "not-hl7 (MSH)"),
    ],
)
def test_what_is_not_understood_has_a_stable_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(RejectedError) as caught:
        read(raw)
    assert str(caught.value) == reason


@pytest.mark.parametrize("event", sorted(MERGES))
def test_two_records_turn_out_to_be_one_person(event: str) -> None:
    (said,) = read(adt(event, MRG="MRG|MRN12^^^HARBOR^MR~MRN13^^^HARBOR^MR"))
    assert isinstance(said, MergeFacts)
    assert said.survivor.ids == (MRN,)
    assert [identifier.value for identifier in said.merged] == ["MRN12", "MRN13"]
    assert said.version.tag == "M0002"


def test_one_message_may_merge_several_patients() -> None:
    raw = adt("A40", PID=pid(), MRG="MRG|8^^^H^MR") + b"PID|||9^^^H^MR\rPD1|\rMRG|10^^^H^MR\r"
    said = read(raw)
    assert [(fact.survivor.ids[0].value, fact.merged[0].value) for fact in said if isinstance(fact, MergeFacts)] == [
        ("7", "8"),
        ("9", "10"),
    ]


@pytest.mark.parametrize(
    "version",
    ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.2", "", "2.5^USA"],
)
def test_every_version_is_read(version: str) -> None:
    header = ADT["MSH"].replace("|P|2.5.1", f"|P|{version}")
    for msh in (header, header.replace("ADT^A08^ADT_A01", "ADT^A08"), header.replace("ADT^A08^ADT_A01", "ADT")):
        assert patient(adt(MSH=msh)).family == "Rivera"


def test_several_records_may_turn_out_to_be_one_person() -> None:
    (said,) = read(adt("A40", PID=pid(), MRG="MRG|8^^^H^MR") + b"MRG|10^^^H^MR\rMRG|8^^^H^MR\r")
    assert isinstance(said, MergeFacts)
    assert said.survivor.ids[0].value == "7"
    assert [identifier.value for identifier in said.merged] == ["8", "10"]


@pytest.mark.parametrize(
    ("mrg", "merged"),
    [
        ("MRG||||12", ["12"]),
        ("MRG||11||12", ["11", "12"]),
        ("MRG|8^^^H^MR|||12", ["8"]),  # it may be anybody's 12
        ("MRG|8^^^H^MR|||12^^^H^MR", ["8", "12"]),
        ("MRG|A1^^^H^AN|||12^^^H^MR", ["12"]),
        ("MRG|8^^^H^MR|||8^^^H^MR", ["8"]),
    ],
)
def test_the_record_that_ends_may_stand_in_an_older_field(mrg: str, merged: list[str]) -> None:
    (said,) = read(adt("A39", PID=pid(), MRG=mrg))
    assert isinstance(said, MergeFacts)
    assert [identifier.value for identifier in said.merged] == merged


def test_two_messages_of_one_second_are_in_order() -> None:
    first, second = (
        patient(adt(MSH=ADT["MSH"].replace("20260302090000-0500", f"20260302090000.{fraction}-0500")))
        for fraction in ("0100", "0999")
    )
    assert first.version.at < second.version.at


@pytest.mark.parametrize(
    ("pd1", "restricted"),
    [(fields("PD1", f12="Y"), True), ("PD1|||||||||||" + "|n", False), (fields("PD1", f12='""'), False),
     (fields("PD1", f12="X"), None), ("PD1|", None), (None, None)],
)  # fmt: skip
def test_a_chart_may_be_closed(pd1: str | None, restricted: bool | None) -> None:
    assert patient(adt(PD1=pd1)).restricted is restricted


def test_a_mere_date_in_the_header_is_its_midnight() -> None:
    said = patient(adt(MSH=ADT["MSH"].replace("20260302090000-0500", "20260302")))
    assert said.version.at == datetime(2026, 3, 2, 5, 0, tzinfo=UTC)


def test_other_message_types_say_nothing_and_need_nothing() -> None:
    for kind in ("ORU^R01", "ACK", "MDM^T02", "ZZZ^Z99"):
        assert read(f"MSH|^~\\&|A|B|C|D|||{kind}|1|P|2.5\r".encode()) == []


def test_every_message_of_a_frame_is_read() -> None:
    assert len(read(adt() + adt("A04"))) == 2
    with pytest.raises(RejectedError):
        read(adt() + adt("A04", PID=None))


def test_a_source_may_mean_another_event() -> None:
    assert len(read(adt("A29"), events={"A29": "A08"})) == 1
    assert read(adt("A08"), events={"A08": "A60"}) == []


def test_the_source_s_zone_reads_times_without_an_offset() -> None:
    raw = adt(MSH=ADT["MSH"].replace("-0500", ""))
    (said,) = read(raw, timezone="America/Los_Angeles")
    assert isinstance(said, PatientFacts)
    assert said.version.at == datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
