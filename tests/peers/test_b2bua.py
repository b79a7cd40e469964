"""Calls through the endpoint, in over one leg and out over another, with sipp at both ends."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.demo.ports import free_port
from media.sip import Hop
from tests.peers.sipp import HOST, Run, Sipp, listening

pytestmark = pytest.mark.peer("sipp")


@pytest.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Run]:
    made = Sipp(tmp_path)
    try:
        yield await made.start("phone", calls=20)
    finally:
        await made.close()


@pytest.fixture
async def between(phone: Run) -> AsyncIterator[int]:
    """A process of the benchmark's program that calls on to the phone; its port."""
    port = free_port()
    async with listening(port, sys.executable, "-m", "tests.bench.b2bua", str(port), str(phone.port)):
        yield port


async def test_twenty_calls_go_through_two_legs_each(phone: Run, between: int, tmp_path: Path) -> None:
    outcome = await Sipp(tmp_path).run("call", Hop(HOST, between), calls=20, rate=40, hold_ms=300)
    assert (outcome.successful, outcome.failed) == (20, 0), outcome.detail
    async with asyncio.timeout(20):
        answered = await phone.done()
    assert (answered.successful, answered.failed) == (20, 0), answered.detail
    assert len(outcome.response_ms) == 20
