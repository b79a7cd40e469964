"""Finding a patient: by two identifiers, an id or a number; never by likeness, and never without a trace."""

from uuid import UUID, uuid4

import pytest

from connectors.api import Identifier, MergeFacts, PatientFacts, Version
from hub.api.identify import NAME_WORDS, name_keys
from hub.security.access import Scope
from tests.hub.api.office import Office, number, phones, subjects_of


async def found(office: Office, **query: str) -> list[UUID]:
    async with office.http(office.worker("front-desk")) as http:
        answer = await http.get("/v1/patients", params=query)
    assert answer.status_code == 200, answer.text
    return [UUID(item["id"]) for item in answer.json()["items"]]


async def test_a_whole_name_is_found_with_its_birth_date(office: Office) -> None:
    mark = "".join(chr(ord("a") + int(digit, 16)) for digit in uuid4().hex[:6])
    who = office.patient(family=f"Peñalosada {mark}", given="Nicanora", birth_date="1971-03-04")
    for written in (f"Peñalosada-{mark}, Nicanora", f"nicanora penalosada {mark}", f"PEÑALOSADA {mark} NICANORA"):
        assert await found(office, name=written, birth_date="1971-03-04") == [who]
        assert await found(office, name=written, birth_date="1971-03-05") == []
    assert await found(office, name="Peñalosada, Nicanora", birth_date="1971-03-04") == []


async def test_a_birth_date_is_never_shown(office: Office) -> None:
    calls_from = number()
    office.patient(**phones(calls_from))
    async with office.http(office.worker("provider")) as http:
        answer = await http.get("/v1/patients", params={"phone": calls_from})
    (item,) = answer.json()["items"]
    assert "1980" not in answer.text
    assert item.keys() == {
        *("id", "family", "given", "language", "external_ids", "phones", "active", "deceased"),
    }
    assert item["phones"] == [{"number": calls_from, "use": "mobile"}]


async def test_a_number_is_read_in_any_usual_form(office: Office) -> None:
    calls_from = number()
    one, two = office.patient(**phones(calls_from)), office.patient(**phones(calls_from), given="Luis")
    area, rest = calls_from[2:5], calls_from[5:]
    for written in (calls_from, f"({area}) {rest[:3]}-{rest[3:]}", f"1-{area}-{rest}"):
        assert await found(office, phone=written) == sorted([one, two])
    assert await found(office, phone=calls_from, name="Rivera, Luis", birth_date="1980-02-03") == [two]


async def test_an_identifier_is_found_with_its_system(office: Office) -> None:
    value = uuid4().hex
    who = office.patient(ids=(Identifier(system="HARBOR", type="MR", value=value),))
    uri = office.patient(ids=(Identifier(system="urn:harbor", type="MR", value=value),))
    assert await found(office, identifier=f"HARBOR|{value}") == [who]
    assert await found(office, identifier=f"HARBOR|MR|{value}") == [who]
    assert await found(office, identifier=f"HARBOR|XX|{value}") == []
    assert await found(office, identifier=f"urn:harbor|{value}") == [uri]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"name": "Ana Rivera"},
        {"birth_date": "1980-02-03"},
        {"name": "Rivera,", "birth_date": "1980-02-03"},
        {"name": "Rivera", "birth_date": "1980-02-03"},
        {"name": "a " * (NAME_WORDS + 1), "birth_date": "1980-02-03"},
        {"identifier": "4711"},
        {"identifier": "|4711"},
        {"identifier": "HARBOR|MR|"},
        {"identifier": "a|b|c|d"},
        {"phone": "Rivera"},
        {"phone": "12"},
    ],
)
async def test_a_search_for_nothing_is_refused_without_repeating_it(office: Office, query: dict[str, str]) -> None:
    async with office.http(office.worker("front-desk")) as http:
        answer = await http.get("/v1/patients", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "search-invalid")
    assert "4711" not in answer.text
    assert "Rivera" not in answer.text


async def test_who_was_found_and_who_looked_in_vain_is_on_record(office: Office) -> None:
    calls_from = number()
    who = office.patient(**phones(calls_from))
    agent = office.worker("billing")
    async with office.http(agent) as http:
        hit = await http.get("/v1/patients", params={"phone": calls_from})
        miss = await http.get("/v1/patients", params={"phone": number()})
    (opened,) = office.audited(hit)
    assert (opened["act"], opened["actor"], subjects_of(opened)) == ("unwrap", str(agent.id), {who})
    (looked,) = office.audited(miss)
    assert (looked["act"], looked["actor"], looked["detail"]) == ("patient.search", str(agent.id), {"found": 0})


async def test_pages_follow_each_other_without_a_gap(office: Office) -> None:
    home = number()
    family = [office.patient(**phones(home), given=f"Child {index}") for index in range(5)]
    seen: list[UUID] = []
    cursor: dict[str, str] = {}
    async with office.http(office.worker("front-desk")) as http:
        for expected in (2, 2, 1):
            page = (await http.get("/v1/patients", params={"phone": home, "limit": 2, **cursor})).json()
            assert len(page["items"]) == expected
            seen += [UUID(item["id"]) for item in page["items"]]
            cursor = {"cursor": page["next"]} if page["next"] else {}
    assert not cursor
    assert seen == family


async def test_a_restricted_patient_is_as_one_who_is_not_there(office: Office) -> None:
    calls_from = number()
    who = office.patient(**phones(calls_from))
    office.restrict(who)
    assert await found(office, phone=calls_from) == []
    async with office.http(office.worker("provider")) as http:
        hidden, missing = await http.get(f"/v1/patients/{who}"), await http.get(f"/v1/patients/{uuid4()}")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["code"] == missing.json()["code"] == "not-found"


async def test_a_merged_record_leads_to_the_survivor(office: Office) -> None:
    ids = [Identifier(system="urn:harbor", type="MR", value=uuid4().hex) for _ in range(2)]
    survivor, merged = (office.patient(ids=(each,)) for each in ids)
    version = Version(at=office.now, tag="2")
    office.tell(MergeFacts(survivor=PatientFacts(ids=(ids[0],), version=version), merged=(ids[1],), version=version))
    async with office.http(office.worker("front-desk")) as http:
        assert (await http.get(f"/v1/patients/{merged}")).json()["id"] == str(survivor)


async def test_a_token_without_numbers_sees_a_patient_without_them(office: Office) -> None:
    who = office.patient(**phones(number()))
    async with office.http(office.worker("front-desk", scopes=[Scope.PATIENTS_READ])) as http:
        assert (await http.get(f"/v1/patients/{who}")).json()["phones"] == []


def test_a_name_without_a_comma_is_read_both_ways(office: Office) -> None:
    index = office.instance.index
    keys = name_keys(index, "Ana María Ruiz")
    assert keys[0] == index.name("María Ruiz", "Ana")
    assert set(keys) == {
        index.name(family, given)
        for family, given in [
            ("María Ruiz", "Ana"),
            ("Ruiz", "Ana María"),
            ("Ana", "María Ruiz"),
            ("Ana María", "Ruiz"),
        ]
    }
