"""Fifty people at a time who call, wait, press, talk, hold and hang up at every stage: `python -m tests.chaos.callers`.

A process of its own, told by one JSON object on its input: `gateway` (port), `seconds`, `at_once`, `first` (of the
numbers), `secrets` (by extension), `seed`. It prints one JSON line for each call: whose it was, what was done, and how
the record may say that it ended.
"""

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import uvloop

from media.errors import MediaError
from media.offer import offer_audio
from media.sdp import PCMU, Direction, Session
from media.sip.admission import TrunkTable
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.sip.uri import Address as NameAddr
from media.sip.uri import Uri
from tests.chaos.hasty import hang_up_unacknowledged
from tests.chaos.phones import Phones, Talk
from tests.chaos.sound import AGENT, CALLER, HOST, Address, Sound

MENU, DESK, NURSES = "+12125550100", "+12125550101", "+12125550102"
PATIENCE_S = 8.0
"How long somebody waits in the queue."

HEARS_S = 10.0
"How long it may take until two hear each other whose phones are picked up; a fault after that."

End = tuple[str, str]
"Path and cause, as the record has them."


def number_of(index: int) -> str:
    """Return a number that nobody else calls from."""
    return f"+1{212 + index // 10_000}555{index % 10_000:04}"


@dataclass(slots=True)
class Told:
    """One call, as who made it tells it."""

    number: str
    did: str
    what: str
    ends: list[End] = field(default_factory=list)
    "How it may have ended; several where two things met on the way."

    fault: str = ""
    "What the caller did not expect."


