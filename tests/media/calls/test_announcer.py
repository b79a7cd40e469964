"""Who waits hears from time to time that somebody will come, and their place in the queue."""

import asyncio
from uuid import UUID

import pytest
from sqlmodel import Session

from hub.audio import tone, wav
from hub.db import now, uuid7
from hub.instance import Instance
from hub.record import call, queue
from hub.rules.matching import Match
from hub.settings.practice import Queue
from media.calls.announcer import Announcer
from media.line import Line
from media.prompts import Prompts
from tests.media.farend import FarEnd, far_end, relay

PITCHES = {"all-agents-busy": 300.0, "place-in-queue": 500.0, "number-1": 700.0, "number-2": 900.0}


@pytest.fixture
def instance(instance: Instance) -> Instance:
    prompts = instance.paths.root / "prompts"
    prompts.mkdir()
    for name, pitch in PITCHES.items():
        (prompts / f"{name}.en.wav").write_bytes(wav(tone(pitch, seconds=0.1)))
    return instance


def waiting(db: Session, instance: Instance) -> UUID:
    """Let a caller wait for the nurses."""
    call_id, at = uuid7(), now()
    call.ring(
        db,
        call_id,
        did="+12125550102",
        trunk="line",
        host="media-test",
        number=None,
        name=None,
        match=Match("none"),
        seal=instance.sealer,
        index=instance.index,
        now=at,
    )
    queue.enter(db, call_id, "nurses", 0, at, "media-test")
    return call_id


async def heard(instance: Instance, phone: FarEnd, settings: Queue) -> list[int]:
    """Return the pitches that the second of two callers hears up to the last of one announcement."""
    await instance.db.run(lambda db: waiting(db, instance), write=True)
    second = await instance.db.run(lambda db: waiting(db, instance), write=True)
    async with relay() as engine:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, 101)
        announcer = Announcer(Line(instance, "media-test"), Prompts(instance.paths.root / "prompts"), second, leg, "en")
        announcer.begin(settings)
        last = 900 if settings.announce_place else 300
        async with asyncio.timeout(30):
            while last not in phone.hz():
                await phone.hear(len(phone.heard) + 5)
        announcer.stop()
        return phone.hz()


async def test_the_place_is_told_where_the_policy_says_so(instance: Instance) -> None:
    async with far_end() as phone:
        settings = Queue(name="nurses", announce_seconds=1, announce_place=True)
        assert await heard(instance, phone, settings) == [300, 500, 900]


async def test_without_that_only_patience_is_asked_for(instance: Instance) -> None:
    async with far_end() as phone:
        assert await heard(instance, phone, Queue(name="nurses", announce_seconds=1)) == [300]


async def test_never_is_never(instance: Instance) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, 101)
        announcer = Announcer(Line(instance, "media-test"), Prompts(instance.paths.root), uuid7(), leg, "en")
        announcer.begin(Queue(name="nurses", announce_seconds=0))
        await phone.hear(60)
        assert phone.hz() == []
