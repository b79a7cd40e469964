"""One call in one rtpengine: the far end on one side, our leg on the other, and descriptions changed on their way."""

import asyncio
import secrets
from dataclasses import dataclass

from media.errors import MediaError, UnacceptableError
from media.latch import Address, is_global
from media.protection import RANKS
from media.relay import Wanted
from media.rtpengine.ng import Engine, EngineRefusedError, Fields
from media.rtpengine.seen import Seen, seen_in
from media.rtpengine.terms import (
    FAR,
    FLAGS,
    GATE,
    INSIDE,
    OUTSIDE,
    Spoken,
    answered,
    bare,
    chosen,
    outward,
    place_of,
    placed,
    spoken,
    worth,
)
from media.sdp import Session


@dataclass(frozen=True, slots=True)
class Exchanged:
    """An offer and its answer, as both sides of rtpengine said and heard them."""

    offerer: str
    offer: Session
    "As rtpengine was given it."
    offer_fields: Fields
    offered: Session
    "As rtpengine passed it on."
    answer: Session
    answer_fields: Fields
    answered: Session

    @property
    def told(self) -> Session:
        """What the far end heard."""
        return self.offered if self.offerer == GATE else self.answered

    @property
    def heard(self) -> Session:
        """What the far end said."""
        return self.answer if self.offerer == GATE else self.offer

    @property
    def gate(self) -> Address:
        """Where rtpengine wants our side's sound."""
        return place_of(self.answered if self.offerer == GATE else self.offered)

    @property
    def inside(self) -> Address:
        """Where our side wants the far end's."""
        return place_of(self.offer if self.offerer == GATE else self.answer)


