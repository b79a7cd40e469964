"""The pages as a browser without scripts gets them: who is let in, what may run, what other sites cannot do."""

import re
from datetime import date
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest

from hub.api.caller import PAGE_HEADER, SESSION_COOKIE
from hub.api.login import Door
from hub.record import agent, staff
from hub.record.agent import Presence
from hub.settings.practice import Role
from hub.web import assets
from hub.web.desk import birth_of
from hub.web.page import HEADERS
from tests.hub.api.office import Worker
from tests.hub.web.stage import PASSWORD, Stage

OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def _fresh_door(stage: Stage) -> None:
    stage.office.app.state.door = Door()


def cookie_of(answer: httpx.Response) -> str:
    return SimpleCookie(answer.headers["set-cookie"])[SESSION_COOKIE].value


async def entered(stage: Stage, who: Worker, **form: str) -> httpx.Response:
    said = {"email": who.email, "password": PASSWORD} | form
    async with stage.office.http(**OURS) as http:
        return await http.post("/login", data=said)


async def seen(stage: Stage, who: Worker, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    shown = cookie_of(await entered(stage, who))
    async with stage.office.http(Cookie=f"{SESSION_COOKIE}={shown}", **headers) as http:
        return await http.request(method, path)


async def test_the_right_words_open_the_desk(stage: Stage) -> None:
    answer = await entered(stage, stage.ana())
    kept = SimpleCookie(answer.headers["set-cookie"])[SESSION_COOKIE]
    assert (answer.status_code, answer.headers["location"]) == (303, "/desk")
    assert (kept["samesite"].lower(), kept["httponly"], kept["path"]) == ("strict", True, "/")


async def test_wrong_words_say_nothing_of_which_was_wrong(stage: Stage) -> None:
    known = await entered(stage, stage.ana(), password="guessed and wrong")
    unknown = await entered(stage, Worker(stage.ana().id, "nobody@harbor.example", ""), password="guessed and wrong")
    assert known.status_code == unknown.status_code == 401
    assert known.text.replace("ana@", "X@") == unknown.text.replace("nobody@", "X@")
    assert "set-cookie" not in known.headers
    assert "guessed and wrong" not in known.text


async def test_guessing_is_stopped_and_says_how_long(stage: Stage) -> None:
    who = stage.hire("front-desk")
    for _ in range(5):
        await entered(stage, who, password="guessed and wrong")
    answer = await entered(stage, who)
    assert answer.status_code == 429
    assert "Wait 15 min" in answer.text


async def test_a_password_of_somebody_else_opens_the_door_to_ones_own(stage: Stage) -> None:
    who = stage.hire("front-desk")
    stage.office.write(staff.set_password, who.id, PASSWORD, must_change=True)
    asked = await entered(stage, who)
    assert 'name="new_password"' in asked.text
    differs = await entered(stage, who, new_password="of my very own making", again="of somebody's making")
    assert "differ" in differs.text
    weak = await entered(stage, who, new_password="short", again="short")
    assert "12 letters" in weak.text
    own = "of my very own making"
    assert (await entered(stage, who, new_password=own, again=own)).headers["location"] == "/desk"
    assert (await entered(stage, who, password=own)).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout"])
async def test_a_form_of_another_site_does_nothing(stage: Stage, path: str, headers: dict[str, str]) -> None:
    async with stage.office.http(**headers) as http:
        answer = await http.post(path, data={"email": stage.ana().email, "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign-form")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("origin", ["http://hub.test", "http://127.0.0.1:8080"])
async def test_a_browser_that_says_its_origin_alone_is_let_in(stage: Stage, origin: str) -> None:
    async with stage.office.http(Origin=origin) as http:
        answer = await http.post("/login", data={"email": stage.ana().email, "password": PASSWORD})
    assert answer.status_code == 303


async def test_a_page_loads_what_is_ours_and_nothing_else(stage: Stage) -> None:
    async with stage.office.http() as http:
        door = await http.get("/login")
    desk = await seen(stage, stage.ana(), "/desk")
    for page in (door, desk):
        rules = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["worker-src"] == rules["form-action"] == "'self'"
        assert rules["connect-src"] == "'self' ws://hub.test wss://hub.test"
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["permissions-policy"].startswith("microphone=(self), camera=()")
        assert all(page.headers[name] == value for name, value in HEADERS.items())
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page.text)
    assert "<script" not in door.text


async def test_a_strange_host_gets_into_no_header(stage: Stage) -> None:
    async with stage.office.http(Host="evil.test; script-src *") as http:
        page = await http.get("/login")
    assert "evil.test" not in page.headers["content-security-policy"]


async def test_without_a_session_the_desk_asks_who_it_is(stage: Stage) -> None:
    async with stage.office.http() as http:
        root, desk, part = [await http.get(path) for path in ("/", "/desk", "/desk/part/pop")]
    assert root.headers["location"] == "/desk"
    assert desk.headers["location"] == "/login"
    assert part.status_code == 401


async def test_who_leaves_is_signed_off(stage: Stage) -> None:
    who = stage.ana()
    shown = cookie_of(await entered(stage, who))
    async with stage.office.http(Cookie=f"{SESSION_COOKIE}={shown}", **OURS) as http:
        gone = await http.post("/logout")
        desk = await http.get("/desk")
    assert gone.headers["location"] == "/login?ended=out"
    assert SimpleCookie(gone.headers["set-cookie"])[SESSION_COOKIE]["max-age"] == "0"
    assert desk.headers["location"] == "/login"
    assert stage.office.read(agent.get, who.id, stage.clock()).presence is Presence.OFFLINE


@pytest.mark.parametrize(
    ("role", "shown", "hidden"),
    [
        ("front-desk", ("#pop", "#tasks", "#queues", "#presence"), ("Your roles take no calls",)),
        ("admin", ("#queues", "Your roles take no calls"), ("#pop", "#tasks", "#presence", "#phone")),
        ("privacy-officer", ("Your roles take no calls",), ("#pop", "#tasks", "#queues", "#presence", "#calls")),
    ],
)
async def test_a_role_sees_its_parts(stage: Stage, role: Role, shown: tuple[str, ...], hidden: tuple[str, ...]) -> None:
    page = (await seen(stage, stage.hire(role), "/desk")).text

    def there(what: str) -> bool:
        return f'id="{what[1:]}"' in page if what.startswith("#") else what in page

    assert [what for what in shown if not there(what)] == []
    assert [what for what in hidden if there(what)] == []


@pytest.mark.parametrize("part", ["head", "pop", "asked", "tasks", "calls", "colleagues", "presence", "queues"])
async def test_a_part_that_a_role_does_not_have_is_refused(stage: Stage, part: str) -> None:
    answer = await seen(stage, stage.hire("privacy-officer"), f"/desk/part/{part}")
    if part == "calls":  # theirs are none, but they may look
        assert "None" in answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({PAGE_HEADER: "desk", "Sec-Fetch-Site": "same-origin"}, 200),
        ({PAGE_HEADER: "desk", "Origin": "http://hub.test"}, 200),
        ({PAGE_HEADER: "desk", "Sec-Fetch-Site": "cross-site", "Origin": "http://hub.test"}, 401),
        ({PAGE_HEADER: "desk", "Origin": "https://evil.test"}, 401),
        ({PAGE_HEADER: "desk"}, 401),
        ({"Sec-Fetch-Site": "same-origin"}, 401),
    ],
)
async def test_a_cookie_writes_for_a_script_of_ours_alone(stage: Stage, headers: dict[str, str], status: int) -> None:
    who = stage.ana()
    shown = cookie_of(await entered(stage, who))
    async with stage.office.http(Cookie=f"{SESSION_COOKIE}={shown}", **headers) as http:
        api = await http.put("/v1/agents/me", json={"presence": "away"})
        page = await http.post("/desk/presence", data={"presence": "away"})
    assert api.status_code == page.status_code == status
    away = stage.office.read(agent.get, who.id, stage.clock()).presence is Presence.AWAY
    assert away == (status == 200)


