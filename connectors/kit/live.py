"""The checks that do no harm to a live system: nothing is written there, and little is asked for."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from pydantic import SecretStr

from connectors.api import AnyConnector, AuthExpiredError, Checkpoint, Checks, Feeds, FindsPatients, Settings
from connectors.kit.bench import Bench, Round, Stage
from connectors.kit.case import Case, Expected, Found, Plan
from connectors.kit.checks.check import Check, chosen, needs
from connectors.kit.checks.package import undeclared_field, undeclared_host
from connectors.kit.checks.privacy import CHECKS as PRIVACY
from connectors.kit.error import CaseError, Failed, Skipped
from connectors.kit.ledger import Ledger, named
from connectors.kit.report import Report, Result
from connectors.kit.running import outcome
from connectors.kit.server import Server
from connectors.kit.watch import Watch, watching
from connectors.stream import Dial

RESUMED = 3
"Checkpoints of a round that are resumed from at most: the first ones, since each costs nearly a round."


class LiveBench(Bench):
    """Tries a connector against the system that `http` leads to, on the real clock."""

    patience = 300.0

    def __init__(
        self,
        kind: type[AnyConnector],
        case: Case,
        watch: Watch,
        http: httpx.AsyncClient,
        clock: Callable[[], datetime],
        connect: Dial | None,
    ) -> None:
        super().__init__(kind, case, watch)
        self._connect = connect
        self._http = http
        self._clock = clock

    def clock(self, later: float = 0.0) -> Callable[[], datetime]:  # noqa: ARG002 - nobody moves this one
        """Return the clock of the host."""
        return self._clock

    def staged(self, connector: AnyConnector, server: Server) -> Stage:
        """Return that connector before the live system."""
        return self.before(connector, server, self._http, self._connect)


async def check(bench: Bench) -> None:
    """`check` returns."""
    needs(bench, Checks, "check")
    stage = bench.stage()
    await bench.value(stage, bench.checked(stage))


async def bad_key(bench: Bench) -> None:
    """With a secret wrong, `check` raises AuthExpiredError; one try for each secret, so that nobody is locked out."""
    needs(bench, Checks, "check")
    given = {name: str(bench.case.plan.settings[name]) for name in bench.secret_names & bench.case.plan.settings.keys()}
    if not given:
        raise Skipped("needs-a-secret")
    ends = []
    for name, secret in sorted(given.items()):
        try:
            stage = bench.stage(settings={name: secret[::-1] + "x"})
        except Failed:
            continue  # a key that is none is not taken at all
        bench.watch.secrets.add(secret[::-1] + "x")
        ends.append(await bench.ended(bench.checked(stage)))
    if not ends:
        raise Skipped("needs-another-key")
    if not any(isinstance(ended.error, AuthExpiredError) for ended in ends):
        raise Failed("expected-AuthExpiredError", ", ".join(ended.kind for ended in ends))


async def find(bench: Bench) -> None:
    """The number that the operator names finds somebody."""
    needs(bench, FindsPatients, "find_patients")
    asked = bench.case.plan.expect.find_patients
    if not asked:
        raise Skipped("needs-a-number")
    stage = bench.stage()
    refs = await bench.value(stage, bench.found(stage, asked[0].phone))
    if not refs:
        raise Failed("not-found", "nobody has the number")
    if any(ref.facts.phones and asked[0].phone not in {one.e164 for one in ref.facts.phones} for ref in refs):
        raise Failed("strangers-found", f"{len(refs)} patients")


async def feed(bench: Bench) -> None:
    """One round ends with a checkpoint after all that it told."""
    needs(bench, Feeds, "changes")
    stage = bench.stage()
    said = await bench.value(stage, bench.drained(stage, None))
    if said.cursor is None:
        raise Failed("no-checkpoint")
    if not isinstance(said.told[-1], Checkpoint):
        raise Failed("changes-after-the-last-checkpoint")
    bench.remembered["round"] = said


async def resume(bench: Bench) -> None:
    """A fresh connector that goes on from a checkpoint tells all that the round told after it."""
    needs(bench, Feeds, "changes")
    said: Round | None = bench.remembered.get("round")
    if said is None:
        raise Skipped("see-feed")
    whole = Ledger(said.changes).state().keys()
    places = [at for at, one in enumerate(said.told) if isinstance(one, Checkpoint)]
    for number, at in enumerate(places[:RESUMED], 1):
        reached = said.told[at]
        stage = bench.stage()
        cursor = reached.cursor if isinstance(reached, Checkpoint) else None
        again = await bench.value(stage, bench.drained(stage, cursor))
        # What changed over there in the meantime is no fault; what is missing is.
        after = Ledger(Round(said.told[:at]).changes + again.changes).state().keys()
        if lost := whole - after:
            raise Failed("lost", f"checkpoint {number}: {named(lost)}")


CHECKS = (
    Check("check", check),
    Check("bad-key", bad_key, after=("check",)),
    Check("find", find, after=("check",)),
    Check("feed", feed, after=("check",)),
    Check("resume", resume, after=("feed",)),
    Check("undeclared-field", undeclared_field, judges=True),
    Check("undeclared-host", undeclared_host, judges=True),
    *PRIVACY,
)


def names() -> tuple[str, ...]:
    """Return the names of the checks that are safe on a live system."""
    return tuple(one.name for one in CHECKS)


async def live(
    kind: type[AnyConnector],
    settings: Settings,
    http: httpx.AsyncClient,
    *,
    clock: Callable[[], datetime],
    timezone: ZoneInfo,
    region: str,
    connect: Dial | None = None,
    phone: str = "",
    only: Collection[str] = (),
) -> Report:
    """Try `kind` with a connection's settings against its system, and return how each check ended.

    `http` and `connect` are what the egress gate opened; `phone` (E.164) is a number that somebody there has. Nothing
    is written. While it runs, what the process logs and prints is kept for the checks of privacy, and not shown.

    Raises:
        CaseError: `only` names no such check, or the connector does not take the settings.
    """
    if unknown := [name for name in only if name not in names()]:
        raise CaseError(f"no check of a live system is called {unknown[0]}")
    asked = (Found(phone=phone, ids=()),) if phone else ()
    plan = Plan(
        clock=clock(),
        timezone=timezone.key,
        region=region,
        settings=in_clear(settings),
        expect=Expected(find_patients=asked),
    )
    case = Case(plan)
    case.fits(kind)
    watch = Watch()
    results: list[Result] = []
    wanted = chosen(CHECKS, only)
    with watching(watch, sealed=False):
        try:
            bench = LiveBench(kind, case, watch, http, clock, connect)
        except Failed as ended:
            return Report(kind.name, [Result(one.name, "failed", ended.reason, ended.detail) for one in wanted])
        for one in wanted:
            result = await outcome(bench, one)
            if result.verdict == "failed":
                bench.failed.add(one.name)
            results.append(result)
    return Report(kind.name, [result for result in results if not only or result.check in only])


def in_clear(settings: Settings) -> dict[str, Any]:
    """Return settings as they are written, with each secret in clear; for another connector of the same kind."""
    return {name: _clear(getattr(settings, name)) for name in settings.model_fields_set}


def _clear(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


__all__ = ["live", "names"]
