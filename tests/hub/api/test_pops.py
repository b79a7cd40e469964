"""Pops: two stages, each look on record, nothing beyond what role and moment allow."""

from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

import pytest

from hub.record import pop
from hub.record.call import Call
from hub.record.pop import Pop
from hub.security.access import MASKED, Scope, fields_for
from hub.settings.practice import Role
from tests.hub.api.office import DID, Office, number, phones, subjects_of

RIGHT = {"name": "Ana Rivera", "birth_date": "1980-02-03"}
WRONG = {"name": "Ana Rivera", "birth_date": "1980-02-04"}
AGENTS: list[Role] = [role for role in get_args(Role) if fields_for(role, "masked")]
FRAME = {"stage", "call", "patient", "verified", "chart"}
"What a pop says of itself, not of the caller."


async def test_before_verification_nobody_is_named(office: Office) -> None:
    agent, calls_from = office.worker("front-desk"), number()
    who = office.patient(**phones(calls_from))
    office.task(who)
    token = office.pop(agent, calls_from)
    office.later(seconds=7)
    async with office.http(agent) as http:
        answer = await http.get(f"/v1/pops/{token}")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown.keys() == MASKED | {"stage", "call"}
    assert (shown["stage"], shown["match"], shown["candidates"], shown["open_tasks"]) == ("masked", "one", 1, 1)
    assert (shown["number"], shown["did"], shown["waited_seconds"]) == (calls_from, DID, 7)
    for personal in ("Ana", "Rivera", "1980", str(who)):
        assert personal not in answer.text


async def test_both_looks_stand_in_the_audit_log(office: Office) -> None:
    agent, calls_from = office.worker("front-desk"), number()
    who = office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        masked = await http.get(f"/v1/pops/{token}")
        verified = await http.post(f"/v1/pops/{token}/verify", json=RIGHT)
        full = await http.get(f"/v1/pops/{token}")
    for answer in (masked, verified, full):
        looked = [record for record in office.audited(answer) if record["act"] == "unwrap"]
        assert looked
        assert {(record["actor"], record["role"], record["purpose"]) for record in looked} == {
            (str(agent.id), "front-desk", "treatment")
        }
        assert set().union(*(subjects_of(record) for record in looked)) == {who}


async def test_name_and_birth_date_open_the_full_stage(office: Office) -> None:
    agent, calls_from = office.worker("front-desk"), number()
    who = office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        answer = await http.post(f"/v1/pops/{token}/verify", json=RIGHT)
        again = await http.get(f"/v1/pops/{token}")
    shown = answer.json()
    assert (shown["verified"], shown["stage"], shown["patient"], shown["name"]) == (
        True,
        "full",
        str(who),
        "Ana Rivera",
    )
    (visit,) = shown["appointments"]
    assert (visit["practitioner"], visit["type"], visit["status"]) == ("Dr. Lindqvist", "Checkup", "booked")
    assert visit["starts_at"] == (office.now + timedelta(days=10)).isoformat().replace("+00:00", "Z")
    assert [contact["medium"] for contact in shown["contacts"]] == ["phone"]
    assert again.json() == {key: value for key, value in shown.items() if key != "verified"}
    assert "1980" not in answer.text + again.text
    with office.instance.db.read() as db:
        bound = db.get_one(Call, UUID(shown["call"]))
    assert (bound.patient_id, bound.verified_at) == (who, office.now)


@pytest.mark.parametrize("role", AGENTS)
async def test_a_role_sees_its_fields_and_no_other(office: Office, role: Role) -> None:
    agent, calls_from = office.worker(role), number()
    office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        masked = (await http.get(f"/v1/pops/{token}")).json()
        verified = (await http.post(f"/v1/pops/{token}/verify", json=RIGHT)).json()
        full = (await http.get(f"/v1/pops/{token}")).json()
    assert masked.keys() - FRAME == fields_for(role, "masked")
    in_the_record = {"name", "language", "appointments", "requests", "tasks", "contacts", "links"}
    for shown in (verified, full):
        assert shown.keys() - FRAME == fields_for(role, "full") & in_the_record
        assert ("chart" in shown) == bool(fields_for(role, "full") - in_the_record)
        assert shown.get("chart", {"missing": "no-source"})["missing"] == "no-source"


@pytest.mark.parametrize("role", sorted(set(get_args(Role)) - set(AGENTS)))
async def test_who_takes_no_calls_opens_no_pop(office: Office, role: Role) -> None:
    agent = office.worker(role)
    token = office.pop(agent, number())
    async with office.http(agent) as http:
        answer = await http.get(f"/v1/pops/{token}")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")


async def test_two_roles_together_see_what_each_sees(office: Office) -> None:
    agent, calls_from = office.worker("front-desk", "billing"), number()
    office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        shown = (await http.post(f"/v1/pops/{token}/verify", json=RIGHT)).json()
    assert shown["appointments"]
    assert shown["chart"] == {"read_at": None, "missing": "no-source"}


