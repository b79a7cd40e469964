"""The recorded server: which exchange answers, what a scenario remembers, and who is let in."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from connectors.kit.case import Auth, Case, Expected, Found, Plan, ServerHints
from connectors.kit.exchange import Exchange
from connectors.kit.server import Script, Server, answering, gone, late, refused

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
BASE = "https://clinic.example"
PHONE, NOBODY = "+15554364287", "+15554360000"


def exchange(method: str = "GET", path: str = "/a", status: int = 200, body: Any = None, **how: Any) -> Exchange:
    names = {"query": "query", "headers": "headers", "wants": "body"}
    request = {called: how.pop(name) for name, called in names.items() if name in how}
    said = {"status": status, "body": body}
    return Exchange.model_validate({"request": {"method": method, "path": path, **request}, "response": said, **how})


def server(*exchanges: Exchange, script: Script | None = None, **plan: Any) -> tuple[Server, httpx.AsyncClient]:
    expect = Expected(find_patients=(Found(phone=PHONE, ids=("17",)), Found(phone=NOBODY, ids=())))
    case = Case(Plan(clock=NOW, timezone="UTC", settings={"token": "t-1"}, expect=expect, **plan), exchanges)
    made = Server(case, lambda: NOW, script)
    return made, httpx.AsyncClient(transport=made, base_url=BASE)


async def test_the_most_exact_exchange_answers() -> None:
    made, http = server(
        exchange(query={"since": "*", "*": "*"}, body="any"),
        exchange(query={"since": "*"}, body="one"),
        exchange(query={"since": "5"}, body="this"),
        exchange(query={"since": ["1", "2"]}, body="both"),
    )
    asked = {"since=5": "this", "since=6": "one", "since=6&page=2": "any", "since=2&since=1": "both"}
    assert {query: (await http.get(f"/a?{query}")).text for query in asked} == asked
    assert made.unrecorded == []
    assert (await http.get("/a?page=secret")).status_code == 404
    assert made.unrecorded == ["GET /a?page"]


async def test_bodies_are_compared_by_what_they_say() -> None:
    _, http = server(
        exchange("POST", wants={"to": PHONE, "text": "*"}, body="text"),
        exchange("POST", wants={"grant_type": "client_credentials"}, body="form"),
        exchange("POST", wants="ping", body="words"),
    )
    assert (await http.post("/a", json={"text": "Hello", "to": "(555) 436-4287"})).text == "text"
    assert (await http.post("/a", data={"grant_type": "client_credentials"})).text == "form"
    assert (await http.post("/a", content=b"ping")).text == "words"
    assert (await http.post("/a", json={"to": PHONE})).status_code == 404


async def test_a_scenario_goes_from_state_to_state_and_effects_are_counted() -> None:
    made, http = server(
        exchange(body="before", scenario="1", when="started"),
        exchange("PUT", scenario="1", when="started", then="done"),
        exchange(body="after", scenario="1", when="done"),
        exchange("POST", "/search", effect=False),
    )
    said = [
        (await http.request(method, path)).text
        for method, path in [("GET", "/a"), ("POST", "/search"), ("PUT", "/a"), ("GET", "/a")]
    ]
    assert said == ["before", "", "", "after"]
    assert made.effects == 1


async def test_a_write_for_another_version_is_refused_and_an_unconditional_one_taken() -> None:
    made, http = server(exchange("PUT", headers={"If-Match": '"3"'}, when="started", then="over"))
    assert (await http.put("/a", headers={"If-Match": '"2"'})).status_code == 412
    assert made.effects == 0
    assert (await http.put("/a", headers={"If-Match": '"3"'})).status_code == 200
    assert (await http.put("/a", headers={"If-Match": '"3"'})).status_code == 412  # it is over
    assert made.effects == 1
    made, http = server(exchange("PUT", headers={"If-Match": '"3"'}))
    assert (await http.put("/a")).status_code == 200
    assert made.unrecorded == []


async def test_a_repeated_key_is_answered_as_before_and_without_effect() -> None:
    made, http = server(exchange("POST", status=201, body={"id": "1"}))
    for key, effects in (("k-1", 1), ("k-1", 1), ("k-2", 2)):
        answer = await http.post("/a", headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json(), made.effects) == (201, {"id": "1"}, effects)


async def test_who_shows_no_token_is_refused_but_where_it_is_open() -> None:
    auth = Auth(value="Bearer {token}", open=("GET /a/open*",))
    _, http = server(exchange(), exchange(path="/a/open/x"), auth=auth)
    assert (await http.get("/a")).status_code == 401
    assert (await http.get("/a", headers={"Authorization": "Bearer t-2"})).status_code == 401
    assert (await http.get("/a", headers={"Authorization": "Bearer t-1"})).status_code == 200
    assert (await http.get("/a/open/x")).status_code == 200


@pytest.mark.parametrize(
    ("search", "found"),
    [("exact", [False, False, True, False]), ("digits", [True, True, True, True])],
)
async def test_a_server_finds_a_number_as_it_has_it(search: str, found: list[bool]) -> None:
    exchanges = (
        exchange(query={"phone": PHONE}, body={"items": [{"id": "17", "phone": PHONE}]}),
        exchange(query={"phone": NOBODY}, body={"items": []}),
    )
    hints = ServerHints(phone_search=search)
    _, http = server(*exchanges, script=Script(way=2), server=hints)
    asked = [PHONE, "5554364287", "555-436-4287", "(555) 436-4287"]
    said = [(await http.get("/a", params={"phone": way})).json()["items"] for way in asked]
    assert [bool(items) for items in said] == found
    assert said[2] == [{"id": "17", "phone": "555-436-4287"}]


async def test_a_fault_begins_where_it_is_said_to() -> None:
    _, http = server(exchange(body={"n": 1}), script=Script(fault=refused, begins=1))
    assert [(await http.get("/a")).status_code for _ in range(3)] == [200, 401, 401]
    _, http = server(exchange(), script=Script(fault=answering(429, Retry_After="17")))
    assert (await http.get("/a")).headers["retry-after"] == "17"
    _, http = server(exchange(), script=Script(fault=gone))
    with pytest.raises(httpx.ConnectError):
        await http.get("/a")
    _, http = server(exchange(body="late"), script=Script(fault=late(0)))
    assert (await http.get("/a")).text == "late"


async def test_bytes_are_spoilt_and_a_lost_answer_had_its_effect() -> None:
    _, http = server(exchange(body={"n": 1}), script=Script(spoil=lambda content: content[:-1]))
    assert (await http.get("/a")).content == b'{"n":1'
    made, http = server(exchange("POST", body={"id": "1"}), script=Script(loses=True))
    with pytest.raises(httpx.ReadError):
        await http.post("/a", headers={"Idempotency-Key": "k"})
    assert made.effects == 1
    assert (await http.post("/a", headers={"Idempotency-Key": "k"})).json() == {"id": "1"}
    assert made.effects == 1
