"""Logins: a one-time password opens nothing but its own change, guessing is slow, a session ends."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from argon2 import PasswordHasher
from sqlmodel import Session

from hub.api.login import MISSES, SHORTEST, Door
from hub.record import staff, token
from hub.security.access import GRANTS
from hub.settings.practice import Role
from tests.hub.api.office import Office, Worker

GIVEN = "one-time-given"
OWN = "a long sentence of my own"


def hired(office: Office, *roles: Role, own: bool = True) -> Worker:
    """Hire somebody who logs in; with `own`, they have set their password."""
    email = f"Agent-{uuid4().hex[:8]}@Harbor.example"
    row = office.write(staff.add, email=email, roles=roles or ["front-desk"], now=office.now, password=GIVEN)
    if own:
        office.write(staff.set_password, row.id, OWN)
    return Worker(row.id, email, "")


async def login(office: Office, who: Worker, password: str = OWN) -> httpx.Response:
    async with office.http() as http:
        return await http.post("/v1/login", json={"email": who.email, "password": password})


async def change(office: Office, who: Worker, old: str, new: str) -> httpx.Response:
    async with office.http() as http:
        said = {"email": who.email, "password": old, "new_password": new}
        return await http.post("/v1/login/password", json=said)


async def oneself(office: Office, shown: str) -> httpx.Response:
    async with office.http(shown) as http:
        return await http.get("/v1/login")


@pytest.fixture(autouse=True)
def _fresh_door(office: Office) -> None:
    office.app.state.door = Door()


async def test_a_login_opens_what_the_roles_allow(office: Office) -> None:
    who = hired(office, "front-desk", "billing")
    answer = await login(office, who)
    assert answer.json()["expires_at"] == (office.now + timedelta(hours=12)).isoformat().replace("+00:00", "Z")
    said = (await oneself(office, answer.json()["token"])).json()
    assert (said["id"], said["roles"]) == (str(who.id), ["front-desk", "billing"])
    assert set(said["scopes"]) == GRANTS["front-desk"] | GRANTS["billing"]
    (noted,) = [record for record in office.audited(answer) if record["act"] == "login"]
    assert (noted["actor"], noted["role"]) == (str(who.id), "front-desk,billing")


async def test_a_password_that_was_given_out_only_sets_ones_own(office: Office) -> None:
    who = hired(office, own=False)
    refused = await login(office, who, GIVEN)
    assert (refused.status_code, refused.json()["code"]) == (403, "password-change-needed")
    answer = await change(office, who, GIVEN, OWN)
    assert (await oneself(office, answer.json()["token"])).status_code == 200
    assert (await login(office, who, GIVEN)).json()["code"] == "login-refused"
    assert (await login(office, who)).status_code == 200
    assert "password.set" in [record["act"] for record in office.audited(answer)]


@pytest.mark.parametrize("new", ["short", "x" * (SHORTEST - 1), GIVEN])
async def test_a_weak_password_is_refused_and_changes_nothing(office: Office, new: str) -> None:
    who = hired(office, own=False)
    answer = await change(office, who, GIVEN, new)
    assert (answer.status_code, answer.json()["code"]) == (422, "password-weak")
    assert new not in answer.text
    assert (await login(office, who, GIVEN)).json()["code"] == "password-change-needed"


async def test_a_new_password_ends_the_other_sessions(office: Office) -> None:
    who = hired(office)
    before = (await login(office, who)).json()["token"]
    after = (await change(office, who, OWN, OWN + " anew")).json()["token"]
    assert (await oneself(office, before)).status_code == 401
    assert (await oneself(office, after)).status_code == 200


async def test_who_and_what_was_wrong_is_not_said(office: Office) -> None:
    who, gone = hired(office), hired(office)
    office.write(staff.disable, gone.id, by="system:test", now=office.now)
    nobody = Worker(who.id, "nobody@harbor.example", "")
    answers = [await login(office, who, "wrong"), await login(office, gone), await login(office, nobody)]
    answers.append(await change(office, nobody, OWN, OWN + " anew"))
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(401, "login-refused")] * 4
    assert len({answer.text for answer in answers}) == 1
    (noted,) = [record for record in office.audited(answers[0]) if record["act"] == "login.refused"]
    assert noted["detail"] == {"staff": str(who.id)}
    assert not office.audited(answers[2])


async def test_guessing_is_stopped_for_that_account_and_address_alone(office: Office) -> None:
    who, other = hired(office), hired(office)
    for _ in range(MISSES):
        assert (await login(office, who, "wrong")).status_code == 401
    stopped = await login(office, who)
    assert (stopped.status_code, stopped.json()["code"], stopped.json()["retry"]) == (429, "too-many-tries", True)
    assert 0 < int(stopped.headers["retry-after"]) <= 15 * 60
    assert (await login(office, other)).status_code == 200
    elsewhere = httpx.ASGITransport(office.app, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://hub.test") as http:
        said = {"email": who.email.upper(), "password": OWN}
        assert (await http.post("/v1/login", json=said)).status_code == 200


async def test_a_right_password_forgives_the_wrong_ones(office: Office) -> None:
    who = hired(office)
    for _ in range(2):
        for _ in range(MISSES - 1):
            await login(office, who, "wrong")
        assert (await login(office, who)).status_code == 200


async def test_logging_out_takes_the_token_back(office: Office) -> None:
    who = hired(office)
    shown = (await login(office, who)).json()["token"]
    async with office.http(shown) as http:
        gone = await http.delete("/v1/login")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await oneself(office, shown)).status_code == 401
    assert "logout" in [record["act"] for record in office.audited(gone)]


async def test_a_session_ends_by_itself(office: Office) -> None:
    shown = (await login(office, hired(office))).json()["token"]
    office.later(minutes=9)
    assert (await oneself(office, shown)).status_code == 200
    office.later(minutes=9)
    assert (await oneself(office, shown)).status_code == 200
    office.later(minutes=11)
    assert (await oneself(office, shown)).json()["code"] == "token-invalid"


async def test_a_disabled_account_is_out_at_once(office: Office) -> None:
    who = hired(office)
    shown = (await login(office, who)).json()["token"]
    office.write(staff.disable, who.id, by="system:test", now=office.now)
    assert (await oneself(office, shown)).status_code == 401


async def test_a_token_that_opens_a_session_opens_nothing_else(office: Office) -> None:
    who = hired(office)
    made: Any = office.write(
        token.create,
        scopes=[],
        now=office.now,
        lifetime=timedelta(minutes=5),
        staff_id=who.id,
        kind=token.TokenKind.LOGIN,
    )
    assert (await oneself(office, made[1])).status_code == 401


@pytest.mark.parametrize("shown", ["Basic YTpi", "Bearer", "cl_x", "bearer  "])
async def test_what_is_no_bearer_token_opens_nothing(office: Office, shown: str) -> None:
    async with office.http(Authorization=shown) as http:
        assert (await http.get("/v1/login")).status_code == 401


async def test_a_hash_of_another_cost_is_made_anew_at_the_next_login(office: Office) -> None:
    who, cheap = hired(office), PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(OWN)

    def weaken(db: Session) -> None:
        db.get_one(staff.Staff, who.id).password = cheap

    office.write(weaken)
    assert (await login(office, who)).status_code == 200
    row = office.read(lambda db: db.get_one(staff.Staff, who.id))
    assert row.password != cheap
    assert (await login(office, who)).status_code == 200
