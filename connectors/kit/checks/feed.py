"""The feed: every checkpoint can be resumed from, nothing is lost, nothing is told twice in two ways."""

import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from connectors.api import AuthExpiredError, Change, Checkpoint, Feeds, ResetError
from connectors.kit.bench import Bench, Round, Stage
from connectors.kit.checks.check import Check, needs
from connectors.kit.checks.stretch import Stretch
from connectors.kit.error import Failed, Skipped
from connectors.kit.expect import unmet
from connectors.kit.ledger import Ledger, differing, ids_of, name_of, named
from connectors.kit.mutation import with_records
from connectors.kit.server import Script, refused

LIMIT = 4096
"Bytes of a cursor (connectors.facts.Checkpoint)."

TIMES = 5
INTERVAL = 60.0
"Seconds from one replay to the next."

SHUFFLES = 8


async def feed(bench: Bench) -> None:
    """What the case expects stands in the record."""
    needs(bench, Feeds, "changes")
    record = await bench.record()
    if (fault := unmet(bench.case.plan.expect.changes, record)) is not None:
        raise Failed("not-as-expected", fault)
    counts = record.counts()
    for name, expected in bench.case.plan.expect.counts.items():
        if counts[name] != expected:
            raise Failed("not-so-many", f"{counts[name]} {name}, not {expected}")


async def checkpoint_order(bench: Bench) -> None:
    """A checkpoint comes after all that it covers."""
    first, second, _ = await bench.base()
    for one in (first, second):
        if one.told and not isinstance(one.told[-1], Checkpoint):
            raise Failed("changes-after-the-last-checkpoint")
    whole = await bench.record()
    for at, cursor in _checkpoints(first)[:-1]:
        stage = bench.stage()
        ended = await bench.ended(bench.followed(stage, cursor))
        if ended.error is not None:
            continue  # what cannot be resumed at all is another check's affair
        resumed = ended.value[0]
        after = Ledger(Round(first.told[:at]).changes + [one for said in ended.value for one in said.changes])
        lost = {key for key in differing(whole, after) if key not in after.state()}
        skipped = {name_of(one) + str(sorted(ids_of(one))) for one in _group(first, at)}
        if lost and resumed.changes and all(name + str(sorted(ids)) in skipped for name, ids in lost):
            raise Failed("checkpoint-before-its-changes", named(lost))


async def resume(bench: Bench) -> None:
    """A fresh connector goes on from every checkpoint, and ends in the same record."""
    first, second, _ = await bench.base()
    whole = await bench.record()
    places = _checkpoints(first)
    for number, (at, cursor) in enumerate(places, 1):
        after = await _resumed(bench, first, at, cursor, rounds=2 if number < len(places) else 1)
        if different := differing(whole, after):
            raise Failed("another-record", f"checkpoint {number}: {named(different)}")
    for number, (at, cursor) in enumerate(_checkpoints(second)[:-1], len(places) + 1):
        told = Round([*first.changes, *second.told[:at]])
        after = await _resumed(bench, told, len(told.told), cursor, rounds=1)
        if different := differing(whole, after):
            raise Failed("another-record", f"checkpoint {number}: {named(different)}")


def _checkpoints(said: Round) -> list[tuple[int, bytes]]:
    return [(at, one.cursor) for at, one in enumerate(said.told) if isinstance(one, Checkpoint)]


def _group(said: Round, at: int) -> list[Change]:
    """Return what was told between the checkpoint at `at` and the next one."""
    found: list[Change] = []
    for one in said.told[at + 1 :]:
        if isinstance(one, Checkpoint):
            break
        found.append(one)
    return found


async def _resumed(bench: Bench, first: Round, at: int, cursor: bytes, rounds: int) -> Ledger:
    """Return the record of a host that was restarted at a checkpoint."""
    stage = bench.stage()
    followed = await bench.value(stage, bench.followed(stage, cursor, rounds))
    before = Round(first.told[:at]).changes
    return Ledger(before + [one for said in followed for one in said.changes])


async def kill_mid_page(bench: Bench) -> None:
    """Killed after any change, the same connector tells what was not committed again."""
    first, _, _ = await bench.base()
    whole = await bench.record()
    for kills in range(1, len(first.changes) + 1):
        stage = bench.stage()
        committed, cursor = await bench.value(stage, _killed(bench, stage, kills))
        followed = await bench.value(stage, bench.followed(stage, cursor, 2))
        told = committed + [one for said in followed for one in said.changes]
        if different := differing(whole, Ledger(told)):
            raise Failed("lost", f"after change {kills}: {named(different)}")