async def test_a_token_that_may_not_see_numbers_sees_none(office: Office) -> None:
    agent = office.worker("front-desk", scopes=[Scope.POPS])
    token = office.pop(agent, number())
    vouched(office, token, "A")
    async with office.http(agent) as http:
        shown = (await http.get(f"/v1/pops/{token}")).json()
    assert (shown["number"], shown["attestation"]) == ("", None)


def vouched(office: Office, token: str, attestation: str) -> None:
    """Let the caller's carrier have vouched for the number."""
    with office.instance.db.write() as db:
        db.get_one(Call, pop.find(db, token, office.now).call_id).attestation = attestation


async def test_what_the_carrier_vouches_for_stands_beside_the_number(office: Office) -> None:
    agent = office.worker("front-desk")
    token = office.pop(agent, number())
    async with office.http(agent) as http:
        before = (await http.get(f"/v1/pops/{token}")).json()["attestation"]
        vouched(office, token, "B")
        after = (await http.get(f"/v1/pops/{token}")).json()["attestation"]
    assert (before, after) == (None, "B")


async def test_another_agents_pop_is_not_there_whatever_its_state(office: Office) -> None:
    agent, other, calls_from = office.worker("front-desk"), office.worker("provider"), number()
    office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(other) as http:
        missing = await http.get("/v1/pops/" + "x" * 43)
        fresh = await http.get(f"/v1/pops/{token}")
        tried = await http.post(f"/v1/pops/{token}/verify", json=RIGHT)
        office.later(hours=1)
        expired = await http.get(f"/v1/pops/{token}")
    assert missing.status_code == 404
    for answer in (fresh, tried, expired):
        assert (answer.status_code, answer.json()) == (404, missing.json())


async def test_a_program_has_no_pops(office: Office) -> None:
    token = office.pop(office.worker("front-desk"), number())
    async with office.http(office.program(Scope.POPS)) as http:
        answer = await http.get(f"/v1/pops/{token}")
    assert (answer.status_code, answer.json()["code"]) == (403, "person-needed")


async def test_a_pop_runs_out(office: Office) -> None:
    agent = office.worker("front-desk")
    token = office.pop(agent, number())
    office.later(minutes=31)
    async with office.http(agent) as http:
        got = await http.get(f"/v1/pops/{token}")
        tried = await http.post(f"/v1/pops/{token}/verify", json=RIGHT)
    assert [(answer.status_code, answer.json()["code"]) for answer in (got, tried)] == [(410, "pop-expired")] * 2


async def test_three_misses_lock_it_for_the_right_words_too(office: Office) -> None:
    agent, calls_from = office.worker("front-desk"), number()
    office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        missed = [(await http.post(f"/v1/pops/{token}/verify", json=WRONG)).json() for _ in range(3)]
        late = await http.post(f"/v1/pops/{token}/verify", json=RIGHT)
        shown = (await http.get(f"/v1/pops/{token}")).json()
    assert [(each["verified"], each["stage"], each["tries_left"]) for each in missed] == [
        (False, "masked", 2),
        (False, "masked", 1),
        (False, "locked", 0),
    ]
    assert (late.status_code, late.json()["code"]) == (423, "pop-locked")
    assert shown["stage"] == "locked"
    assert shown.keys() == MASKED | {"stage", "call"}


async def test_a_repeat_under_one_key_is_no_second_try(office: Office) -> None:
    agent, calls_from = office.worker("front-desk"), number()
    office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    key = {"Idempotency-Key": "3f2a"}
    async with office.http(agent) as http:
        missed = [await http.post(f"/v1/pops/{token}/verify", json=WRONG, headers=key) for _ in range(5)]
        other = await http.post(f"/v1/pops/{token}/verify", json=RIGHT, headers=key)
        right = [
            await http.post(f"/v1/pops/{token}/verify", json=RIGHT, headers={"Idempotency-Key": "4c1b"})
            for _ in range(2)
        ]
    assert [each.json()["tries_left"] for each in missed] == [2] * 5
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert right[0].json() == right[1].json()
    assert right[0].json()["verified"]


async def test_one_of_a_family_is_chosen_by_what_the_caller_says(office: Office) -> None:
    agent, home = office.worker("front-desk"), number()
    office.patient(**phones(home), given="Luis", birth_date="1978-05-06")
    child = office.patient(**phones(home), given="Marisol", birth_date="2012-07-08")
    token = office.pop(agent, home)
    async with office.http(agent) as http:
        masked = (await http.get(f"/v1/pops/{token}")).json()
        shown = await http.post(
            f"/v1/pops/{token}/verify", json={"name": "Rivera, Marisol", "birth_date": "2012-07-08"}
        )
    assert (masked["match"], masked["candidates"]) == ("many", 2)
    assert (shown.json()["patient"], shown.json()["name"]) == (str(child), "Marisol Rivera")


