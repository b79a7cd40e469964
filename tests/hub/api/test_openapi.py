"""OpenAPI is the contract: every route says what it is, what may go wrong, and who may call it; and it is so."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from hub.api.guard import HEADERS
from hub.security.access import Scope
from tests.hub.api.office import Office

METHODS = {"get", "put", "post", "delete", "patch"}
OPEN = {("get", "/v1/health"), ("post", "/v1/login"), ("post", "/v1/login/password")}
"Routes that need no token; carriers prove themselves otherwise."

PROBLEM = "application/problem+json"

Route = tuple[str, str, dict[str, Any]]


def routes(app: FastAPI) -> list[Route]:
    """Return method, path and operation of every route under /v1."""
    return [
        (method, path, operation)
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1")
    ]


def scopes_of(operation: dict[str, Any]) -> list[str]:
    return [scope for each in operation.get("security", []) for scopes in each.values() for scope in scopes]


async def called(http: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """Call a route with ids of nothing."""
    filled = re.sub(r"{(\w+)}", lambda name: "1" if name[1] == "version" else str(uuid4()), path)
    return await http.request(method, filled, json={} if method in {"post", "put"} else None)


async def test_every_route_is_told(office: Office) -> None:
    found = routes(office.app)
    assert {method for method, _, _ in found} <= METHODS
    assert len(found) >= 28
    named = [operation["operationId"] for _, _, operation in found]
    assert len(set(named)) == len(named)
    for method, path, operation in found:
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
        answers = operation["responses"]
        good = next(answers[status] for status in answers if status.startswith("2"))
        assert ("content" in good) == ("204" not in answers), path
        for status, answer in answers.items():
            if not status.startswith("2"):
                assert set(answer["content"]) == {PROBLEM}, (path, status)
                assert re.match(r"`[a-z-]+`: ", answer["description"]), (path, status)
        if (method, path) not in OPEN:
            assert "401" in answers, path
            assert "403" in answers or path == "/v1/login", path
        if operation.get("parameters") or "requestBody" in operation:
            assert "422" in answers, path


async def test_the_document_is_whole_and_open(office: Office) -> None:
    async with office.http() as http:
        said = (await http.get("/v1/openapi.json")).json()
    parts = set(said["components"]["schemas"])
    named = set(re.findall(r"#/components/schemas/([\w-]+)", str(said)))
    assert named <= parts
    assert parts - named == set(), "schemas that nothing names"
    assert said["openapi"].startswith("3.1")


async def test_without_a_token_every_route_is_shut(office: Office) -> None:
    async with office.http() as http, office.http("cl_nobodys") as stranger:
        for method, path, _ in routes(office.app):
            if (method, path) in OPEN:
                continue
            for client in (http, stranger):
                answer = await called(client, method, path)
                assert (answer.status_code, answer.json()["code"]) == (401, "token-invalid"), path
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_without_its_scope_every_route_is_shut(office: Office) -> None:
    for method, path, operation in routes(office.app):
        scopes = scopes_of(operation)
        if (method, path) in OPEN or path == "/v1/login":
            assert not scopes
            continue
        assert scopes, path
        others = [scope for scope in Scope if scope not in scopes]
        async with office.http(office.worker("nurse", "admin", "privacy-officer", scopes=others)) as http:
            answer = await called(http, method, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing"), path


async def test_with_its_scope_no_route_fails_on_ids_of_nothing(office: Office) -> None:
    for method, path, operation in routes(office.app):
        declared = set(operation["responses"])
        everybody = office.worker("front-desk", "nurse", "admin", "privacy-officer")
        async with office.http(everybody) as http:
            answer = await called(http, method, path)
        assert str(answer.status_code) in declared, (path, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == PROBLEM
            codes = operation["responses"][str(answer.status_code)]["description"]
            assert f"`{answer.json()['code']}`" in codes, path


async def test_no_answer_may_be_kept(office: Office) -> None:
    async with office.http(office.worker("front-desk")) as http:
        answers = [
            await http.get(path)
            for path in ("/v1/health", "/v1/calls", "/v1/pops/nothing", "/v1/nothing", "/v1/openapi.json", "/nothing")
        ]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/nowhere", 404, "not-found"),
        ("PATCH", "/v1/calls", 405, "method-not-allowed"),
        ("POST", "/v1/login", 413, "too-large"),
    ],
)
async def test_what_the_framework_refuses_is_a_problem_too(
    office: Office, method: str, path: str, status: int, code: str
) -> None:
    async with office.http() as http:
        answer = await http.request(method, path, content=b" " * 300_000 if status == 413 else None)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    said = answer.json()
    assert said == {"type": "about:blank", "title": said["title"], "status": status, "code": code, "retry": False}


async def test_a_defect_says_a_number_and_nothing_else(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    app = office.app

    async def broken() -> None:
        raise KeyError("Ana Rivera")

    app.add_api_route("/broken", broken)
    async with office.http() as http:
        answer = await http.get("/broken")
    app.router.routes.pop()
    logged = capsys.readouterr().out
    incident = answer.json()["detail"].split()[-1]
    assert (answer.status_code, answer.json()["code"]) == (500, "defect")
    assert incident in logged
    assert "KeyError" in logged
    assert "Rivera" not in answer.text + logged


async def test_health_needs_no_login_and_says_what_answers(office: Office) -> None:
    async with office.http() as http:
        well = (await http.get("/v1/health")).json()
        office.vault.kill()
        try:
            ill = await http.get("/v1/health")
        finally:
            office.vault.start()
    assert well == {"status": "degraded", "vault": "ok", "temporal": "temporal-unavailable"}
    assert (ill.status_code, ill.json()["vault"]) == (200, "vault-unavailable")
