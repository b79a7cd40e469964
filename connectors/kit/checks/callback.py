"""Callbacks: only what is genuine and fresh is taken."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from connectors.api import Callback, RejectedError, Verifies
from connectors.kit.bench import Bench
from connectors.kit.case import Verified
from connectors.kit.checks.check import Check, needs
from connectors.kit.error import Failed, Skipped

DAY = timedelta(days=1)


def _recorded(bench: Bench) -> tuple[tuple[Verified, Callback], ...]:
    needs(bench, Verifies, "verify")
    if not bench.case.callbacks:
        raise Skipped("needs-callbacks")
    return bench.case.callbacks


async def verify(bench: Bench) -> None:
    """A genuine callback gives its id."""
    for said, callback in _recorded(bench):
        ended = bench.verified(callback)
        if ended.error is not None:
            raise Failed("raised", f"{said.file}: {ended.kind}")
        if ended.value != said.id:
            raise Failed("another-id", said.file)


async def forged(bench: Bench) -> None:
    """One changed anywhere is rejected, and so is one that was signed with another key."""
    for said, callback in _recorded(bench):
        forgeries = _other_bodies(callback) if said.signed else ()
        for how, changed in (*forgeries, ("no headers", replace(callback, headers={}, query={}))):
            ended = bench.verified(changed)
            if not isinstance(ended.error, RejectedError):
                raise Failed("forgery-taken", f"{said.file}, {how}: {ended.kind}")
        marks = [bench.verified(changed) for changed in _with_other_headers(callback)]
        if odd := next((ended for ended in marks if ended.error and not isinstance(ended.error, RejectedError)), None):
            raise Failed("naive-exception", f"{said.file}: {odd.kind}")
        ended = bench.verified(callback, _other_secrets(bench))
        if not isinstance(ended.error, RejectedError):
            raise Failed("forgery-taken", f"{said.file}, another key: {ended.kind}")


def _other_secrets(bench: Bench) -> dict[str, str]:
    """Return the case's secrets, each another; what is a whole key stays, since none stands in for it."""
    given = {name: str(held) for name, held in bench.case.plan.settings.items() if name in bench.secret_names}
    return {name: held[::-1] + "x" for name, held in given.items() if not held.lstrip().startswith(("-----", "{"))}


def _other_bodies(callback: Callback) -> Iterator[tuple[str, Callback]]:
    body = callback.body
    for name, at in (("first byte", 0), ("middle byte", len(body) // 2), ("last byte", len(body) - 1)):
        if body:
            yield name, replace(callback, body=body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
    yield "longer body", replace(callback, body=body + b" ")


def _with_other_headers(callback: Callback) -> Iterator[Callback]:
    for name, value in callback.headers.items():
        for instead in ("", "x", value[:-1], value + value):
            yield replace(callback, headers={**callback.headers, name: instead})
        yield replace(callback, headers={one: held for one, held in callback.headers.items() if one != name})


async def stale_callback(bench: Bench) -> None:
    """A genuine one, a day later, is rejected: somebody repeats what they overheard."""
    dated = [(said, callback) for said, callback in _recorded(bench) if said.dated]
    if not dated:
        raise Skipped("needs-dated")
    for said, callback in dated:
        ended = bench.verified(replace(callback, received_at=callback.received_at + DAY))
        if not isinstance(ended.error, RejectedError):
            raise Failed("stale-taken", f"{said.file}: {ended.kind}")


CHECKS = (
    Check("verify", verify),
    Check("forged", forged, after=("verify",)),
    Check("stale-callback", stale_callback, after=("verify",)),
)
