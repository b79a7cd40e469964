"""Tells a party where its sound is now: a re-INVITE once its leg has moved, as when a media core process has died.

The leg itself remembers what it was told (`media.core.leg`): what was played begins again, and who was bridged hears
the other again, as soon as the party has answered. A party that will not be heard again is hung up.
"""

from functools import partial
from typing import Protocol

import structlog

from media.errors import CallOverError, MediaError
from media.relay import Leg, Relay
from media.sdp import Session

log = structlog.get_logger()


MEDIA_LOST = "media-lost"
"Cause of a call whose sound could not be carried on: no place for it, or one that the far end did not take."

FAR_END_GONE = "far-end-gone"
"A page was closed: whoever sat there has hung up."


class Party(Protocol):
    """The signalling side of a leg: `media.sip.leg.Leg` is one."""

    broken: str
    "Why this side hung up without anybody having wanted that; empty where it did not."

    async def reinvite(self, session: Session) -> Session:
        """Offer `session` and return the peer's answer."""
        ...

    def bye(self) -> None:
        """Hang up."""
        ...


def follow(relay: Relay, leg: Leg, party: Party) -> None:
    """Make the party a new offer whenever its leg has moved, from the answer of its call on.

    One whose handshake failed, or who left by itself, is hung up, where nobody else sees to that.
    """
    relay.watch(leg, partial(_tell, leg, party))
    leg.on_lost = leg.on_lost or partial(_hang_up, party, "handshake-failed")
    leg.on_gone = leg.on_gone or partial(_hang_up, party, FAR_END_GONE)


def cause_of(*parties: Party | None) -> str:
    """Return the cause of a call in the record where one of its parties was hung up for want of sound; else nothing."""
    return next((each.broken for each in parties if each is not None and each.broken), "")


async def _tell(leg: Leg, party: Party) -> None:
    """Make the offer; a party that takes none would sit in silence, and is hung up."""
    try:
        await leg.settle(await party.reinvite(await leg.offer()))
    except CallOverError:
        return
    except MediaError as error:
        log.error("call lost with its sound", code=error.code)
        party.broken = MEDIA_LOST
        party.bye()


def _hang_up(party: Party, reason: str) -> None:
    log.warning("call hung up without sound", reason=reason)
    party.broken = "" if reason == FAR_END_GONE else reason
    party.bye()
