"""Keys that a caller presses, as whoever asks for one reads them."""

import asyncio

from media.relay import Leg


async def next_key(leg: Leg, seconds: float) -> str | None:
    """Return the next key that the far end presses, or has pressed already; None when none comes in time."""
    try:
        async with asyncio.timeout(seconds):
            return await leg.digits.get()
    except TimeoutError:
        return None


def forget_keys(leg: Leg) -> None:
    """Take no key that was pressed until now for an answer to what is said next."""
    while not leg.digits.empty():
        leg.digits.get_nowait()
