"""What an agent says of themselves and of their calls, over HTTP."""

from typing import Any, get_args
from uuid import UUID, uuid4

import pytest

from hub.record import agent, call, wrapup
from hub.record.agent import Presence
from hub.record.wrapup import Disposition, WrapUp
from hub.security.access import GRANTS, Scope
from hub.settings.practice import Role
from tests.hub.api.office import TEST, Office, Worker, number, subjects_of

WRAP_UP = "/v1/agents/me/wrap-up"


def talked(office: Office, who: Worker, *, wrap_up_seconds: int = 60, over: bool = True) -> UUID:
    """Let somebody have had a call, and be in wrap-up."""
    row = office.ring(number())
    with office.instance.db.write() as db:
        call.bridged(db, row.id, who.id, office.now)
        agent.engaged(db, who.id, row.id, office.now)
        if over:
            call.ended(db, row.id, "caller", office.now)
            agent.freed(db, who.id, row.id, office.now, wrap_up_seconds=wrap_up_seconds)
    return row.id


async def test_what_became_of_a_call_ends_the_wrap_up(office: Office) -> None:
    who = office.worker("front-desk")
    call_id = talked(office, who)
    async with office.http(who) as http:
        before = (await http.get("/v1/agents/me")).json()
        answer = await http.post(WRAP_UP, json={"disposition": "booked", "note": "Moved to Friday"})
        again = await http.post(WRAP_UP, json={"disposition": "booked"})
    assert (before["presence"], before["wrap_up_until"] is not None) == ("wrap-up", True)
    assert (answer.json()["presence"], answer.json()["wrap_up_until"]) == ("available", None)
    assert (again.status_code, again.json()["code"]) == (404, "not-found")  # nothing waits for it any more
    with office.instance.db.read() as db:
        kept = db.get_one(WrapUp, (call_id, who.id))
        sealed = wrapup.sealed_of(kept)
        assert sealed is not None
        assert office.instance.opener.open(db, TEST, [sealed]) == [{"note": "Moved to Friday"}]
    assert kept.disposition is Disposition.BOOKED
    noted = [record for record in office.audit() if record["act"] == "write" and record["actor"] == str(who.id)]
    assert len(noted) == 1
    assert len(subjects_of(noted[0])) == 1


async def test_during_the_call_it_is_kept_and_the_call_goes_on(office: Office) -> None:
    who = office.worker("front-desk")
    call_id = talked(office, who, over=False)
    async with office.http(who) as http:
        said: dict[str, Any] = {"disposition": "message", "call": str(call_id)}
        answer = await http.post(WRAP_UP, json=said)
    assert (answer.json()["presence"], answer.json()["call"]) == ("busy", str(call_id))


async def test_of_another_ones_call_nothing_is_said(office: Office) -> None:
    who = office.worker("front-desk")
    call_id = talked(office, who)
    async with office.http(office.worker("front-desk")) as http:
        for of in (call_id, uuid4()):
            answer = await http.post(WRAP_UP, json={"disposition": "other", "call": str(of)})
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    with office.instance.db.read() as db:
        assert db.get(WrapUp, (call_id, who.id)) is None


async def test_a_repeat_with_its_key_is_the_same_word(office: Office) -> None:
    who = office.worker("front-desk")
    talked(office, who)
    async with office.http(who, **{"Idempotency-Key": uuid4().hex}) as http:
        answers = [await http.post(WRAP_UP, json={"disposition": "resolved"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize(
    "said",
    [{}, {"disposition": "sold"}, {"disposition": "other", "note": "x" * 2001}, {"disposition": "other", "x": 1}],
)
async def test_what_cannot_be_read_is_refused(office: Office, said: dict[str, Any]) -> None:
    who = office.worker("front-desk")
    talked(office, who)
    async with office.http(who) as http:
        assert (await http.post(WRAP_UP, json=said)).status_code == 422
    assert office.read(agent.get, who.id, office.now).presence is Presence.WRAP_UP


@pytest.mark.parametrize("role", [role for role in get_args(Role) if Scope.PRESENCE_WRITE not in GRANTS[role]])
async def test_who_takes_no_calls_has_no_wrap_up(office: Office, role: Role) -> None:
    async with office.http(office.worker(role)) as http:
        assert (await http.post(WRAP_UP, json={"disposition": "other"})).status_code == 403
