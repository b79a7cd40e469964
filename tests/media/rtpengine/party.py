"""Parties of calls through rtpengine: a phone in the clear, or a protected one, and the signalling between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hub.audio import frequencies
from hub.g711 import Codec, Pcm, decode
from media.calls import rescue
from media.latch import Address
from media.leg import AudioLeg
from media.relay import BuiltinRelay, Relay, Wanted
from media.rtpengine.leg import EdgeLeg
from media.sdp import Direction, Session
from media.sound import Sound
from tests.media.core.cores import answer_of, offer_of, place_of
from tests.media.farend import Ear, FarEnd, far_end


class Party:
    """One end of a call: a leg of ours, and whoever is at its other end. Its signalling is told of moves."""

    def __init__(self, relay: Relay, leg: EdgeLeg) -> None:
        self.leg = leg
        self.moved = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.moves = 0
        self.broken = ""
        rescue.follow(relay, leg, self)

    async def respond(self, offer: Session) -> Session:
        """Answer an offer of ours."""
        raise NotImplementedError

    async def say(self, pcm: Pcm) -> None:
        raise NotImplementedError

    async def hears(self, hz: int) -> None:
        """Return once a tone is heard."""
        raise NotImplementedError

    def forget(self) -> None:
        """Forget what was heard."""
        raise NotImplementedError

    async def reinvite(self, session: Session) -> Session:
        answer = await self.respond(session)
        self.moves += 1
        asyncio.get_running_loop().call_soon(self.moved.set)
        return answer

    def bye(self) -> None:
        self.hung_up.set()

    async def has_moved(self) -> None:
        async with asyncio.timeout(20):
            await self.moved.wait()
        self.moved.clear()


class Plain(Party):
    """A phone that speaks plain RTP."""

    def __init__(self, relay: Relay, leg: EdgeLeg, phone: FarEnd) -> None:
        super().__init__(relay, leg)
        self.phone = phone
        self.at: Address = ("", 0)

    async def respond(self, offer: Session) -> Session:
        self.at = place_of(offer)
        return answer_of(self.phone, offer)

    async def call(self) -> None:
        """Call us."""
        self.at = place_of(await self.leg.answer(offer_of(self.phone)))

    async def ring(self) -> None:
        """Be called by us."""
        await self.leg.settle(await self.respond(await self.leg.offer()))

    async def say(self, pcm: Pcm) -> None:
        await self.phone.say(self.at, pcm)

    def forget(self) -> None:
        self.phone.heard.clear()

    def hz(self) -> list[int]:
        return self.phone.hz()

    async def hears(self, hz: int) -> None:
        await until(lambda: hz in self.phone.hz())


class Protected(Party):
    """A phone that speaks SRTP: one of our own legs, as the far end."""

    def __init__(self, relay: Relay, leg: EdgeLeg, phone: AudioLeg) -> None:
        super().__init__(relay, leg)
        self.phone = phone
        self.ear = Ear()
        phone.tap(self.ear)

    async def respond(self, offer: Session) -> Session:
        return await self.phone.answer(offer)

    async def call(self) -> None:
        await self.phone.settle(await self.leg.answer(await self.phone.offer()))

    async def ring(self) -> None:
        await self.leg.settle(await self.respond(await self.leg.offer()))

    async def hold(self, direction: Direction) -> Session:
        """Ask us for another direction, and return our answer."""
        answer = await self.leg.answer(await self.phone.offer(direction))
        await self.phone.settle(answer)
        return answer

    async def say(self, pcm: Pcm) -> None:
        await self.phone.play(Sound.of(pcm))

    def forget(self) -> None:
        self.ear.payloads.clear()

    def hz(self) -> list[int]:
        heard = decode(Codec.PCMU, b"".join(each for each in self.ear.payloads if set(each) != {0xFF}))
        return sorted(round(peak.hz / 10) * 10 for peak in frequencies(heard))

    async def hears(self, hz: int) -> None:
        await until(lambda: hz in self.hz())


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what happens in another process."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


async def drained(*parties: Party) -> None:
    """Return once nothing more comes to our legs that was on its way: the loop has turned, and no packet was there."""
    before = [-1]
    while before != (now := [party.leg.inner.stats.packets for party in parties]):
        before = now
        await asyncio.sleep(0.05)


@asynccontextmanager
async def plain(relay: Relay, *, beside: EdgeLeg | None = None, ssrc: int = 1) -> AsyncIterator[Plain]:
    async with far_end(ssrc=ssrc) as phone:
        party = Plain(relay, await relay.allocate(beside=beside), phone)
        yield party
        party.leg.close()


async def protected(
    relay: Relay, phones: BuiltinRelay, wanted: Wanted, *, beside: EdgeLeg | None = None, least: str | None = None
) -> Protected:
    """Return a party of a leg as it is `wanted`; its phone wants at least as much, or `least`."""
    phone = await phones.allocate(Wanted(secure=wanted.secure, least=least or wanted.least))
    return Protected(relay, await relay.allocate(wanted, beside), phone)
