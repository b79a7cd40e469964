"""Who may call for a patient, as NK1 tells it."""

import pytest

from connectors.api import Identifier, PatientFacts, RelatedFacts
from tests.connectors.hl7v2.sample import NEW_YORK, adt, connector, fields, siu


def related(*lines: str, event: str = "A08") -> list[RelatedFacts]:
    patient, *others = connector().read(
        adt(event) + "".join(f"{line}\r" for line in lines).encode(), timezone=NEW_YORK, region="US"
    )
    assert isinstance(patient, PatientFacts)
    for other in others:
        assert isinstance(other, RelatedFacts)
        assert other.patient_ids == patient.ids
        assert other.version == patient.version
    return [other for other in others if isinstance(other, RelatedFacts)]


def nk1(number: str = "1", /, **values: str) -> str:
    return fields("NK1", **{"f1": number, "f2": "Rivera^Luz", "f3": "MTH^Mother^HL70063", **values})


def test_a_relation() -> None:
    (mother,) = related(nk1(f5="(207) 555-0150^PRN^PH~207-555-0151^^CP", f6="207-555-0152", f40="207-555-0153^WPN"))
    assert mother.ids == (Identifier(system="hl7v2/NK1", value="urn:oid:2.16.840.1.113883.19.5/MR/MRN77/1"),)
    assert (mother.family, mother.given, mother.relationship, mother.active) == ("Rivera", "Luz", "Mother", True)
    assert [(phone.e164[-4:], phone.use) for phone in mother.phones] == [
        ("0150", "home"), ("0151", "mobile"), ("0152", "work"), ("0153", "work"),
    ]  # fmt: skip


def test_each_relation_has_an_id_that_stays() -> None:
    first = related(nk1("1"), nk1("2", f2="Rivera^Tomas", f3="FTH"))
    assert [one.ids[0].value[-2:] for one in first] == ["/1", "/2"]
    assert first[1].relationship == "FTH"
    again = related(nk1("2", f2="Rivera^Tomas", f3="FTH", f5="207-555-0154"), event="A31")
    assert again[0].ids == first[1].ids


def test_a_relation_without_a_number_is_known_by_its_place() -> None:
    assert [one.ids[0].value[-2:] for one in related(nk1(""), nk1("", f2="Rivera^Tomas"))] == ["/1", "/2"]


def test_a_number_that_is_given_twice_is_one_relation() -> None:
    assert [one.given for one in related(nk1("1"), nk1("1", f2="Rivera^Tomas"))] == ["Luz"]


def test_a_relation_may_have_an_id_of_its_own_and_still_has_one_for_each_patient() -> None:
    (mother,) = related(nk1("4", f33="999999999^^^X^SS~77~R9^^^HARBOR^PI"))
    assert mother.ids == (Identifier(system="hl7v2/NK1", value="urn:oid:2.16.840.1.113883.19.5/MR/MRN77/HARBOR/PI/R9"),)
    raw = adt(PID=fields("PID", f3="8^^^HARBOR^MR")) + nk1("4", f33="R9^^^HARBOR^PI").encode() + b"\r"
    _, again = connector().read(raw, timezone=NEW_YORK, region="US")
    assert isinstance(again, RelatedFacts)
    assert again.ids[0].value == "HARBOR/MR/8/HARBOR/PI/R9"


@pytest.mark.parametrize(
    "line",
    [
        "NK1|1",
        nk1(f3="SEL^Self"),
        nk1(f3="^self"),
        fields("NK1", f1="1", f3="MTH"),
        fields("NK1", f1="1", f3="MTH", f5="none"),
    ],
)
def test_what_names_nobody_or_the_patient_is_left_out(line: str) -> None:
    assert related(line) == []


def test_a_number_alone_is_somebody() -> None:
    (somebody,) = related(fields("NK1", f1="1", f5="207-555-0150"))
    assert (somebody.family, somebody.given, somebody.relationship) == (None, None, None)
    assert [phone.e164 for phone in somebody.phones] == ["+12075550150"]


@pytest.mark.parametrize(
    ("changed", "active"),
    [({"f9": "20260301"}, False), ({"f9": "20260302"}, True), ({"f9": "20271231"}, True), ({"f2": '""'}, False)],
)
def test_a_relation_may_have_ended(changed: dict[str, str], active: bool) -> None:
    assert [one.active for one in related(nk1(**changed))] == [active]


def test_relations_are_read_where_the_patient_is_told_and_nowhere_else() -> None:
    raw = siu() + nk1().encode() + b"\r"
    assert len(connector().read(raw, timezone=NEW_YORK, region="US")) == 1
