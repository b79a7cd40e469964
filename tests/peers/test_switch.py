"""The benchmark's programs that set calls up: ours and sippy's serve the same scenario, and both ask who calls."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.demo.ports import free_port
from media.sip.hop import Hop
from tests.bench._switch import PASSWORD, USER
from tests.bench.callsetup import command_of
from tests.peers.sipp import HOST, Outcome, Run, Sipp, listening

pytestmark = pytest.mark.peer("sipp")

CALLS = 20


@pytest.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Run]:
    made = Sipp(tmp_path)
    try:
        yield await made.start("phone", calls=CALLS)
    finally:
        await made.close()


@pytest.fixture
async def switch(phone: Run) -> AsyncIterator[int]:
    port = free_port()
    async with listening(port, *command_of("chartline", port, phone.port)):
        yield port


async def called(port: int, work: Path, scenario: str, password: str, calls: int) -> Outcome:
    return await Sipp(work).run(
        scenario,
        Hop(HOST, port),
        calls=calls,
        rate=40,
        hold_ms=300,
        login=(USER, password),
        keys={"user": USER},
    )


async def test_twenty_callers_prove_who_they_are_and_get_through(phone: Run, switch: int, tmp_path: Path) -> None:
    outcome = await called(switch, tmp_path, "call-authenticated", PASSWORD, CALLS)
    assert (outcome.successful, outcome.failed) == (CALLS, 0), outcome.detail
    assert len(outcome.response_ms) == CALLS
    async with asyncio.timeout(20):
        assert (await phone.done()).successful == CALLS


async def test_who_does_not_know_the_password_does_not(switch: int, tmp_path: Path) -> None:
    outcome = await called(switch, tmp_path, "call-as-stranger", "wrong", 1)
    assert (outcome.successful, outcome.failed) == (1, 0), outcome.detail
