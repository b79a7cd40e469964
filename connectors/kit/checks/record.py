"""What records hold: times without a zone, on both sides of a change of the clocks; null and [] where a value was."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from connectors.api import AppointmentFacts, Feeds, Reads, RejectedError
from connectors.kit import er7
from connectors.kit.bench import Bench, Ended, Round, naive
from connectors.kit.checks.check import Check, has
from connectors.kit.checks.request import Call, calls
from connectors.kit.error import Failed, Skipped
from connectors.kit.ledger import Ledger, differing, name_of, named
from connectors.kit.mutation import (
    Mutate,
    Path,
    changes_of_clocks,
    instead_of,
    paths_in,
    put,
    records_in,
    time_in,
    with_records,
    without_zone,
)
from connectors.kit.server import Script
from connectors.kit.telephone import each_text

Text = Callable[[str], str]


OFF = timedelta(minutes=10)
"""More than that a version may not move: offsets differ by quarters of an hour, and who takes the clock for a version
is another check's affair."""


async def zone_less(bench: Bench) -> None:
    """Times without a zone are the practice's."""
    zone = bench.case.zone
    shorn = without_zone(zone)
    tried = await _zone_less_feed(bench, shorn) if has(bench, Feeds) else False
    for raw, facts in _messages(bench):
        changed = er7.without_zone(raw, zone) if er7.is_er7(raw) else _texts_changed(raw, shorn)
        ended = bench.understood(changed)
        tried = True
        if isinstance(ended.error, RejectedError):
            continue  # kept in quarantine: nothing is lost, and nothing is wrong
        if ended.error is not None:
            raise Failed("raised", f"read: {ended.kind}")
        if ended.value != facts:
            raise Failed("another-time", "read")
    if not tried:
        raise Skipped("needs-times")


async def _zone_less_feed(bench: Bench, shorn: Text) -> bool:
    await bench.base()
    clean = bench.stage()
    first = await bench.value(clean, bench.drained(clean, None))
    if not any(_times_in(bench.case.exchanges[index].response.body, bench) for index in clean.server.hits):
        return False
    where = bench.case.plan.server.records
    stage = bench.stage(Script(mutate=lambda _, document: _in_records(document, where, shorn)))
    ended = await bench.ended(bench.drained(stage, None))
    if ended.error is not None:
        raise Failed("raised", f"changes: {ended.kind}")
    here, there = Ledger(first.changes), Ledger(ended.value.changes)
    if different := differing(here, there):
        raise Failed("another-time", f"changes: {named(different)}")
    was, now = here.versions(), there.versions()
    if any(abs(was[key][name] - now[key][name]) > OFF for key in was for name in was[key]):
        raise Failed("another-time", "changes: version")
    return True


async def dst(bench: Bench) -> None:
    """So they are on both sides of a change of the clocks."""
    zone = bench.case.zone
    turns = changes_of_clocks(zone, bench.case.plan.clock)
    if not turns:
        raise Skipped("zone-without-dst", str(zone))
    tried = False
    for local in _awkward(bench, turns):
        good = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
        if has(bench, Feeds):
            tried |= await _dst_feed(bench, local, good)
        for raw, facts in _messages(bench):
            starts = _starts(facts)
            moved = instead_of(starts, local, zone)
            changed = er7.moved(raw, starts, local, zone) if er7.is_er7(raw) else _texts_changed(raw, moved)
            if changed == raw:
                continue
            tried = True
            ended = bench.understood(changed)
            if not isinstance(ended.error, RejectedError):
                _judge(ended, good, len(starts), f"read, {local:%H:%M}")
    if not tried:
        raise Skipped("needs-start-times")


def _awkward(bench: Bench, turns: Sequence[tuple[datetime, timedelta]]) -> Iterator[datetime]:
    """Yield local times, without a zone, about each change of the clocks: before, in the hour itself, and after."""
    for at, shift in turns:
        wall = (at - timedelta(seconds=1)).astimezone(bench.case.zone).replace(tzinfo=None) + timedelta(seconds=1)
        yield wall.replace(hour=9) - timedelta(days=1)
        yield wall + shift / 2  # skipped in spring, twice there in autumn
        yield wall.replace(hour=9) + timedelta(days=1)


async def _dst_feed(bench: Bench, local: datetime, good: set[datetime]) -> bool:
    first, _, server = await bench.base()
    starts = _starts(first.changes)
    where = bench.case.plan.server.records
    moved = instead_of(starts, local, bench.case.zone)
    bodies = [bench.case.exchanges[index].response.body for index in server.hits]
    if all(_in_records(body, where, moved) == body for body in bodies):
        return False
    stage = bench.stage(Script(mutate=lambda _, document: _in_records(document, where, moved)))
    ended = await bench.ended(bench.drained(stage, None))
    if isinstance(ended.value, Round):
        ended = Ended(value=ended.value.changes)
    _judge(ended, good, sum(isinstance(one, AppointmentFacts) for one in first.changes), f"changes, {local:%H:%M}")
    return True


