"""Agents' phones at the gateway: they register, and pick up, refuse or let it ring, by chance."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass

from media.offer import answer_audio
from media.sdp import PCMU, Session
from media.sip.admission import TrunkTable
from media.sip.digest import Login
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from tests.chaos.sound import AGENT, HOST, Address, Sound

EXPIRES_S = 3600
AGAIN_S = 1500
LONGEST_RING_S = 0.5
PATIENCE_S = 7.0
"How long a phone rings that nobody picks up: longer than the queue lets it."

REFUSES, LETS_RING = 0.1, 0.05
"Shares of the calls."


@dataclass(slots=True)
class Talk:
    """An agent's side of one talk."""

    call: Incoming
    place: Address


class Phones:
    """All agents, behind one address."""

    def __init__(self, gateway: Hop, secrets: Mapping[str, str], sound: Sound, chance: random.Random) -> None:
        self.endpoint = Endpoint([Hop(HOST, 0)], credentials=lambda _name: None, trunks=TrunkTable({"gateway": [HOST]}))
        self.endpoint.on_invite = self._rings
        self.talks: dict[str, asyncio.Future[Talk]] = {}
        "By the number of who calls: comes true once an agent has picked up."

        self._gateway, self._secrets, self._sound, self._chance = gateway, secrets, sound, chance
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register all.

        Raises:
            RuntimeError: one is refused.
        """
        await self.endpoint.start()
        await self._register()
        self._task = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            await self._register()

    async def _register(self, seconds: int = EXPIRES_S) -> None:
        client = self.endpoint.client
        for extension, secret in self._secrets.items():
            address = f"<sip:{extension}@{HOST}>"
            response, _ = await client.ask(
                "REGISTER",
                f"sip:{HOST}",
                self._gateway,
                from_=address,
                to=address,
                headers={"Contact": [client.contact_for(self._gateway, extension)], "Expires": [str(seconds)]},
                login=Login(extension, secret),
            )
            if response is None or response.status != 200:
                raise RuntimeError(f"extension {extension} was not registered: {response and response.status}")

    def other_than(self, extension: str) -> str:
        """Return somebody else's extension."""
        return self._chance.choice([each for each in self._secrets if each != extension])

    async def _rings(self, call: Incoming) -> None:
        call.ring()
        await asyncio.sleep(self._chance.uniform(0.0, LONGEST_RING_S))
        lot = self._chance.random()
        assert call.offer is not None
        if lot < REFUSES:
            call.reject(486)
        elif lot > 1 - LETS_RING:
            await asyncio.wait([call.ended], timeout=PATIENCE_S)
            call.reject(480)
        else:
            self._answers(call, call.offer)

    def _answers(self, call: Incoming, offer: Session) -> None:
        answer, agreed = answer_audio(offer, self._sound.local, codecs=(PCMU,))

        async def follow(again: Session) -> Session:
            return answer_audio(again, self._sound.local, codecs=(PCMU,), origin=answer.origin.next())[0]

        call.on_offer = follow
        if not call.answer(answer):
            return
        self._sound.begin(agreed.remote, AGENT)
        call.ended.add_done_callback(lambda _ended: self._sound.end(agreed.remote))
        waiting = self.talks.get(call.from_number)
        if waiting is not None and not waiting.done():
            waiting.set_result(Talk(call, agreed.remote))

    async def close(self) -> None:
        """Sign off and hang up."""
        if self._task is not None:
            self._task.cancel()
        await self._register(0)
        await self.endpoint.close()
