"""The connectors that come with Chartline pass the kit, each by the case beside it."""

import inspect
from pathlib import Path

import pytest

from connectors import host
from connectors.kit import Case, run

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