async def _killed(bench: Bench, stage: Stage, kills: int) -> tuple[list[Change], bytes | None]:
    """Return what was committed before the feed was given up after so many changes, and the cursor."""
    committed: list[Change] = []
    pending: list[Change] = []
    cursor = None
    async with aclosing(bench.each(stage, None)) as said:
        async for one in said:
            if isinstance(one, Checkpoint):
                committed, pending, cursor = committed + pending, [], one.cursor
                continue
            pending.append(one)
            if len(committed) + len(pending) == kills:
                break
    return committed, cursor


async def replay_five(bench: Bench) -> None:
    """Five rounds from the start tell what one does."""
    whole = await bench.record()
    told = []
    for number in range(TIMES):
        stage = bench.stage(later=number * INTERVAL)
        rounds = await bench.value(stage, bench.followed(stage, None))
        told += [one for said in rounds for one in said.changes]
    again = Ledger(told)
    if again.counts() != whole.counts():
        raise Failed("other-ids", named(key for key in again.state() if key not in whole.state()))
    if different := differing(whole, again):
        raise Failed("another-record", named(different))
    here, there = whole.versions(), again.versions()
    if moved := [key for key in here if here[key] != there.get(key)]:
        raise Failed("other-versions", named(moved))


async def reorder(bench: Bench) -> None:
    """Neither the order of records in an answer nor that of what was told matters."""
    first, second, _ = await bench.base()
    whole = await bench.record()
    told = first.changes + second.changes
    dice = random.Random(7)
    for _ in range(SHUFFLES):
        dice.shuffle(told)
        if different := differing(whole, Ledger([*told, *told])):
            raise Failed("order-matters", named(different))
    after = await _mutated(bench, lambda records: records[::-1])
    if different := differing(whole, after):
        raise Failed("order-of-records-matters", named(different))


async def duplicate(bench: Bench) -> None:
    """Every record twice changes nothing."""
    whole = await bench.record()
    if different := differing(whole, await _mutated(bench, lambda found: [one for one in found for _ in range(2)])):
        raise Failed("another-record", named(different))


async def _mutated(bench: Bench, change: Callable[[list[Any]], list[Any]]) -> Ledger:
    where = bench.case.plan.server.records
    stage = bench.stage(Script(mutate=lambda _, document: with_records(document, where, change)))
    rounds = await bench.value(stage, bench.followed(stage, None))
    return Ledger([one for said in rounds for one in said.changes])


async def auth_mid_stream(bench: Bench) -> None:
    """401 after the first answer ends the feed with AuthExpiredError."""
    await bench.base()
    clean = bench.stage()
    await bench.value(clean, bench.drained(clean, None))
    if len(clean.server.asked) < 2:
        raise Skipped("needs-two-requests")
    for begins in range(1, len(clean.server.asked)):
        stage = bench.stage(Script(fault=refused, begins=begins))
        ended = await bench.ended(bench.drained(stage, None))
        if not isinstance(ended.error, AuthExpiredError):
            raise Failed("expected-AuthExpiredError", f"request {begins + 1}: {ended.kind}")


async def cursor_size(bench: Bench) -> None:
    """No cursor is over 4 KiB, also where the server's page tokens are."""
    first, _, _ = await bench.base()
    clean = bench.stage()
    await bench.value(clean, bench.drained(clean, None))
    stretch = Stretch(clean.server.asked)
    stage = bench.stage(Script(mutate=stretch.mutate, received=stretch.received))
    ended = await bench.ended(bench.drained(stage, None))
    if any(len(cursor) > LIMIT for cursor in bench.watch.cursors):
        raise Failed("cursor-too-long", f"over {LIMIT} bytes")
    if ended.error is not None:
        raise Failed("raised", f"long page tokens: {ended.kind}")
    if different := differing(Ledger(first.changes), Ledger(ended.value.changes)):
        raise Failed("another-record", f"long page tokens: {named(different)}")


async def foreign_cursor(bench: Bench) -> None:
    """A cursor that the connector did not make is a ResetError."""
    await bench.base()
    for cursor in (b"\xff\xfe no cursor of yours", b"{}}"):
        stage = bench.stage()
        ended = await bench.ended(bench.drained(stage, cursor))
        if not isinstance(ended.error, ResetError):
            raise Failed("expected-ResetError", ended.kind)


CHECKS = (
    Check("feed", feed),
    Check("checkpoint-order", checkpoint_order),
    Check("resume", resume, after=("checkpoint-order",)),
    Check("kill-mid-page", kill_mid_page, after=("checkpoint-order",)),
    Check("replay-five", replay_five),
    Check("reorder", reorder),
    Check("duplicate", duplicate),
    Check("auth-mid-stream", auth_mid_stream),
    Check("cursor-size", cursor_size),
    Check("foreign-cursor", foreign_cursor),
)
