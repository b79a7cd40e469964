"""Signing in: the good key, a bad one, and the assertion that stands for a key."""

from connectors.api import AuthExpiredError, Checks
from connectors.kit.bench import Bench
from connectors.kit.case import names_in
from connectors.kit.checks.check import Check, needs
from connectors.kit.error import Failed, Skipped
from connectors.kit.token import other_key


async def check(bench: Bench) -> None:
    """`check` returns."""
    needs(bench, Checks, "check")
    stage = bench.stage()
    await bench.value(stage, bench.checked(stage))
    if not stage.server.asked:
        raise Failed("asked-nothing")


async def bad_key(bench: Bench) -> None:
    """With any secret that the server is shown wrong, `check` raises AuthExpiredError."""
    needs(bench, Checks, "check")
    auth = bench.case.plan.auth
    if auth is None:
        raise Skipped("needs-auth")
    template = auth.assertion.key if auth.assertion else auth.value
    shown = {one for name in names_in(template) for one in name.removeprefix("basic:").split(":")}
    for name in sorted(shown & bench.secret_names or shown):
        right = str(bench.case.plan.settings[name])
        wrong = other_key(right) if auth.assertion else right[::-1] + "x"
        bench.watch.secrets.add(wrong)
        stage = bench.stage(settings={name: wrong})
        ended = await bench.ended(bench.checked(stage))
        if not isinstance(ended.error, AuthExpiredError):
            raise Failed("expected-AuthExpiredError", f"{name}: {ended.kind}")


async def assertion(bench: Bench) -> None:
    """The assertion holds, and is another each time."""
    needs(bench, Checks, "check")
    auth = bench.case.plan.auth
    if auth is None or auth.assertion is None:
        raise Skipped("needs-auth-assertion")
    seen: list[str] = []
    for _ in range(2):
        stage = bench.stage()
        await bench.ended(bench.checked(stage))
        tokens = stage.server.tokens
        if tokens is None or not (tokens.seen or tokens.faults):
            raise Failed("no-assertion")
        if tokens.faults:
            raise Failed("assertion-wrong", tokens.faults[0])
        seen += tokens.seen
    if len(set(seen)) != len(seen):
        raise Failed("assertion-wrong", "jti")


CHECKS = (
    Check("assertion", assertion),
    Check("check", check, after=("assertion",)),
    Check("bad-key", bad_key, after=("assertion", "check")),
)