class Edge:
    """A call of rtpengine's. Commands about it are asked one after the other."""

    def __init__(self, engine: Engine, wanted: Wanted) -> None:
        self.engine = engine
        self.last: Exchanged | None = None
        "What holds."
        self.own: Address = ("", 0)
        "Where our leg is."
        self._wanted = wanted
        self._call = secrets.token_hex(12)
        self._lock = asyncio.Lock()
        self._begun: tuple[Session, Fields, Session] | None = None
        self._asked = False

    # What the signalling says

    async def offer(self, session: Session) -> Session:
        """Return what the far end is to be offered where our leg offers `session`.

        Raises:
            EngineLostError, EngineRefusedError: rtpengine does not do it.
        """
        async with self._lock:
            said = bare(session)
            fields = outward(self._wanted, self.last.heard.audio if self.last is not None else None)
            offered = await self._say("offer", GATE, said, fields | {"direction": [INSIDE, OUTSIDE]})
            self._begun = said, fields, offered
            return offered

    async def settle(self, answer: Session, via: str | None) -> Session:
        """Return the far end's answer to that, as our leg is to hear it.

        Raises:
            UnacceptableError: it takes nothing, or protects less than will do.
            EngineLostError, EngineRefusedError: rtpengine does not do it.
        """
        async with self._lock:
            begun = self._begun
            if begun is None and self.last is not None and self.last.offerer == GATE:
                # Whoever speaks before picking up answers once more, and so does another phone that rang as well.
                begun = self.last.offer, self.last.offer_fields, self.last.offered
            if begun is None:
                raise UnacceptableError("an answer to no offer")
            said, fields, offered = begun
            place_of(answer)
            self._judge(offered, answer)
            also = source(answer, via)
            heard = await self._say("answer", GATE, answer, also)
            self._begun = None
            self.last = Exchanged(GATE, said, fields, offered, answer, also, heard)
            self.own = self.last.inside
            return heard

    async def take(self, offer: Session, via: str | None) -> Session:
        """Return the far end's offer as our leg is to hear it; `reply` follows.

        Raises:
            UnacceptableError: nothing in it that we speak, or too little protection.
            EngineLostError, EngineRefusedError: rtpengine does not do it.
        """
        async with self._lock:
            said = chosen(offer, self._wanted)
            also = source(offer, via) | {"rtcp-mux": ["demux"]}
            fields: Fields = {"transport-protocol": "RTP/AVP", "ICE": "remove", **also}
            heard = await self._say("offer", FAR, said, fields | {"direction": [OUTSIDE, INSIDE]})
            self._begun = said, fields, heard
            return heard

    async def reply(self, answer: Session) -> Session:
        """Return what the far end is to be answered where our leg answers this.

        Raises:
            UnacceptableError: it protects less than will do.
            EngineLostError, EngineRefusedError: rtpengine does not do it.
        """
        async with self._lock:
            if self._begun is None:
                raise UnacceptableError("an answer to no offer")
            said, fields, heard = self._begun
            answer = bare(answer)
            also = answered(said)
            told = await self._say("answer", FAR, answer, also)
            self._judge(told, said)
            self._begun = None
            self.last = Exchanged(FAR, said, fields, heard, answer, also, told)
            self.own = self.last.inside
            return told

    # What it does with the sound

    @property
    def protection(self) -> str:
        """What the latest exchange was worth."""
        if self.last is None:
            return "rtp"
        return worth(self.last.told, self.last.heard, secure=self._wanted.secure)

    @property
    def spoken(self) -> Spoken | None:
        """What is spoken here; None where nothing is yet, or another exchange has begun."""
        if self.last is None or self._begun is not None:
            return None
        return spoken(self.last.offer, self.last.answer)

    @property
    def begun(self) -> bool:
        """Whether rtpengine has heard of the call."""
        return self.last is not None or self._begun is not None

    @property
    def turned(self) -> bool:
        """Whether the far end's sound goes elsewhere than to our leg."""
        return self.last is not None and self.last.inside != self.own

    async def turn(self, place: Address) -> bool:
        """Let the far end hear and be heard at `place` instead, without its knowing; False where it must be told.

        The latest exchange is said to rtpengine once more, with another address on our side; what the far end was told
        must come out of that as it was.

        Raises:
            EngineLostError, EngineRefusedError: rtpengine does not do it.
        """
        async with self._lock:
            last = self.last
            if last is None or self._begun is not None or last.inside == place:
                return True
            ours = last.offerer == GATE
            offer = placed(last.offer, place) if ours else last.offer
            answer = last.answer if ours else placed(last.answer, place)
            offered = await self._say("offer", last.offerer, offer, last.offer_fields)
            heard = await self._say("answer", last.offerer, answer, last.answer_fields)
            self.last = Exchanged(last.offerer, offer, last.offer_fields, offered, answer, last.answer_fields, heard)
            return place_of(self.last.told) == place_of(last.told) and self.last.gate == last.gate

    async def look(self) -> Seen:
        """Return what rtpengine counted.

        Raises:
            EngineLostError, EngineRefusedError: it does not say, or does not know the call.
        """
        return seen_in(await self.engine.ask("query", {"call-id": self._call}), FAR, GATE)

    async def end(self) -> Seen | None:
        """Let rtpengine forget the call, and return what it counted; None where it does not say."""
        seen: Seen | None = None
        if not self._asked:
            return seen
        try:
            seen = await self.look()
            await self.engine.ask("delete", {"call-id": self._call, "delete-delay": 0})
        except MediaError:
            pass  # it is gone, and the call with it
        return seen

    async def _say(self, command: str, offerer: str, session: Session, fields: Fields) -> Session:
        tags: Fields = {"from-tag": offerer}
        if command == "answer" or self.last is not None:
            tags["to-tag"] = FAR if offerer == GATE else GATE
        always: Fields = {"call-id": self._call, "replace": ["origin", "session-connection"], "flags": FLAGS}
        self._asked = True
        answer = await self.engine.ask(command, {**always, **tags, **fields, "sdp": bytes(session)})
        sdp = answer.get("sdp")
        if not isinstance(sdp, bytes):
            raise EngineRefusedError(f"rtpengine has no description for: {command}")
        return Session.parse(sdp)

    def _judge(self, told: Session, heard: Session) -> None:
        if RANKS[worth(told, heard, secure=self._wanted.secure)] < RANKS[self._wanted.least]:
            raise UnacceptableError("the answer protects less than was asked for")


def source(session: Session, via: str | None) -> Fields:
    """Return what tells rtpengine that a far end behind a NAT does not know its own address."""
    audio = session.audio
    if audio is None or via is None or audio.address == via or is_global(audio.address):
        return {}
    family = "IP6" if ":" in via else "IP4"
    return {"flags": [*FLAGS, "SIP source address"], "received-from": [family, via]}
