"""The session's cookie: it lets a browser read, and nothing else."""

from http.cookies import SimpleCookie
from uuid import UUID, uuid4

import httpx
import pytest

from hub.api.caller import SESSION_COOKIE
from hub.api.login import Door
from hub.record import staff
from tests.hub.api.office import POLICY, Office

OWN = "a long sentence of my own"


@pytest.fixture(autouse=True)
def _fresh_door(office: Office) -> None:
    office.app.state.door = Door()


async def logged_in(office: Office) -> httpx.Response:
    email = f"agent-{uuid4().hex[:8]}@harbor.example"
    row = office.write(staff.add, email=email, roles=["front-desk"], now=office.now)
    office.write(staff.set_password, row.id, OWN)
    async with office.http() as http:
        return await http.post("/v1/login", json={"email": email, "password": OWN})


async def shown(office: Office, method: str, path: str, cookie: str) -> httpx.Response:
    async with office.http(Cookie=f"{SESSION_COOKIE}={cookie}") as http:
        return await http.request(method, path)


async def test_a_login_leaves_a_cookie_that_scripts_and_other_sites_do_not_get(office: Office) -> None:
    answer = await logged_in(office)
    kept = SimpleCookie(answer.headers["set-cookie"])[SESSION_COOKIE]
    assert kept.value == answer.json()["token"]
    assert (kept["httponly"], kept["samesite"].lower(), kept["path"], kept["domain"]) == (True, "strict", "/", "")
    assert 0 < int(kept["max-age"]) <= 12 * 3600


@pytest.mark.parametrize(("url", "secure"), [("", ""), ('url = "https://hub.harbor.example"', True)])
async def test_where_the_hub_is_reached_by_https_the_cookie_goes_nowhere_else(
    office: Office, url: str, secure: bool | str
) -> None:
    office.publish(f"{POLICY}\n[http]\n{url}\n")
    try:
        answer = await logged_in(office)
    finally:
        office.publish(POLICY)
    assert SimpleCookie(answer.headers["set-cookie"])[SESSION_COOKIE]["secure"] == secure


async def test_a_cookie_reads(office: Office) -> None:
    cookie = (await logged_in(office)).json()["token"]
    assert (await shown(office, "GET", "/v1/login", cookie)).status_code == 200
    assert (await shown(office, "GET", "/v1/tasks", cookie)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/login"),
        ("PUT", "/v1/agents/me"),
        ("POST", f"/v1/tasks/{UUID(int=7)}/done"),
    ],
)
async def test_a_cookie_writes_nothing(office: Office, method: str, path: str) -> None:
    cookie = (await logged_in(office)).json()["token"]
    refused = await shown(office, method, path, cookie)
    assert (refused.status_code, refused.json()["code"]) == (401, "token-invalid")
    assert (await shown(office, "GET", "/v1/login", cookie)).status_code == 200


async def test_a_cookie_holds_a_session_and_no_other_token(office: Office) -> None:
    for other in (office.worker("front-desk").token, "cl_nobodys", ""):
        assert (await shown(office, "GET", "/v1/login", other)).status_code == 401


async def test_logging_out_takes_the_cookie_away(office: Office) -> None:
    opened = (await logged_in(office)).json()["token"]
    async with office.http(opened) as http:
        gone = await http.delete("/v1/login")
    assert SimpleCookie(gone.headers["set-cookie"])[SESSION_COOKIE]["max-age"] == "0"
    assert (await shown(office, "GET", "/v1/login", opened)).status_code == 401