async def test_somebody_who_calls_from_another_number_is_found_by_name_and_birth_date(office: Office) -> None:
    agent, strange = office.worker("front-desk"), number()
    who = office.patient(**phones(number()), family="Oakenshawe", given="Tavisham", birth_date="1961-09-10")
    said = {"name": "tavisham OAKENSHAWE", "birth_date": "1961-09-10"}
    token = office.pop(agent, strange)
    async with office.http(agent) as http:
        assert (await http.get(f"/v1/pops/{token}")).json()["match"] == "none"
        assert (await http.post(f"/v1/pops/{token}/verify", json=said)).json()["patient"] == str(who)


async def test_a_withheld_number_still_has_a_pop(office: Office) -> None:
    agent = office.worker("front-desk")
    token = office.pop(agent, None)
    async with office.http(agent) as http:
        shown = (await http.get(f"/v1/pops/{token}")).json()
    assert (shown["number"], shown["match"], shown["repeat_caller"]) == ("", "none", False)


@pytest.mark.parametrize("when", ["before the call", "while it rings"])
async def test_a_restricted_chart_says_so_and_nothing_else(office: Office, when: str) -> None:
    agent, calls_from = office.worker("provider"), number()
    who = office.patient(**phones(calls_from))
    office.task(who)
    if when == "before the call":
        office.restrict(who)
    token = office.pop(agent, calls_from)
    office.restrict(who)
    stranger = office.pop(agent, number())
    async with office.http(agent) as http:
        shown = (await http.get(f"/v1/pops/{token}")).json()
        nobody = (await http.get(f"/v1/pops/{stranger}")).json()
        tried = await http.post(f"/v1/pops/{token}/verify", json=RIGHT)
    assert shown["match"] == "restricted"
    differ = {"call", "number", "match", "why"}
    assert {key: value for key, value in shown.items() if key not in differ} == {
        key: value for key, value in nobody.items() if key not in differ
    }
    assert (tried.status_code, tried.json()["code"]) == (403, "restricted")
    with office.instance.db.read() as db:
        assert db.get_one(Pop, _pop_of(office, token)).tries == 0


async def test_a_chart_that_becomes_restricted_is_shut_again(office: Office) -> None:
    agent, calls_from = office.worker("provider"), number()
    who = office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        assert (await http.post(f"/v1/pops/{token}/verify", json=RIGHT)).json()["verified"]
        office.restrict(who)
        answer = await http.get(f"/v1/pops/{token}")
    assert (answer.status_code, answer.json()["code"]) == (403, "restricted")


async def test_a_restricted_person_is_not_found_from_another_number(office: Office) -> None:
    agent = office.worker("front-desk")
    who = office.patient(**phones(number()), family="Zarandieta", given="Obdulia", birth_date="1950-01-02")
    office.restrict(who)
    token = office.pop(agent, number())
    async with office.http(agent) as http:
        answer = await http.post(
            f"/v1/pops/{token}/verify", json={"name": "Obdulia Zarandieta", "birth_date": "1950-01-02"}
        )
    assert answer.json() == {"verified": False, "stage": "masked", "tries_left": 2}


async def test_without_the_vault_nothing_is_shown(office: Office) -> None:
    agent, calls_from = office.worker("front-desk"), number()
    office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    office.vault.kill()
    try:
        async with office.http(agent) as http:
            answers = [
                await http.get(f"/v1/pops/{token}"),
                await http.post(f"/v1/pops/{token}/verify", json=RIGHT),
            ]
    finally:
        office.vault.start()
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["code"], answer.json()["retry"]) == ("vault-unavailable", True)
        assert answer.headers["retry-after"] == "1"
        assert calls_from not in answer.text
    async with office.http(agent) as http:
        assert (await http.post(f"/v1/pops/{token}/verify", json=WRONG)).json()["tries_left"] == 2


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": "Ana Rivera"}, "body.birth_date"),
        ({"name": "Ana Rivera", "birth_date": "1980-02-03x"}, "body.birth_date"),
        ({"name": "", "birth_date": "1980-02-03"}, "body.name"),
        ({"name": "Ana " * 100, "birth_date": "1980-02-03"}, "body.name"),
        ({"name": "Ana Rivera", "birth_date": "1980-02-03", "ssn": "219-09-9999"}, "body.ssn"),
    ],
)
async def test_what_cannot_be_read_is_named_and_not_repeated(office: Office, said: dict[str, Any], field: str) -> None:
    agent = office.worker("front-desk")
    token = office.pop(agent, number())
    async with office.http(agent) as http:
        answer = await http.post(f"/v1/pops/{token}/verify", json=said)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert [fault["field"] for fault in answer.json()["fields"]] == [field]
    for value in filter(None, said.values()):
        assert value not in answer.text


def _pop_of(office: Office, token: str) -> UUID:
    with office.instance.db.read() as db:
        return pop.find(db, token, office.now).id