class Crowd:
    """All who call."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.chance = random.Random(told["seed"])
        self.sound = Sound()
        self._gateway = Hop(HOST, told["gateway"])
        self._line = Endpoint([Hop(HOST, 0)], credentials=lambda _name: None, trunks=TrunkTable({"gateway": [HOST]}))
        self._phones = Phones(self._gateway, told["secrets"], self.sound, self.chance)
        self._numbers = told["first"]
        self._what: list[tuple[Callable[[Told], Awaitable[None]], str, int]] = [
            (self._gives_up, DESK, 2),
            (self._never_acknowledges, MENU, 1),
            (self._hears_the_menu, MENU, 2),
            (self._leaves_a_message, MENU, 2),
            (self._waits_in_vain, NURSES, 1),
            (self._leaves_the_queue, NURSES, 1),
            (self._talks, DESK, 4),
            (self._chooses_and_talks, MENU, 4),
        ]

    async def run(self, seconds: float, at_once: int) -> None:
        """Call, `at_once` people at a time, for so long; then wait until all have hung up."""
        await self._line.start()
        await self._phones.start()
        until = asyncio.get_running_loop().time() + seconds
        try:
            await asyncio.gather(*[self._person(until) for _ in range(at_once)])
        finally:
            await self._phones.close()
            await self._line.close()
            await self.sound.close()

    async def _person(self, until: float) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self.chance.uniform(0.0, 1.0))
        while clock() < until:
            calls, did, _ = self.chance.choices(self._what, [weight for _, _, weight in self._what])[0]
            number, self._numbers = number_of(self._numbers), self._numbers + 1
            told = Told(number, did, calls.__name__.strip("_"))
            try:
                async with asyncio.timeout(60):
                    await calls(told)
            except (TimeoutError, MediaError) as error:
                told.fault = type(error).__name__
            sys.stdout.write(json.dumps(asdict(told)) + "\n")

    # The parts of a call

    def _call(self, told: Told) -> Outgoing:
        target = Uri("sip", told.did, HOST, self._gateway.port)
        caller = NameAddr(Uri("sip", told.number, HOST))
        return self._line.call(target, offer_audio(self.sound.local, codecs=(PCMU,)), from_=caller)

    async def _answered(self, told: Told) -> tuple[Outgoing, Address] | None:
        """Call and wait for the answer; None where there is none, which is a fault."""
        leg = self._call(told)
        session = await leg.answered
        if session is None or session.audio is None:
            told.fault = f"not answered: {leg.status}"
            return None
        place = session.audio.address, session.audio.port
        self.sound.begin(place, CALLER)
        leg.ended.add_done_callback(lambda _ended: self.sound.end(place))
        return leg, place

    async def _over(self, leg: Outgoing, told: Told) -> None:
        """Hang up, and wait until the gateway has said so too."""
        leg.bye()
        await leg.gone
        if await leg.ended in (Cause.LOST, Cause.FAILED, Cause.UNREACHABLE):
            told.fault = f"ended as {await leg.ended}"

    async def _hear_each_other(self, place: Address, talk: Talk) -> None:
        """Wait until both are heard: whoever picked up is in the talk from then on, and not before."""
        async with asyncio.timeout(HEARS_S):
            await asyncio.gather(self.sound.hears(place, AGENT), self.sound.hears(talk.place, CALLER))

    async def _passed_on(self, told: Told, talk: Talk) -> Talk:
        """Have the agent pass the caller on to a colleague; return the talk that goes on."""
        told.what += "-passed-on"
        self._phones.talks[told.number] = picked_up = asyncio.get_running_loop().create_future()
        colleague = self._phones.other_than(talk.call.to_number)
        if await talk.call.refer(Uri("sip", colleague, HOST)) != 200:
            told.what += "-in-vain"
            return talk
        talk.call.bye()
        await talk.call.gone
        taken: Talk = await picked_up
        return taken

    async def _hold(self, leg: Outgoing, held: Session) -> None:
        """Hold and take up again, as a phone's button does."""
        media = held.media[0]
        for direction in (Direction.SENDONLY, Direction.SENDRECV):
            held = replace(held, origin=held.origin.next(), media=(replace(media, direction=direction),))
            await leg.reinvite(held)
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    # What people do

    async def _gives_up(self, told: Told) -> None:
        leg = self._call(told)
        await asyncio.sleep(self.chance.choice([0.0, self.chance.uniform(0.0, 0.25)]))
        told.ends = [("missed", "caller"), ("hung-up", "caller"), ("abandoned", "caller"), ("answered", "caller")]
        await self._over(leg, told)

    async def _never_acknowledges(self, told: Told) -> None:
        told.ends = [("hung-up", "caller")]
        status = await hang_up_unacknowledged(self._gateway, told.number, told.did, self.sound.local)
        if status != 200:
            told.fault = f"its BYE was answered {status}"

    async def _hears_the_menu(self, told: Told) -> None:
        told.ends = [("hung-up", "caller")]
        begun = await self._answered(told)
        if begun is not None:
            await asyncio.sleep(self.chance.uniform(0.0, 1.0))
            await self._over(begun[0], told)

    async def _leaves_a_message(self, told: Told) -> None:
        begun = await self._answered(told)
        if begun is None:
            return
        leg, place = begun
        await asyncio.sleep(self.chance.uniform(0.2, 0.6))
        await self.sound.press(place, "9")
        await asyncio.sleep(self.chance.uniform(0.5, 4.0))
        # What is too short to be a message is none.
        told.ends = [("voicemail", "caller"), ("hung-up", "caller")]
        await self._over(leg, told)

    async def _waits_in_vain(self, told: Told) -> None:
        told.ends = [("callback", "system")]
        begun = await self._answered(told)
        if begun is not None:
            await begun[0].ended
            await begun[0].gone

    async def _leaves_the_queue(self, told: Told) -> None:
        told.ends = [("abandoned", "caller"), ("hung-up", "caller"), ("callback", "caller"), ("callback", "system")]
        begun = await self._answered(told)
        if begun is not None:
            await asyncio.sleep(self.chance.uniform(0.3, 1.5))
            await self._over(begun[0], told)

    async def _chooses_and_talks(self, told: Told) -> None:
        await self._talk(told, "1")

    async def _talks(self, told: Told) -> None:
        await self._talk(told, "")

    async def _talk(self, told: Told, key: str) -> None:
        picked_up = asyncio.get_running_loop().create_future()
        self._phones.talks[told.number] = picked_up
        try:
            begun = await self._answered(told)
            if begun is None:
                return
            leg, place = begun
            if key:
                await asyncio.sleep(self.chance.uniform(0.2, 0.6))
                await self.sound.press(place, key)
            await asyncio.wait([picked_up, leg.ended], timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            if not picked_up.done():
                # An agent may pick up at this very moment.
                told.what += "-in-vain"
                told.ends = [("abandoned", "caller"), ("answered", "caller")]
                await self._over(leg, told)
                return
            await self._converse(told, leg, place, await picked_up)
        finally:
            del self._phones.talks[told.number]

    async def _converse(self, told: Told, leg: Outgoing, place: Address, talk: Talk) -> None:
        """Talk, and let either side, or both at once, hang up."""
        await self._hear_each_other(place, talk)
        await asyncio.sleep(self.chance.uniform(0.0, 2.0))
        lot = self.chance.random()
        if lot < 0.3 and leg.local is not None:
            told.what += "-held-by-the-caller"
            await self._hold(leg, leg.local)
        elif lot < 0.6 and talk.call.local is not None:
            told.what += "-held-by-the-agent"
            await self._hold(talk.call, talk.call.local)  # type: ignore[arg-type] # either kind of leg can
        elif lot < 0.7:
            await self.sound.press(talk.place, "5")
        elif lot < 0.85:
            talk = await self._passed_on(told, talk)
            await self._hear_each_other(place, talk)
        who = self.chance.choice(["caller", "agent", "both"])
        told.what += f"-{who}-hangs-up"
        told.ends = [("answered", "caller"), ("answered", "agent")] if who == "both" else [("answered", who)]
        if who in ("agent", "both"):
            talk.call.bye()
        if who in ("caller", "both"):
            leg.bye()
        await asyncio.wait([leg.gone, talk.call.gone], return_when=asyncio.ALL_COMPLETED)
        if Cause.LOST in (await leg.ended, await talk.call.ended):
            told.fault = "lost"


async def main() -> None:
    """Do what is told on the input."""
    told = json.loads(sys.stdin.readline())
    crowd = Crowd(told)
    await crowd.run(told["seconds"], told["at_once"])
    if not crowd.sound.heard:
        raise SystemExit("the gateway was silent")


if __name__ == "__main__":
    uvloop.run(main())
