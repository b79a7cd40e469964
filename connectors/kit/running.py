"""Run the checks of a case, one after the other, on a clock that costs no time."""

import asyncio
import threading
import time
import traceback
from collections.abc import Collection, Sequence

from connectors.api import AnyConnector
from connectors.kit.bench import Bench
from connectors.kit.case import Case
from connectors.kit.checks import CHECKS
from connectors.kit.checks.check import Check, chosen
from connectors.kit.error import CaseError, Failed, Skipped
from connectors.kit.report import Report, Result
from connectors.kit.virtual import play
from connectors.kit.watch import Watch, watching


def names() -> tuple[str, ...]:
    """Return the names of all checks, in their order."""
    return tuple(check.name for check in CHECKS)


async def run(kind: type[AnyConnector], case: Case, *, only: Collection[str] = ()) -> Report:
    """Try `kind` by `case` and return how each check ended; `only` names checks.

    It works in a thread with an event loop of its own, where time is virtual. While it does, what the process logs
    and prints is kept for the checks of privacy, and not shown.

    Raises:
        CaseError: `only` or `[skip]` names no check, or the case's settings are not what the connector takes.
    """
    known = names()
    if unknown := [name for name in (*only, *case.plan.skip) if name not in known]:
        raise CaseError(f"no check is called {unknown[0]}")
    case.fits(kind)
    return await asyncio.to_thread(_run, kind, case, only)


_alone = threading.Lock()
"What is logged and printed is the process's, so one connector is tried at a time."


def _run(kind: type[AnyConnector], case: Case, only: Collection[str]) -> Report:
    watch = Watch()
    with _alone, watching(watch):
        results = play(_checked(kind, case, watch, chosen(CHECKS, only)))
    return Report(kind.name, [result for result in results if not only or result.check in only])


async def _checked(kind: type[AnyConnector], case: Case, watch: Watch, checks: Sequence[Check]) -> list[Result]:
    try:
        bench = Bench(kind, case, watch)
    except Failed as ended:
        return [Result(check.name, "failed", ended.reason, ended.detail) for check in checks]
    results = []
    for check in checks:
        result = await outcome(bench, check)
        if result.verdict == "failed":
            bench.failed.add(check.name)
        results.append(result)
    return results


async def outcome(bench: Bench, check: Check) -> Result:
    """Run one check."""
    begun_at = time.perf_counter()
    try:
        if given_up := bench.case.plan.skip.get(check.name):
            raise Skipped("given-up", given_up)
        if behind := next((name for name in check.after if name in bench.failed), None):
            raise Skipped(f"see-{behind}")
        await check.run(bench)
        result = Result(check.name, "passed")
    except Skipped as ended:
        result = Result(check.name, "skipped", ended.reason, ended.detail)
    except Failed as ended:
        result = Result(check.name, "failed", ended.reason, ended.detail)
    except CaseError:
        raise
    except Exception as error:  # of the kit itself: the other checks still have something to say
        place = traceback.extract_tb(error.__traceback__)[-1]
        result = Result(check.name, "failed", "defect", f"{type(error).__name__} in {place.name}, line {place.lineno}")
    return Result(result.check, result.verdict, result.reason, result.detail, round(time.perf_counter() - begun_at, 6))
