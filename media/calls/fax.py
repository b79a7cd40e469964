"""Calls that are a fax: those that offer nothing else (ITU-T T.38) are passed to where the practice says, as they are.

The gateway neither reads nor carries the pages: the two machines settle between themselves where they go.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlmodel import Session as Db

from hub.db import uuid7
from hub.record import call as record
from hub.rules import dialling
from hub.settings import Fax
from media.calls.house import House
from media.calls.notice import Emitted
from media.calls.outbound import Outside
from media.calls.switchboard import Side
from media.relay import Leg
from media.sdp import Session
from media.sip.incoming import Incoming
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.sip.uri import Address, Uri
from media.trunk.trunks import Wish

RING_SECONDS = 60.0

NOT_AVAILABLE = '304 chartline "no place for a fax"'
"RFC 3261 section 20.43: media type not available."

_CAUSES = {Cause.BUSY: 486, Cause.NO_ANSWER: 480, Cause.UNREACHABLE: 480}

log = structlog.get_logger()


def is_fax(offer: Session | None) -> bool:
    """Tell whether an offer is of a fax alone: T.38 and no sound that could be answered (RFC 3362)."""
    if offer is None:
        return False
    open_media = [media for media in offer.media if media.port]
    faxes = [media for media in open_media if media.kind == "image" and "t38" in media.formats]
    return bool(faxes) and not any(media.kind == "audio" for media in open_media)


class Watch:
    """Listens for a fax machine that calls with sound, until somebody talks to the caller."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._listening: asyncio.Task[None] | None = None

    async def heard(self, fax: Fax, inside: Coroutine[Any, Any, None]) -> bool:
        """Let `inside` go its way, and cancel it when a fax machine is heard; return whether that was so.

        Nobody listens where the policy knows no place for such calls.
        """
        if fax.extension is None and fax.queue is None and fax.voicemail is None:
            await inside
            return False
        going = asyncio.ensure_future(inside)
        listening = self._listening = asyncio.ensure_future(self._leg.fax())
        try:
            await asyncio.wait({going, listening}, return_when=asyncio.FIRST_COMPLETED)
            if going.done() or listening.cancelled() or listening.exception() is not None:
                await going
                return False
            return True
        finally:
            for each in (going, listening):
                each.cancel()
            await asyncio.gather(going, listening, return_exceptions=True)

    def stop(self) -> None:
        """Listen no longer: what is heard from now on is somebody's talk, or a message."""
        if self._listening is not None:
            self._listening.cancel()


async def machine_of(house: House, extension: str, sip: Incoming) -> Side | None:
    """Ring an extension's fax machine for a caller who is heard; None where none takes the call."""
    forwards = sip.max_forwards - 1
    side, _ = await house.board.ring(
        extension, sip.from_number, max_forwards=forwards, referred_by="", heard=lambda _: None
    )
    return side


@dataclass(slots=True)
class FaxCall:
    """One call from a trunk that is a fax."""

    house: House
    outside: Outside
    sip: Incoming
    id: UUID = field(default_factory=uuid7)
    call: Outgoing | None = None
    cause: str = "caller"

    async def run(self) -> None:
        """Pass it on, and stay until one side hangs up."""
        number = self.house.line.number_of(self.sip.to_number)
        if number is None or self.sip.offer is None:
            self.sip.reject(404)
            return
        await self._note(number.did)
        story = asyncio.create_task(self._story(self.sip.offer))
        ended: asyncio.Future[Any] = asyncio.ensure_future(asyncio.shield(self.sip.ended))
        try:
            await asyncio.wait({story, ended}, return_when=asyncio.FIRST_COMPLETED)
            story.cancel()
            ended.cancel()
            await asyncio.gather(story, return_exceptions=True)
        finally:
            await self._end()

    async def _story(self, offer: Session) -> None:
        fax = self.house.line.practice.fax
        if fax.extension is not None:
            self.call = await self._ring(fax.extension, offer)
        elif fax.number is not None:
            self.call = await self._dial(fax.number, offer)
        else:
            log.info("fax refused", call=str(self.id))
            self.cause = "488"
            self.sip.reject(488, headers={"Warning": [NOT_AVAILABLE]})
            return
        call = self.call
        if call is None or call.remote is None:
            status = 480
            if call is not None and call.ended.done():
                status = _CAUSES.get(call.ended.result(), 488)
            self.cause = str(status)
            self.sip.reject(status)
            return
        self.sip.on_offer, call.on_offer = call.reinvite, self.sip.reinvite
        self.sip.answer(call.remote)
        at = self.house.line.now()
        self.house.ledger.note(lambda db: record.answered(db, self.id, at))
        await asyncio.shield(call.ended)
        self.cause = "far-end"

    async def _ring(self, extension: str, offer: Session) -> Outgoing | None:
        """Call the machine of an extension; None where none is registered."""
        endpoint = self.outside.endpoint
        contacts = endpoint.registrar.contacts(extension)
        if not contacts:
            return None
        own = Address(Uri("sip", self.sip.from_number or "anonymous", endpoint.local.host))
        call = endpoint.call(
            contacts[0], offer, from_=own, ring_seconds=RING_SECONDS, max_forwards=self.sip.max_forwards - 1
        )
        call.on_progress = self._progressed
        try:
            await call.answered
        except asyncio.CancelledError:
            call.cancel()
            raise
        return call

    async def _dial(self, number: str, offer: Session) -> Outgoing | None:
        practice = self.house.line.practice
        wish = Wish(
            number,
            dialling.shown_number(practice),
            offer,
            ring_seconds=RING_SECONDS,
            max_forwards=self.sip.max_forwards - 1,
        )
        return (await self.outside.trunks.reach(dialling.trunks_for(practice), wish, self._progressed))[0]

    def _progressed(self, status: int, _early: Session | None) -> None:
        if status > 100:
            self.sip.ring()

    # The record

    async def _note(self, did: str) -> None:
        line = self.house.line
        now, number = line.now(), line.e164(self.sip.from_number)
        match = await line.match(number)

        def change(db: Db) -> None:
            record.ring(
                db,
                self.id,
                did=did,
                trunk=self.sip.trunk,
                host=line.host,
                number=number,
                name=self.sip.display_name or None,
                match=match,
                seal=line.instance.sealer,
                index=line.instance.index,
                now=now,
                more=self.sip.provenance,
            )

        self.house.ledger.note(change)

    async def _end(self) -> None:
        self.sip.bye()
        if self.call is not None:
            self.call.bye()
        at = self.house.line.now()

        def change(db: Db) -> list[Emitted]:
            row = record.ended(db, self.id, self.cause, at, path=record.FAX)
            return [self.house.notices.emit(db, "call.ended", self.id, {"status": row.path or ""}, at)]

        written = self.house.ledger.note(change)
        self.house.notices.follow(written)
        await asyncio.wrap_future(written)
        self.house.planner.tell_end(self.id)
