"""Against a live system: the sandbox's FHIR server, with the right key and a wrong one; and what a recording keeps."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.api import Change, Checkpoint, Context, Scope
from connectors.fhir import Fhir, FhirSettings
from connectors.kit import Case, CaseError, Report, live
from connectors.kit.case import Plan
from connectors.kit.exchange import Exchange
from connectors.kit.record import HIDDEN, Recorder
from connectors.kit.server import Server
from tests.connectors.fhir.world import BASE, World
from tests.connectors.fhir.world import world as made
from tests.connectors.stage import ZONE, Clock

TOKEN = "live-token-12"


@pytest.fixture
def world() -> World:
    return made(token=TOKEN)


def over(world: World) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(world.watched), trust_env=False)


async def tried(world: World, kind: type[Fhir] = Fhir, *, http: httpx.AsyncClient | None = None, **how: Any) -> Report:
    settings = FhirSettings.model_validate({"base_url": BASE, "token": how.pop("token", TOKEN), "page_size": 20})
    return await live(kind, settings, http or over(world), clock=world.clock, timezone=ZONE, region="US", **how)


def number_in(world: World) -> str:
    return next(one.phone for one in world.people.persons if one.phone)


def texts_in(directory: Path) -> list[str]:
    return [path.read_text() for path in sorted(directory.glob("*.json"))]


def verdicts(report: Report) -> dict[str, str]:
    return {one.check: one.verdict for one in report.results}


async def test_a_good_connector_passes_and_writes_nothing(world: World) -> None:
    report = await tried(world, phone=number_in(world))
    assert set(verdicts(report).values()) == {"passed"}, report.table()
    assert {one.method for one in world.asked} == {"GET"}


async def test_a_key_that_is_refused_is_said_once(world: World) -> None:
    found = verdicts(await tried(world, token="another"))
    assert found["check"] == "failed"
    assert {found[name] for name in ("bad-key", "find", "feed", "resume")} == {"skipped"}


async def test_without_a_number_nobody_is_looked_up(world: World) -> None:
    report = await tried(world, only=["find"])
    assert [(one.check, one.verdict, one.reason) for one in report.results] == [("find", "skipped", "needs-a-number")]
    assert "phone" not in "".join(one.query for one in world.asked)
    with pytest.raises(CaseError, match="write-twice"):
        await tried(world, only=["write-twice"])


class LosesPages(Fhir):
    async def _round(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        async for one in super().changes(ctx, None):
            if cursor is None or isinstance(one, Checkpoint):
                yield one

    def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        return self._round(ctx, cursor)


class SaysTooMuch(Fhir):
    scopes = frozenset(Scope) - {Scope.PATIENT_CONTACT}


async def test_a_feed_that_loses_what_comes_after_a_checkpoint_is_found(world: World) -> None:
    report = await tried(world, LosesPages)
    assert [one.check for one in report.results if one.verdict == "failed"] == ["resume"], report.table()


async def test_a_field_that_is_not_declared_is_found(world: World) -> None:
    report = await tried(world, SaysTooMuch, phone=number_in(world))
    assert [one.check for one in report.results if one.verdict == "failed"] == ["undeclared-field"], report.table()


async def test_a_recording_replays_and_holds_no_secret(world: World, tmp_path: Path) -> None:
    http = httpx.AsyncClient(transport=Recorder(over(world), tmp_path, [TOKEN]), trust_env=False)
    assert (await tried(world, http=http, phone=number_in(world), only=["find", "feed"])).passed
    written = texts_in(tmp_path)
    assert not [text for text in written if TOKEN in text or "uthorization" in text]
    exchanges = tuple(Exchange.model_validate_json(text) for text in written)
    assert exchanges
    plan = Plan(clock=world.clock(), timezone=ZONE.key, settings={"base_url": BASE})
    async with httpx.AsyncClient(transport=Server(Case(plan, exchanges), Clock())) as replay:
        for one in exchanges:
            wanted = one.request
            answer = await replay.request(wanted.method, f"http://ehr.test{wanted.path}", params=wanted.query)
            assert answer.status_code == one.response.status, wanted.path


async def test_a_recording_of_a_log_in_keeps_no_token(tmp_path: Path) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        said = {"access_token": "abc-123", "expires_in": 300, "note": "for s3cret"}
        return httpx.Response(200, json=said, headers={"Set-Cookie": "session=1"})

    inner = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with httpx.AsyncClient(transport=Recorder(inner, tmp_path, ["s3cret"])) as http:
        form = {"grant_type": "client_credentials", "client_assertion": "e30.e30.sig"}
        assert (await http.post("https://ehr.test/token", data=form)).json()["access_token"] == "abc-123"
    (text,) = texts_in(tmp_path)
    said = json.loads(text)
    assert said["request"]["body"] == {"grant_type": "client_credentials", "client_assertion": HIDDEN}
    assert said["response"]["body"] == {"access_token": HIDDEN, "expires_in": 300, "note": f"for {HIDDEN}"}
    assert said["response"]["headers"] == {"content-type": "application/json"}
