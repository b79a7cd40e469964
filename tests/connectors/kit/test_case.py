"""A case: what is wrong with it is said by file and place; what it leaves out is not passed."""

import asyncio
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from connectors.kit import Case, CaseError, names, run
from connectors.kit.case import Expected, identifier, names_in
from tests.connectors.kit.clinic import Clinic, ClinicSettings
from tests.connectors.kit.faulty_request import LogsANumber

CASE = Path(__file__).parent / "case"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return copytree(CASE, tmp_path / "kit")


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("kit.toml", "clock = 2026", "clock = yesterday 2026", "kit.toml: "),
        ("kit.toml", 'timezone = "America/New_York"', 'timezone = "Mars/Olympus"', "timezone: "),
        ("kit.toml", 'phone = "+15554364287"', 'phone = "555-436-4287"', "expect.find_patients.0.phone: "),
        ("kit.toml", 'fact = "patient"', 'fact = "person"', "expect.changes.3.fact: "),
        ("kit.toml", 'topic = "Phone call"', 'subject = "Phone call"', "expect.log.0.topic: "),
        ("kit.toml", 'file = "s12.hl7"', 'file = "s99.hl7"', "messages/s99.hl7: No such file"),
        ("exchanges/chart.json", '"path"', '"address"', "exchanges/chart.json: 0.request.path: "),
        ("exchanges/chart.json", "{", "", "exchanges/chart.json: "),
        ("callbacks/reply.json", "received_at", "at", "callbacks/reply.json: received_at: "),
    ],
)
def test_what_is_wrong_with_a_case_is_said_by_file_and_place(
    directory: Path, file: str, old: str, new: str, said: str
) -> None:
    rewrite(directory / file, old, new)
    with pytest.raises(CaseError, match=said.replace(".", r"\.")):
        Case.load(directory)


def test_a_directory_without_a_case_is_said(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"kit\.toml: No such file"):
        Case.load(tmp_path)


async def test_settings_that_the_connector_does_not_take_are_said_without_running(directory: Path) -> None:
    rewrite(directory / "kit.toml", "base_url = ", "address = ")
    with pytest.raises(CaseError, match=r"kit\.toml/settings: base_url: Field required; address: "):
        await run(Clinic, Case.load(directory))


class CannotBeMade(Clinic):
    def __init__(self, settings: ClinicSettings) -> None:
        super().__init__(settings)
        raise TypeError(settings.token.get_secret_value())


async def test_a_connector_that_cannot_be_made_fails_every_check() -> None:
    report = await run(CannotBeMade, Case.load(CASE))
    assert {(one.verdict, one.reason, one.detail) for one in report.results} == {
        ("failed", "settings-not-taken", "TypeError")
    }
    assert [one.check for one in report.results] == list(names())


async def test_two_connectors_at_once_are_tried_one_after_the_other() -> None:
    case = Case.load(CASE)
    good, bad = await asyncio.gather(run(Clinic, case), run(LogsANumber, case))
    assert good.passed, good.table()
    assert [one.check for one in bad.results if one.verdict == "failed"] == ["phi-in-log"], bad.table()


async def test_a_check_of_no_such_name_is_said(directory: Path) -> None:
    with pytest.raises(CaseError, match="no check is called fed"):
        await run(Clinic, Case.load(directory), only=["fed"])
    (directory / "kit.toml").write_text((directory / "kit.toml").read_text() + '\n[skip]\nslowness = "it is"\n')
    with pytest.raises(CaseError, match="no check is called slowness"):
        await run(Clinic, Case.load(directory))


async def test_what_the_case_gives_up_is_skipped_with_its_reason(directory: Path) -> None:
    (directory / "kit.toml").write_text((directory / "kit.toml").read_text() + '\n[skip]\nslow = "nobody waits"\n')
    report = await run(Clinic, Case.load(directory), only=["slow", "check"])
    assert [(one.check, one.verdict, one.reason, one.detail) for one in report.results] == [
        ("check", "passed", "", ""),
        ("slow", "skipped", "given-up", "nobody waits"),
    ]


async def test_methods_that_nothing_is_expected_of_fail_and_their_checks_say_what_they_need() -> None:
    case = Case.load(CASE)
    bare = replace(
        case, messages=(), callbacks=(), plan=case.plan.model_copy(update={"expect": Expected(), "auth": None})
    )
    results = {one.check: one for one in (await run(Clinic, bare)).results}
    assert results["covered"].verdict == "failed"
    assert results["covered"].detail.count("[[expect.") == 8
    assert {name: results[name].reason for name in ("bad-key", "find", "chart", "write", "read", "verify")} == {
        "bad-key": "needs-auth",
        "find": "needs-find-patients",
        "chart": "needs-chart",
        "write": "needs-a-write",
        "read": "needs-messages",
        "verify": "needs-callbacks",
    }


async def test_a_request_that_was_not_recorded_is_named_without_its_values(directory: Path) -> None:
    (directory / "exchanges" / "patients.json").unlink()
    report = await run(Clinic, Case.load(directory), only=["find"])
    (result,) = report.results
    assert (result.verdict, result.reason) == ("failed", "not-recorded")
    assert result.detail == "GET /api/patients?phone"


async def test_only_a_check_that_judges_the_others_runs_them_all() -> None:
    report = await run(Clinic, Case.load(CASE), only=["undeclared-field"])
    assert [one.check for one in report.results] == ["undeclared-field"]
    assert report.passed  # what the good connector told was looked at: see SaysMoreThanItDeclares


def test_settings_stand_in_templates() -> None:
    case = Case.load(CASE)
    assert case.filled("Bearer {token}") == "Bearer kit-token-3f9c"
    assert case.filled("{basic:token:secret}") == "Basic a2l0LXRva2VuLTNmOWM6a2l0LXNlY3JldC03N2Ex"
    assert names_in("{a} and {b}") == ["a", "b"]
    with pytest.raises(CaseError, match="no setting password"):
        case.filled("{basic:token:password}")


def test_an_identifier_is_written_with_its_system_first() -> None:
    assert (identifier("a|b|17").system, identifier("a|b|17").value) == ("a|b", "17")
    assert (identifier("17").system, identifier("17").value) == ("", "17")
