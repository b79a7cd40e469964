"""A report says the same as a table, as JSON and as JUnit XML."""

import json
from xml.etree import ElementTree

from connectors.kit import Report, Result

REPORT = Report(
    "acme",
    [
        Result("check", "passed", seconds=0.25),
        Result("find", "failed", "not-found", "0 patients, not 1, as <5554364287> & co", 1.5),
        Result("chart", "skipped", "no-chart"),
    ],
)


def test_a_report_with_a_failure_did_not_pass() -> None:
    assert not REPORT.passed
    assert Report("acme", REPORT.results[::2]).passed
    assert not Report("acme", []).passed  # nothing was tried


def test_the_table_has_a_line_for_each_check_and_one_for_all() -> None:
    lines = [line.split() for line in REPORT.table().splitlines() if line.strip()]
    assert [line[0] for line in lines] == ["check", "check", "find", "chart", "acme:"]
    assert lines[1] == ["check", "ok", "250"]
    assert lines[2][1:4] == ["FAILED", "not-found:", "0"]
    assert REPORT.summary() == "acme: 1 passed, 1 failed, 1 skipped in 1.8 s"
    assert all(len(line) <= 60 for line in REPORT.table(width=60).splitlines())


def test_json_holds_every_result() -> None:
    said = json.loads(REPORT.as_json())
    assert (said["connector"], said["passed"], said["seconds"]) == ("acme", False, 1.75)
    assert [Result(**one) for one in said["results"]] == REPORT.results


def test_junit_is_read_as_a_test_suite() -> None:
    suite = ElementTree.fromstring(REPORT.junit())
    assert suite.tag == "testsuite"
    assert {name: suite.get(name) for name in ("name", "tests", "failures", "skipped", "time")} == {
        "name": "chartline.acme",
        "tests": "3",
        "failures": "1",
        "skipped": "1",
        "time": "1.750",
    }
    assert [case.get("name") for case in suite] == ["check", "find", "chart"]
    (failure,) = suite.iter("failure")
    assert (failure.get("message"), failure.text) == ("not-found", "0 patients, not 1, as <5554364287> & co")
    assert [one.get("message") for one in suite.iter("skipped")] == ["no-chart"]
