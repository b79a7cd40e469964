"""Rings a colleague of whoever calls from a phone of the practice."""

from media.browser import sealing
from media.calls.floor import Rung, first_answer, wanted
from media.calls.house import House
from media.relay import Leg
from media.sip.endpoint import Endpoint
from media.sip.incoming import Incoming
from media.sip.outgoing import Outgoing
from media.sip.uri import Address, Uri

RING_SECONDS = 60.0


async def ring_colleague(
    house: House, endpoint: Endpoint, sip: Incoming, near: Leg, extension: str
) -> tuple[Rung | None, Outgoing | None]:
    """Ring every phone of an extension until one picks up; `near` is the caller's leg.

    Returns the phone that was picked up, and its call; without one a call that was not taken, which says why.

    Raises:
        MediaError: there is no leg to be had.
    """
    own = Address(Uri("sip", sip.extension, endpoint.local.host))
    rung: list[Rung] = []
    taken: Rung | None = None
    try:
        for contact in endpoint.registrar.contacts(extension):
            leg = await house.relay.allocate(wanted(contact.hop()), near)
            rung.append(Rung(leg))
            call = endpoint.call(
                contact,
                sealing.told(await leg.offer(), sealing.said_in(sip.offer)),
                from_=own,
                ring_seconds=RING_SECONDS,
                max_forwards=sip.max_forwards - 1,
            )
            rung[-1].ring(call).on_progress = lambda status, _: sip.ring() if status > 100 else None
        taken = await first_answer(rung)
    finally:
        for each in rung:
            if each is not taken:
                each.stop()
    return taken, taken.sip if taken is not None else next((each.sip for each in rung), None)