async def test_what_is_loaded_is_kept_by_its_content(stage: Stage) -> None:
    async with stage.office.http() as http:
        for name in ("desk.js", "chartline.css", "icons.svg"):
            got = await http.get(assets.url_of(name))
            assert (got.status_code, got.headers["cache-control"]) == (200, assets.FOREVER)
            assert got.headers["x-content-type-options"] == "nosniff"
        css = (await http.get(assets.url_of("chartline.css"))).text
        fonts = re.findall(r"url\(\"?\./([A-Za-z0-9_.-]+)", css)
        assert fonts
        assert [(await http.get(f"/assets/{font}")).status_code for font in fonts] == [200] * len(fonts)
        licences = (await http.get("/assets/licences.txt")).text
        assert [name for name in ("jssip ", "htmx.org ", "@uswds/uswds ") if name not in licences] == []
        assert (await http.get("/assets/manifest.json")).status_code == 404
        assert (await http.get("/assets/..%2Fpages.py")).status_code in {404, 422}


async def test_unbuilt_assets_are_named_in_a_sentence(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "DIST", tmp_path)
    async with stage.office.http() as http:
        page = await http.get("/login")
    assert (page.status_code, page.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert "make web" in page.text


async def test_a_link_from_elsewhere_is_loaded_again_with_the_cookie(stage: Stage) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with stage.office.http(**elsewhere) as http:
        desk = await http.get("/desk", params={"patient": '"><script>'})
        launch = await http.get("/launch/ehr?iss=x&launch=y")
        script = await http.get("/desk", headers={"Sec-Fetch-Mode": "cors"})
        api = await http.get("/v1/login")
    assert 'content="0;url=/desk?patient=%22%3E%3Cscript%3E"' in desk.text
    assert 'content="0;url=/launch/ehr?iss=x&amp;launch=y"' in launch.text
    assert script.headers["location"] == "/login"
    assert api.status_code == 401


@pytest.mark.parametrize(
    ("text", "region", "born"),
    [
        ("02/03/1980", "US", date(1980, 2, 3)),
        ("2-3-1980", "US", date(1980, 2, 3)),
        ("02031980", "US", date(1980, 2, 3)),
        ("3.2.1980", "DE", date(1980, 2, 3)),
        ("1980-02-03", "DE", date(1980, 2, 3)),
        ("2/3/80", "US", None),
        ("2/31/1980", "US", None),
        ("1980", "US", None),
        ("", "US", None),
        ("2/3/19801", "US", None),
    ],
)
def test_a_date_of_birth_is_read_as_the_region_writes_it(text: str, region: str, born: date | None) -> None:
    assert birth_of(text, region) == born
