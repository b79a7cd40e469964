"""Opened from the EHR: whoever is signed in lands on the patient; what was not begun here, and once, ends nowhere."""

import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from connectors.api import Identifier, MergeFacts, PatientFacts, Version
from hub.api.caller import SESSION_COOKIE
from hub.api.launch import KNOWN, MOST, Begun, LaunchInvalidError, Pending
from hub.record import token
from hub.record.appointment import Appointment
from hub.security.access import Scope
from tests.connectors.stage import served
from tests.hub.api.office import NOW, POLICY, Office, Worker, opened, subjects_of

APP = "chartline-app"

CONNECTION = """
[[connection]]
name = "ehr"
connector = "fhir"
settings = {{ base_url = "{base}", launch_client_id = "chartline-app" }}

[[connection]]
name = "other"
connector = "fhir"
settings = {{ base_url = "{base}", launch_client_id = "chartline-app" }}
"""


@dataclass
class Ehr:
    """An EHR that somebody is signed in to; it holds us to RFC 7636."""

    patient: str
    denies: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/fhir/.well-known/smart-configuration", self.configuration),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def configuration(self, request: Request) -> Response:
        self.asked.append("configuration")
        here = str(request.base_url).rstrip("/")
        return JSONResponse(
            {
                "authorization_endpoint": f"{here}/authorize",
                "token_endpoint": f"{here}/token",
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def authorize(self, request: Request) -> Response:
        """Let the browser in at once: it is the EHR's own."""
        said = dict(request.query_params)
        assert said["aud"] == f"{str(request.base_url).rstrip('/')}/fhir"
        assert (said["client_id"], said["code_challenge_method"], said["launch"]) == (APP, "S256", "handle-7")
        if self.denies:
            return RedirectResponse(f"{said['redirect_uri']}?error=access_denied&state={said['state']}")
        code = uuid4().hex
        self.codes[code] = said
        return RedirectResponse(f"{said['redirect_uri']}?code={code}&state={said['state']}")

    async def token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        begun = self.codes.pop(form["code"], None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if begun is None or proof != begun["code_challenge"] or form["redirect_uri"] != begun["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"access_token": "of the EHR", "token_type": "Bearer", "patient": self.patient})


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(tmp_path_factory.mktemp("clinic")) as office:
        yield office


@pytest.fixture
def office(clinic: Office) -> Office:
    clinic.now = max(clinic.now, NOW)
    return clinic


@dataclass
class Browser:
    """What is open on somebody's screen, and the EHR that they work in."""

    office: Office
    ehr: Ehr
    base: str
    shown: str
    "The session's token, as the login's cookie holds it."

    async def get(self, url: str, shown: str | None = None) -> httpx.Response:
        cookies = {SESSION_COOKIE: shown if shown is not None else self.shown}
        ours = urlsplit(url).path.startswith(("/launch", "/desk", "/v1"))
        transport = httpx.ASGITransport(self.office.app) if ours else None
        there = httpx.URL(url)
        if ours:
            there = httpx.URL("http://hub.test").copy_with(raw_path=there.raw_path)
        async with httpx.AsyncClient(transport=transport, trust_env=False, cookies=cookies if ours else None) as http:
            return await http.get(there)

    async def launch(self, **said: str) -> httpx.Response:
        asked = httpx.QueryParams({"iss": self.base, "launch": "handle-7"} | said)
        return await self.get(f"/launch/ehr?{asked}")

    async def back(self) -> str:
        """Launch and be let in by the EHR; return where its answer leads."""
        return str((await self.get((await self.launch()).headers["location"])).headers["location"])


def session(office: Office, who: Worker) -> str:
    """Log somebody in; return what the cookie holds."""
    how: dict[str, Any] = {"lifetime": timedelta(hours=1), "kind": token.TokenKind.SESSION}
    return str(office.write(token.create, scopes=list(Scope), staff_id=who.id, now=office.now, **how)[1])


@asynccontextmanager
async def signed_in(office: Office, *, patient: str | None = None) -> AsyncIterator[Browser]:
    """Open an EHR, and a session of somebody at the front desk."""
    ehr = Ehr(patient or uuid4().hex)
    async with served(ehr.app()) as address:
        base = f"{address}/fhir"
        office.publish(POLICY + CONNECTION.format(base=base))
        yield Browser(office, ehr, base, session(office, office.worker("front-desk")))


def known(office: Office, own: str, **said: Any) -> str:
    """Register the patient whom the EHR calls `own`."""
    visit = office.visit(ids=(Identifier(system="fhir/Patient", value=own),), **said)
    (applied,) = office.tell(visit, connection="ehr")
    with office.instance.db.read() as db:
        return str(db.get_one(Appointment, applied.appointment_id).patient_id)


def acts(office: Office, answer: httpx.Response) -> list[str]:
    return [record["act"] for record in office.audited(answer)]


async def test_a_chart_that_is_open_there_opens_here(office: Office) -> None:
    async with signed_in(office) as browser:
        own = known(office, browser.ehr.patient)
        begun = await browser.launch()
        assert begun.status_code == 303
        let_in = await browser.get(begun.headers["location"])
        ended = await browser.get(let_in.headers["location"])
        assert (ended.status_code, ended.headers["location"]) == (303, f"/desk?patient={own}")
        page = await browser.get(f"/desk/part/patient?patient={own}")
        assert page.status_code == 200
        assert "Ana Rivera" in page.text
    assert acts(office, begun) == ["launch.begun"]
    (noted,) = office.audited(ended)
    assert (noted["act"], noted["detail"]) == ("launch.opened", {"connection": "ehr"})
    assert {str(one) for one in subjects_of(noted)} == {own}
    assert ended.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("iss", ["http://evil.test/fhir", "", "https://127.0.0.1/fhir"])
async def test_another_server_launches_nothing_and_is_not_asked(office: Office, iss: str) -> None:
    async with signed_in(office) as browser:
        answer = await browser.launch(iss=iss)
        assert (answer.status_code, answer.json()["code"]) == (422, "launch-invalid")
        assert browser.ehr.asked == []


async def test_a_launch_needs_a_session_of_somebody_who_sees_patients(office: Office) -> None:
    async with signed_in(office) as browser:
        url = f"/launch/ehr?iss={browser.base}&launch=handle-7"
        admin = session(office, office.worker("admin"))
        for shown, code in (("", "token-invalid"), ("cl_nobodys", "token-invalid"), (admin, "scope-missing")):
            assert (await browser.get(url, shown)).json()["code"] == code
        program = office.program(Scope.PATIENTS_READ)
        assert (await browser.get(url, program)).json()["code"] == "token-invalid"
        async with office.http(program) as http:
            assert (await http.get(url)).json()["code"] == "person-needed"
        assert browser.ehr.asked == []


async def test_an_answer_counts_once(office: Office) -> None:
    async with signed_in(office) as browser:
        known(office, browser.ehr.patient)
        back = await browser.back()
        assert (await browser.get(back)).status_code == 303
        again = await browser.get(back)
        assert (again.status_code, again.json()["code"]) == (422, "launch-invalid")


async def test_an_answer_counts_for_the_session_and_the_connection_that_began_it(office: Office) -> None:
    async with signed_in(office) as browser:
        known(office, browser.ehr.patient)
        other = session(office, office.worker("front-desk"))
        back = await browser.back()
        assert (await browser.get(back, other)).json()["code"] == "launch-invalid"
        assert (await browser.get(back)).json()["code"] == "launch-invalid"  # used up by the attempt
        elsewhere = (await browser.back()).replace("/launch/ehr/", "/launch/other/")
        assert (await browser.get(elsewhere)).json()["code"] == "launch-invalid"
        made_up = "/launch/ehr/callback?state=made-up&code=c"
        assert (await browser.get(made_up)).json()["code"] == "launch-invalid"


async def test_an_answer_that_comes_too_late_counts_no_more(office: Office) -> None:
    async with signed_in(office) as browser:
        known(office, browser.ehr.patient)
        back = await browser.back()
        office.now += KNOWN - timedelta(minutes=5)
        await browser.get("/v1/login")  # the session is in use
        office.now += timedelta(minutes=5)
        assert (await browser.get(back)).json()["code"] == "launch-invalid"


async def test_whom_the_ehr_does_not_let_in_is_told_so(office: Office) -> None:
    async with signed_in(office) as browser:
        browser.ehr.denies = True
        answer = await browser.get(await browser.back())
    assert (answer.status_code, answer.json()["code"]) == (403, "launch-refused")
    assert acts(office, answer) == ["launch.refused"]


async def test_a_code_that_the_ehr_refuses_opens_nothing(office: Office) -> None:
    async with signed_in(office) as browser:
        back = await browser.back()
        browser.ehr.codes.clear()
        answer = await browser.get(back)
    assert (answer.status_code, answer.json()["code"]) == (422, "rejected")
    assert answer.json()["detail"] == "token-refused (invalid-grant)"


async def test_who_is_not_known_or_restricted_is_not_found(office: Office) -> None:
    async with signed_in(office) as browser:
        answer = await browser.get(await browser.back())
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
        assert acts(office, answer) == ["launch.unknown"]
        own = known(office, browser.ehr.patient)
        office.restrict(UUID(own))
        assert (await browser.get(await browser.back())).status_code == 404


async def test_the_id_of_a_merged_record_leads_to_the_survivor(office: Office) -> None:
    async with signed_in(office) as browser:
        known(office, browser.ehr.patient)
        left = known(office, kept := uuid4().hex)
        version = Version(at=office.now + timedelta(seconds=1), tag="2")
        survivor = PatientFacts(ids=(Identifier(system="fhir/Patient", value=kept),), version=version)
        merged = (Identifier(system="fhir/Patient", value=browser.ehr.patient),)
        office.tell(MergeFacts(survivor=survivor, merged=merged, version=version), connection="ehr")
        answer = await browser.get(await browser.back())
    assert answer.headers["location"] == f"/desk?patient={left}"


async def test_a_connection_that_launches_nothing_is_not_found(office: Office) -> None:
    async with signed_in(office) as browser:
        for name in ("sms", "adt", "nowhere"):
            answer = await browser.get(f"/launch/{name}?iss={browser.base}&launch=x")
            assert answer.json()["code"] == "not-found"


def test_no_more_launches_are_kept_than_can_be_under_way() -> None:
    pending, who = Pending(), uuid4()
    for number in range(MOST + 1):
        pending.begin(str(number), Begun("ehr", who, "v", NOW + KNOWN))
    with pytest.raises(LaunchInvalidError):
        pending.end("0", "ehr", who, NOW)
    assert pending.end("1", "ehr", who, NOW) == "v"
    assert "s3cret" not in repr(Begun("ehr", who, "s3cret", NOW))
