"""What came out: a result for each check, as a table, as JSON, as JUnit XML."""

import io
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal
from xml.etree import ElementTree

import orjson
from rich.console import Console
from rich.table import Table

Outcome = Literal["passed", "failed", "skipped"]

_MARKS: dict[Outcome, str] = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}

WIDTH = 118
"Columns of the table where nobody says how wide the terminal is."


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended."""

    check: str
    verdict: Outcome
    reason: str = ""
    "Why, as a stable, lower-case, hyphenated text; empty where it passed."

    detail: str = ""
    "Where: names of fields and kinds of errors."

    seconds: float = 0.0
    "Real ones."


@dataclass(frozen=True, slots=True)
class Report:
    """How the checks of one connector ended, in their order."""

    connector: str
    results: list[Result]

    @property
    def passed(self) -> bool:
        """Whether there were checks, and none of them failed."""
        return bool(self.results) and all(result.verdict != "failed" for result in self.results)

    @property
    def seconds(self) -> float:
        """Real seconds of all checks."""
        return sum(result.seconds for result in self.results)

    def count(self, verdict: Outcome) -> int:
        """Return how many checks ended so."""
        return Counter(result.verdict for result in self.results)[verdict]

    def summary(self) -> str:
        """Return one line of it."""
        counted = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in _MARKS)
        return f"{self.connector}: {counted} in {self.seconds:.1f} s"

    def table(self, *, width: int = WIDTH) -> str:
        """Return it for a terminal of `width` columns, without colours."""
        table = Table(box=None, pad_edge=False, show_edge=False)
        for title in ("check", "", "reason"):
            table.add_column(title, no_wrap=title != "reason")
        table.add_column("ms", justify="right")
        for result in self.results:
            reason = f"{result.reason}: {result.detail}" if result.detail else result.reason
            table.add_row(result.check, _MARKS[result.verdict], reason, f"{result.seconds * 1000:.0f}")
        out = io.StringIO()
        console = Console(file=out, width=width, color_system=None, markup=False, highlight=False, emoji=False)
        console.print(table)
        console.print(self.summary())
        return out.getvalue()

    def as_json(self) -> str:
        """Return it as a JSON object: connector, passed, seconds, results."""
        said = {
            "connector": self.connector,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "results": [asdict(result) for result in self.results],
        }
        return orjson.dumps(said, option=orjson.OPT_INDENT_2).decode()

    def junit(self) -> str:
        """Return it as JUnit XML, as the test displays of CI servers read it."""
        suite = ElementTree.Element(
            "testsuite",
            name=f"chartline.{self.connector}",
            tests=str(len(self.results)),
            failures=str(self.count("failed")),
            errors="0",
            skipped=str(self.count("skipped")),
            time=f"{self.seconds:.3f}",
        )
        for result in self.results:
            case = ElementTree.SubElement(
                suite, "testcase", classname=suite.get("name", ""), name=result.check, time=f"{result.seconds:.3f}"
            )
            if result.verdict != "passed":
                tag = "failure" if result.verdict == "failed" else "skipped"
                ElementTree.SubElement(case, tag, message=result.reason).text = result.detail
        ElementTree.indent(suite)
        return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


__all__ = ["Outcome", "Report", "Result"]
