"""The conformance kit's verdict, from the recording beside the connector."""

from pathlib import Path

import connectors.salesforce
from connectors.kit import Case, run
from connectors.salesforce import Salesforce

SKIPPED = {"no-changes", "no-chart", "no-read", "no-set-status", "no-verify", "needs-times", "needs-start-times"}
"What concerns no CRM."


async def test_the_kit_is_content() -> None:
    report = await run(Salesforce, Case.load(Path(connectors.salesforce.__file__).parent / "kit"))
    assert report.passed, report.table()
    skipped = {one.check: one.reason for one in report.results if one.verdict == "skipped"}
    assert {check for check, reason in skipped.items() if reason not in SKIPPED} <= {"assertion"}, report.table()
