"""The conformance kit: proves a connector against a recorded server that misbehaves as real ones do.

report = await run(Acme, Case.load(Path(acme.__file__).parent / "kit"))
assert report.passed, report.table()
"""

from connectors.kit.case import Case
from connectors.kit.error import CaseError
from connectors.kit.live import live
from connectors.kit.report import Report, Result
from connectors.kit.running import names, run

__all__ = ["Case", "CaseError", "Report", "Result", "live", "names", "run"]
