"""Writing: one effect for one key, whatever happens to the answer, and none over somebody else's change."""

from typing import Any

from connectors.api import (
    CommunicationFacts,
    ConflictError,
    ConnectorError,
    Logs,
    Receipt,
    Sends,
    SetsStatus,
    Sms,
    TransientError,
    UnknownOutcomeError,
)
from connectors.kit.bench import Bench, Ended, Stage
from connectors.kit.case import Logged, Sent, StatusSet, identifier
from connectors.kit.checks.check import Check, has
from connectors.kit.error import Failed, Skipped
from connectors.kit.server import Script

Write = StatusSet | Logged | Sent


async def written(bench: Bench, stage: Stage, one: Write, key: str, if_version: str | None = None) -> Receipt:
    """Make one write as the case has it."""
    if isinstance(one, StatusSet):
        ids = [identifier(said) for said in one.ids]
        version = if_version or one.if_version
        receipt: Receipt = await stage.connector.set_status(stage.ctx, ids, one.to, if_version=version, key=key)
        return receipt
    if isinstance(one, Sent):
        sms = Sms(to=one.to, sender=one.sender, body=one.body)
        bench.watch.personal(sms)
        receipt = await stage.connector.send(stage.ctx, sms, key=key)
        return receipt
    said = one.model_dump(exclude={"patient_ids"})
    contact = CommunicationFacts(patient_ids=tuple(identifier(one_) for one_ in one.patient_ids), **said)
    bench.watch.personal(contact)
    receipt = await stage.connector.log(stage.ctx, contact, key=key)
    return receipt


def writes(bench: Bench) -> list[tuple[str, Write]]:
    """Return what the case writes, by method.

    Raises:
        Skipped: the connector writes nothing, or the case does not say what.
    """
    expect = bench.case.plan.expect
    able = [name for name, one in (("set_status", SetsStatus), ("log", Logs), ("send", Sends)) if has(bench, one)]
    if not able:
        raise Skipped("no-set-status-log-send")
    found: list[tuple[str, Any]] = [(name, one) for name in able for one in getattr(expect, name)]
    if not found:
        raise Skipped("needs-a-write")
    return found


async def write(bench: Bench) -> None:
    """Each write has one effect, and a receipt that names it."""
    for name, one in writes(bench):
        stage = bench.stage()
        receipt = await bench.value(stage, written(bench, stage, one, "kit-1"))
        if not isinstance(receipt, Receipt) or not receipt.external_id:
            raise Failed("no-receipt", name)
        if stage.server.effects != 1:
            raise Failed("not-one-effect", f"{name}: {stage.server.effects}")


async def write_twice(bench: Bench) -> None:
    """The same key again has no second effect, and gives the same id."""
    for name, one in writes(bench):
        stage = bench.stage()
        first = await bench.ended(written(bench, stage, one, "kit-1"))
        again = bench.staged(bench.fresh(), stage.server)
        second = await bench.ended(written(bench, again, one, "kit-1"))
        if stage.server.effects != 1:
            raise Failed("not-one-effect", f"{name}: {stage.server.effects}")
        if _conflicting(one, second):
            continue
        if second.error is not None:
            raise Failed("raised", f"{name} again: {second.kind}")
        if second.value.external_id != first.value.external_id:
            raise Failed("another-id", name)


def _conflicting(one: Write, ended: Ended) -> bool:
    """Whether a repeat found that the appointment is not any more what it was to be changed from: by itself."""
    return isinstance(one, StatusSet) and isinstance(ended.error, ConflictError)


async def lost_answer(bench: Bench) -> None:
    """Where the answer gets lost nobody claims that it failed for good; the same key again has no second effect."""
    for name, one in writes(bench):
        stage = bench.stage(Script(loses=True))
        first = await bench.ended(written(bench, stage, one, "kit-1"))
        if first.error is not None and not isinstance(first.error, TransientError | UnknownOutcomeError):
            raise Failed("expected-UnknownOutcomeError", f"{name}: {first.kind}")
        if stage.server.effects != 1:
            raise Failed("not-one-effect", f"{name}: {stage.server.effects}")
        again = bench.staged(bench.fresh(), stage.server)
        second = await bench.ended(written(bench, again, one, "kit-1"))
        if stage.server.effects != 1:
            raise Failed("not-one-effect", f"{name} again: {stage.server.effects}")
        if second.error is not None and not isinstance(second.error, ConnectorError):
            raise Failed("raised", f"{name} again: {second.kind}")


async def stale_version(bench: Bench) -> None:
    """An old `if_version` is a ConflictError, and changes nothing."""
    if not has(bench, SetsStatus):
        raise Skipped("no-set-status")
    old = [one for one in bench.case.plan.expect.set_status if one.stale_version is not None]
    if not old:
        raise Skipped("needs-stale-version")
    for one in old:
        stage = bench.stage()
        ended = await bench.ended(written(bench, stage, one, "kit-1", one.stale_version))
        if stage.server.effects:
            raise Failed("overwrote", f"{stage.server.effects} effects")
        if not isinstance(ended.error, ConflictError):
            raise Failed("expected-ConflictError", ended.kind)


CHECKS = (
    Check("write", write),
    Check("write-twice", write_twice, after=("write",)),
    Check("lost-answer", lost_answer, after=("write", "write-twice")),
    Check("stale-version", stale_version, after=("write",)),
)