def _judge(ended: Ended, good: set[datetime], how_many: int, where: str) -> None:
    if ended.error is not None:
        raise Failed("raised", f"{where}: {ended.kind}")
    said = [one for one in ended.value if isinstance(one, AppointmentFacts)]
    if len(said) < how_many:
        raise Failed("lost", where)
    if _starts(said) - good:
        raise Failed("another-time", where)


def _starts(facts: Sequence[Any]) -> set[datetime]:
    # In UTC: a time in the hour of a change compares unequal to any in another zone (PEP 495).
    return {one.starts_at.astimezone(UTC) for one in facts if isinstance(one, AppointmentFacts) and one.starts_at}


def _messages(bench: Bench) -> Iterator[tuple[bytes, list[Any]]]:
    """Yield each message that is understood, with what it says."""
    if has(bench, Reads):
        for _, raw in bench.case.messages:
            if (ended := bench.understood(raw)).error is None:
                yield raw, ended.value


def _texts_changed(raw: bytes, change: Text) -> bytes:
    try:
        return orjson.dumps(each_text(orjson.loads(raw), change))
    except orjson.JSONDecodeError:
        return raw


def _in_records(document: Any, where: str, change: Text) -> Any:
    if records_in(document, where) is None:
        return each_text(document, change)
    return with_records(document, where, lambda records: [each_text(one, change) for one in records])


def _times_in(document: Any, bench: Bench) -> bool:
    found: list[str] = []

    def note(text: str) -> str:
        if time_in(text, bench.case.zone) is not None:
            found.append(text)
        return text

    each_text(document, note)
    return bool(found)


async def null_fields(bench: Bench) -> None:
    """Null in any field raises nothing, and leaves the other records alone."""
    await _emptied(bench, None, "null")


async def empty_lists(bench: Bench) -> None:
    """So does []."""
    await _emptied(bench, [], "[]")


async def _emptied(bench: Bench, instead: Any, shown: str) -> None:
    where = bench.case.plan.server.records
    for call in await calls(bench):
        clean = bench.stage()
        good = await bench.value(clean, call.make(clean))
        seen: set[tuple[bool, Path]] = set()
        for index in dict.fromkeys(clean.server.hits):
            body = bench.case.exchanges[index].response.body
            for within, path in _fields(body, where):
                if (within, path) in seen:
                    continue
                seen.add((within, path))
                stage = bench.stage(Script(mutate=_emptying(index, where, path, instead, within=within)))
                ended = await bench.ended(call.make(stage))
                _judge_emptied(call, good, ended, f"{call.name}: {'.'.join(path)} = {shown}", within=within)


def _fields(body: Any, where: str) -> Iterator[tuple[bool, Path]]:
    """Yield each field of an answer, and whether it stands in its records."""
    records = records_in(body, where)
    for record in records or []:
        yield from ((True, path) for path in paths_in(record))
    inside = set(_above(body, records))
    yield from ((False, path) for path in paths_in(body) if path not in inside)


def _above(body: Any, records: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the fields of the records, as they are called from the top of the answer."""
    if body is records:
        yield from paths_in(body, path)
    elif isinstance(body, dict):
        for name, inner in body.items():
            yield from _above(inner, records, (*path, name))


def _emptying(index: int, where: str, path: Path, instead: Any, *, within: bool) -> Mutate:
    def mutate(at: int, document: Any) -> Any:
        if at != index:
            return document
        if not within:
            put(document, path, instead)
            return document
        next((True for record in records_in(document, where) or [] if put(record, path, instead)), False)
        return document

    return mutate


def _judge_emptied(call: Call, good: Any, ended: Ended, where: str, *, within: bool) -> None:
    if naive(ended):
        raise Failed("naive-exception", f"{where}: {ended.kind}")
    if not within or call.name not in {"changes", "find_patients"}:
        return
    if ended.error is not None:
        raise Failed("one-record-stops-all", f"{where}: {ended.kind}")
    before, after = _counted(good), _counted(ended.value)
    if any(before[name] - after[name] > 1 for name in before):
        raise Failed("others-lost", where)


def _counted(said: Any) -> Counter[str]:
    """Return how many statements of each kind a round of a feed, or a search, brought."""
    return Counter(name_of(one) for one in (said.changes if isinstance(said, Round) else said))


CHECKS = (
    Check("zone-less", zone_less),
    Check("dst", dst, after=("zone-less",)),
    Check("null-fields", null_fields),
    Check("empty-lists", empty_lists, after=("null-fields",)),
)
