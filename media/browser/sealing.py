"""Calls that are encrypted from page to page: what the gateway carries between the two, and cannot read.

The pages agree on keys by one attribute of their descriptions and by INFO (hub/web/static/e2e.js says how, and why
whoever carries it cannot put himself in between unseen). A leg whose page says the attribute is sealed: its sound is
passed on as it is, to another sealed leg only.
"""

from dataclasses import replace
from functools import partial
from typing import Protocol

from media.keying import values_of
from media.sdp import Media, Session
from media.sip.leg import Leg

ATTRIBUTE = "x-chartline-e2e"
INFO_TYPE = "application/x-chartline-e2e"

LONGEST = 256
"Letters of what one page says to the other: a key of 65 bytes has 88."


class Answering(Protocol):
    """A leg of the relay, as far as it is needed here."""

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer."""
        ...


def said_in(session: Session | None) -> str:
    """Return what a page says to the other page; empty where it says nothing."""
    audio = session.audio if session is not None else None
    said = next(values_of(ATTRIBUTE, audio.attributes), "") if audio is not None else ""
    return said if len(said) <= LONGEST else ""


def told(session: Session, said: str) -> Session:
    """Return our description for one page with what the other page said; as it is where that said nothing."""
    return _with(session, (f"{ATTRIBUTE}:{said}",)) if said else session


def unsealed(session: Session) -> Session:
    """Return a page's description without what it says to another page: the far end is none, or cannot."""
    return _with(session, ())


async def answer(leg: Answering, offer: Session, said: str, *, via: str | None = None) -> Session:
    """Answer a page's offer, with what the other page said; where that said nothing the call is an ordinary one.

    Raises:
        UnacceptableError: see `Leg.answer`.
    """
    return told(await leg.answer(offer if said else unsealed(offer), via=via), said)


def carry(a: Leg, b: Leg) -> None:
    """Let what two pages tell each other of keys inside the call through, and nothing else."""
    a.on_info, b.on_info = partial(_pass, b), partial(_pass, a)


def _pass(to: Leg, kind: str, body: bytes) -> bool:
    if kind != INFO_TYPE or len(body) > LONGEST:
        return False
    to.inform(kind, body)
    return True


def _with(session: Session, lines: tuple[str, ...]) -> Session:
    audio = session.audio
    if audio is None:
        return session

    def changed(media: Media) -> Media:
        kept = tuple(each for each in media.attributes if not each.startswith(f"{ATTRIBUTE}:"))
        return replace(media, attributes=(*kept, *lines))

    return replace(session, media=tuple(changed(each) if each is audio else each for each in session.media))
