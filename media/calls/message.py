"""A message that a caller leaves: it ends with a key, with silence, or when it is too long."""

import asyncio
from typing import Any

from hub.settings.practice import Voicemail
from media.relay import Leg

LONGEST_S = 180.0
SILENCE_S = 5.0


async def left(leg: Leg, box: Voicemail | None) -> float:
    """Return once the message is over: how long it is, in seconds from now to the last word where silence ended it.

    Raises:
        LegClosedError: the leg was closed meanwhile.
    """
    longest, silence = (LONGEST_S, SILENCE_S) if box is None else (box.longest_seconds, box.silence_seconds)
    loop = asyncio.get_running_loop()
    began = loop.time()
    key, quiet = asyncio.ensure_future(leg.digits.get()), None
    ends: list[asyncio.Future[Any]] = [key]
    if silence:
        quiet = asyncio.ensure_future(leg.silence(silence))
        ends.append(quiet)
    try:
        await asyncio.wait(ends, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        took = loop.time() - began
        if quiet is None or not quiet.done():
            return took
        quiet.result()
        return max(took - silence, 0.0)
    finally:
        for each in ends:
            each.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
