"""Media core processes for tests: a relay of real ones, and far ends that are connected as signalling would."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from media.core.leg import RemoteLeg
from media.core.relay import CoreRelay
from media.latch import Address
from media.leg import LegStats
from media.offer import answer_audio, offer_audio
from media.relay import Leg, Relay
from media.rtp import FRAME
from media.sdp import PCMA, PCMU, Codec, Session
from media.sound import Sound
from tests.media.farend import FarEnd

HOST = "127.0.0.1"
_PORTS = itertools.count(40_000, 400)


@asynccontextmanager
async def cores(
    count: int = 1,
    *,
    music: Sound | None = None,
    run: Path | None = None,
    first: int | None = None,
    pairs: int = 200,
    steady: bool = False,
) -> AsyncIterator[CoreRelay]:
    """Start some; a few of their ports may be taken by tests in other processes, unless `first` says from where on."""
    first = first or next(_PORTS)
    relay = CoreRelay(HOST, first, first + 2 * pairs - 1, music or Sound(b"\xff" * FRAME), cores=count, run=run)
    try:
        async with asyncio.timeout(60):
            await relay.start()
            if steady:
                await relay.steady()
        yield relay
    finally:
        await relay.close()


def _spoken(phone: FarEnd) -> tuple[Codec]:
    return (PCMU if int(phone.codec) == PCMU.payload_type else PCMA,)


def offer_of(phone: FarEnd) -> Session:
    return offer_audio(phone.address, codecs=_spoken(phone))


def answer_of(phone: FarEnd, offer: Session) -> Session:
    return answer_audio(offer, phone.address, codecs=_spoken(phone))[0]


def place_of(session: Session) -> Address:
    audio = session.audio
    assert audio is not None
    return audio.address, audio.port


async def connected(leg: RemoteLeg, phone: FarEnd) -> Address:
    """Let the phone call the leg; return where the leg wants its packets."""
    return place_of(await leg.answer(offer_of(phone)))


async def called(leg: RemoteLeg, phone: FarEnd) -> Address:
    """Let the leg call the phone."""
    offer = await leg.offer()
    await leg.settle(answer_of(phone, offer))
    return place_of(offer)


def pid_of(leg: RemoteLeg) -> int:
    assert leg.core is not None
    return leg.core.pid


def kill(leg: RemoteLeg) -> int:
    """Kill the core of a leg, and return its process id."""
    pid = pid_of(leg)
    os.kill(pid, signal.SIGKILL)
    return pid


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in processes
            await asyncio.sleep(0.005)


async def hears(phone: FarEnd, *hz: int) -> None:
    """See that a phone hears these tones and no others, once what was sent to it has come."""
    with suppress(TimeoutError):
        await until(lambda: phone.hz() == [*hz])
    assert phone.hz() == [*hz]


async def took(relay: Relay, leg: Leg, packets: int) -> LegStats:
    """Return what is known of a leg once so many packets were read; what another process is told overtakes them."""
    async with asyncio.timeout(20):
        while (stats := await _known(relay, leg)).packets < packets:  # noqa: ASYNC110 - another process reads them
            await asyncio.sleep(0.005)
    return stats


async def _known(relay: Relay, leg: Leg) -> LegStats:
    stats: LegStats = await relay.last_stats(leg)
    return stats


def started() -> list[str]:
    """Return the processes that we started and have not waited for."""
    return [pid for each in Path("/proc/self/task").glob("*/children") for pid in each.read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
