"""What happens to any request: refused for a while, unanswered, late, torn, or answered with something else."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from connectors.api import (
    ConnectorError,
    Feeds,
    FindsPatients,
    Logs,
    RateLimitedError,
    ReadsCharts,
    Sends,
    SetsStatus,
    TransientError,
    UnknownOutcomeError,
)
from connectors.kit.bench import Bench, Ended, Stage, naive
from connectors.kit.case import identifier
from connectors.kit.checks.check import Check, has
from connectors.kit.checks.writing import written
from connectors.kit.error import Failed, Skipped
from connectors.kit.mutation import with_records
from connectors.kit.server import LATENCY, Script, answering, gone, late

PAUSE = 17
"Seconds of Retry-After: nothing that a connector would guess."

BEARABLE = 8.0
"Seconds of an answer that every connector waits for."

ENDLESS = 60.0
"Seconds that no request has (connectors.transport.DEADLINE)."

FOREIGN = (b"", b"<html><body>maintenance</body></html>", b"null", b"[]", b'""', b"7", b"{}", b'{"error":null}')
"What a good answer is not; an empty list may be one."


@dataclass(frozen=True, slots=True)
class Call:
    """One method with what it is asked."""

    name: str
    make: Callable[[Stage], Awaitable[Any]]
    reads: bool = True
    "Whether it changes nothing on the other side."

    requests: int = 1
    "How many there are when nothing goes wrong."


async def calls(bench: Bench) -> list[Call]:
    """Return each method that makes requests, as the case asks it; those that fail by themselves are left out.

    Raises:
        Skipped: there is none.
    """
    found: list[Call] = bench.remembered.setdefault("calls", [])
    for call in [] if found else _calls(bench):
        stage = bench.stage()
        ended = await bench.ended(call.make(stage))
        if ended.error is None and stage.server.asked:
            found.append(Call(call.name, call.make, call.reads, len(stage.server.asked)))
    if not found:
        raise Skipped("needs-a-request")
    return found


def _calls(bench: Bench) -> list[Call]:
    expect = bench.case.plan.expect
    found = []
    if has(bench, Feeds):
        found.append(Call("changes", partial(bench.drained, cursor=None)))
    if has(bench, FindsPatients) and expect.find_patients:
        phone = expect.find_patients[0].phone
        found.append(Call("find_patients", partial(bench.found, phone=phone)))
    if has(bench, ReadsCharts) and expect.chart:
        asked = expect.chart[0]
        ids = [identifier(one) for one in asked.patient_ids]
        sections = frozenset(asked.sections)
        found.append(Call("chart", partial(bench.charted, ids=ids, sections=sections)))
    for name, capability in (("set_status", SetsStatus), ("log", Logs), ("send", Sends)):
        if has(bench, capability) and getattr(expect, name):
            one = getattr(expect, name)[0]
            found.append(Call(name, partial(written, bench, one=one, key="kit-1"), reads=False))
    return found


async def _with(bench: Bench, call: Call, script: Script) -> Ended:
    stage = bench.stage(script)
    return await bench.ended(call.make(stage))


async def _always(
    bench: Bench, script: Callable[[int], Script], good: Callable[[Call, Ended], bool], wanted: str, *, writes: bool
) -> None:
    """Let each call meet a fault, at its first request and at each later one."""
    for call in await calls(bench):
        for begins in range(call.requests if call.reads or writes else 0):
            ended = await _with(bench, call, script(begins))
            if not good(call, ended):
                raise Failed(f"expected-{wanted}", f"{call.name}, request {begins + 1}: {ended.kind}")


async def rate_limit(bench: Bench) -> None:
    """429 with Retry-After is a RateLimitedError with those seconds."""

    def good(_: Call, ended: Ended) -> bool:
        return isinstance(ended.error, RateLimitedError) and ended.error.retry_after == PAUSE

    busy = answering(429, Retry_After=str(PAUSE))
    await _always(bench, lambda at: Script(fault=busy, begins=at), good, "RateLimitedError", writes=True)


async def unavailable(bench: Bench) -> None:
    """503 is a TransientError."""
    down = answering(503)
    await _always(bench, lambda at: Script(fault=down, begins=at), _transient, "TransientError", writes=True)


async def unreachable(bench: Bench) -> None:
    """No connection is a TransientError."""
    await _always(bench, lambda at: Script(fault=gone, begins=at), _transient, "TransientError", writes=True)


def _transient(_: Call, ended: Ended) -> bool:
    return isinstance(ended.error, TransientError)


async def slow(bench: Bench) -> None:
    """An answer after some seconds is taken; one that does not come is a TransientError, for a write an unknown one."""
    for call in await calls(bench):
        stage = bench.stage(Script(fault=late(BEARABLE)))
        ended = await bench.ended(call.make(stage))
        if ended.error is not None:
            raise Failed("impatient", f"{call.name}: {ended.kind} after {BEARABLE:.0f} s")

    def good(call: Call, ended: Ended) -> bool:
        return _transient(call, ended) or (not call.reads and isinstance(ended.error, UnknownOutcomeError))

    await _always(bench, lambda at: Script(fault=late(ENDLESS), begins=at), good, "TransientError", writes=True)


def _refused(_: Call, ended: Ended) -> bool:
    return isinstance(ended.error, ConnectorError)


async def truncated(bench: Bench) -> None:
    """Half a document is a ConnectorError."""
    for share in (0.5, 0.97):
        await _always(bench, _torn(share), _refused, "ConnectorError", writes=False)


def _torn(share: float) -> Callable[[int], Script]:
    def torn(content: bytes) -> bytes:
        return content[: min(int(len(content) * share), len(content) - 1)]

    return lambda begins: Script(spoil=torn, begins=begins)


async def error_document(bench: Bench) -> None:
    """An error that comes with 200 is a ConnectorError, and not an empty result."""
    error = orjson.dumps(bench.case.plan.server.error)
    await _always(bench, lambda at: Script(spoil=_instead(error), begins=at), _refused, "ConnectorError", writes=False)


async def foreign_answer(bench: Bench) -> None:
    """What is no answer at all raises nothing but a ConnectorError."""
    where = bench.case.plan.server.records
    for call in await calls(bench):
        for begins in sorted({0, 1, call.requests - 1} & set(range(call.requests))):
            for number, foreign in enumerate(FOREIGN, 1):
                ended = await _with(bench, call, Script(spoil=_instead(foreign), begins=begins))
                if naive(ended):
                    raise Failed("naive-exception", f"{call.name}, answer {number}: {ended.kind}")
        odd = Script(mutate=lambda _, document: with_records(document, where, lambda _: [1, "x", None, [], {}]))
        ended = await _with(bench, call, odd)
        if naive(ended):
            raise Failed("naive-exception", f"{call.name}, records of other types: {ended.kind}")


def _instead(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


async def cancel(bench: Bench) -> None:
    """A cancellation ends a call at once, and goes through."""
    tried = False
    for call in await calls(bench):
        for begins in range(call.requests):
            stage = bench.stage(Script(fault=late(BEARABLE), begins=begins))
            task = asyncio.ensure_future(call.make(stage))
            await asyncio.sleep(LATENCY * (begins + 1) + BEARABLE / 2)
            waited = not task.done() and stage.server.waiting > 0
            tried |= waited
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
            if waited and not task.cancelled():
                task.cancel()
                await asyncio.wait([task], timeout=bench.patience)
                raise Failed("cancellation-swallowed", f"{call.name}, request {begins + 1}")
            if task.done() and not task.cancelled():
                task.exception()  # looked at, so that nobody logs it as lost
    if not tried:
        raise Skipped("needs-a-request")


CHECKS = (
    Check("rate-limit", rate_limit),
    Check("unavailable", unavailable),
    Check("unreachable", unreachable),
    Check("slow", slow),
    Check("truncated", truncated),
    Check("error-document", error_document),
    Check("foreign-answer", foreign_answer),
    Check("cancel", cancel),
)
