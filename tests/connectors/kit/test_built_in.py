"""The connectors that come with Chartline pass the kit, each by the case beside it."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors import host
from connectors.kit import Case, run
from connectors.kit.case import Assertion, Auth
from connectors.kit.exchange import Answer, Exchange, Wanted

TOKEN_URL = "https://ehr.example/auth/token"

CAPABILITY = {
    "fhir": {"feed", "find", "chart", "write", "stale-version", "read", "verify", "forged", "error-document"},
    "hl7v2": {"read", "read-endings", "read-escapes", "read-bundled", "read-standard", "zone-less", "dst"},
    "sandbox-sms": {"write", "lost-answer", "read", "verify", "forged", "stale-callback", "bad-key"},
    "salesforce": {"find", "write", "phone-formats"},
    "hubspot": {"find", "write", "phone-formats"},
}
"Checks that may not be skipped: what the connector is for."


@pytest.mark.parametrize("name", CAPABILITY)
async def test_a_built_in_connector_passes(name: str) -> None:
    kind = host.load(name)
    report = await run(kind, Case.load(Path(inspect.getfile(kind)).parent / "kit"))
    assert report.passed, report.table()
    passed = {result.check for result in report.results if result.verdict == "passed"}
    assert passed >= CAPABILITY[name], report.table()


async def test_the_fhir_connector_signs_as_backend_services_want_it() -> None:
    kind = host.load("fhir")
    case = Case.load(Path(inspect.getfile(kind)).parent / "kit")
    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    settings = {name: value for name, value in case.plan.settings.items() if name != "token"}
    settings |= {"client_id": "chartline", "private_key": key.decode(), "token_url": TOKEN_URL}
    rules = Assertion(path="/auth/token", audience=TOKEN_URL, client="{client_id}", key="{private_key}")
    open_ = ("GET /fhir/metadata", "GET /fhir/.well-known/*")
    plan = case.plan.model_copy(update={"settings": settings, "auth": Auth(assertion=rules, open=open_)})
    wanted = ["assertion", "check", "bad-key", "auth-mid-stream"]
    published = Exchange(
        request=Wanted(path="/fhir/.well-known/smart-configuration"),
        response=Answer(body={"token_endpoint": TOKEN_URL, "capabilities": ["client-confidential-asymmetric"]}),
    )
    report = await run(kind, replace(case, plan=plan, exchanges=(*case.exchanges, published)), only=wanted)
    assert {one.check: one.verdict for one in report.results} == dict.fromkeys(wanted, "passed"), report.table()
