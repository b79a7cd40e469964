"""Each fault is found by the check that is named for it, and by no other."""

from pathlib import Path

import pytest

from connectors.kit import Case, names, run
from tests.connectors.kit import faulty_feed, faulty_message, faulty_request, signed
from tests.connectors.kit.clinic import Clinic

CASE = Path(__file__).parent / "case"

FAULTY = (*faulty_feed.FAULTY, *faulty_request.FAULTY, *faulty_message.FAULTY)


async def test_the_good_connector_passes_every_check_that_concerns_it() -> None:
    report = await run(Clinic, Case.load(CASE))
    assert report.passed, report.table()
    assert [result.check for result in report.results if result.verdict == "skipped"] == ["assertion"]


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
async def test_a_fault_is_found_by_the_check_that_names_it(kind: type[Clinic]) -> None:
    report = await run(kind, Case.load(CASE))
    assert [result.check for result in report.results if result.verdict == "failed"] == [kind.__doc__], report.table()


async def test_the_good_connector_with_a_key_passes_too() -> None:
    report = await run(signed.Signed, signed.signed_case(Case.load(CASE)))
    assert report.passed, report.table()
    assert [result.check for result in report.results if result.verdict == "skipped"] == []


@pytest.mark.parametrize("kind", signed.FAULTY, ids=lambda kind: kind.__name__)
async def test_a_wrong_assertion_is_found(kind: type[signed.Signed]) -> None:
    report = await run(kind, signed.signed_case(Case.load(CASE)))
    assert [result.check for result in report.results if result.verdict == "failed"] == [kind.__doc__], report.table()


def test_every_check_has_a_connector_that_fails_it() -> None:
    proven = {kind.__doc__ for kind in (*FAULTY, *signed.FAULTY)}
    assert set(names()) - proven == {"covered"}  # what a case leaves out is in test_case
    assert len(proven) >= 24
