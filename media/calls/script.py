"""What a reminder that is called says, and what is answered to it by keys."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from hub.rules.voice import ANOTHER_TIME, CONFIRM, STOP, Words
from hub.settings.practice import Practice
from media.prompts import Prompts
from media.relay import Leg
from media.sound import Sound

KEY_S = 5.0
"How long a key is waited for behind the words that ask for it."

GREETING_S = 45.0
"How long a machine may speak before its beep."

HUSH_S = 4.0
"Of silence behind its greeting: it has no beep that could be heard."


@dataclass(frozen=True, slots=True)
class Said:
    """The sound of what a call may say."""

    opening: Sound
    visit: Sound
    choice: Sound
    confirmed: Sound
    reschedule: Sound
    stopped: Sound
    closing: Sound
    message: Sound


def said(prompts: Prompts, practice: Practice, words: Words) -> Said:
    """Return the sound of `words`; that of the visit is kept nowhere.

    Raises:
        ChartlineError: nothing here speaks their language.
    """

    def spoken(text: str, *, keep: bool = True) -> Sound:
        return prompts.spoken(text, words.language, practice, keep=keep)

    return Said(
        opening=spoken(words.opening),
        visit=spoken(words.visit, keep=False),
        choice=spoken(words.choice),
        confirmed=spoken(words.confirmed),
        reschedule=spoken(words.reschedule),
        stopped=spoken(words.stopped),
        closing=spoken(words.closing),
        message=spoken(words.message),
    )


async def ask(leg: Leg, questions: Sequence[Sound], keys: str) -> str:
    """Ask one after the other until a key of `keys` is pressed, and return that; empty where none is."""
    for words in questions:
        await leg.play(words, barge_in=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEY_S):
                return await _pressed(leg, keys)
    return ""


async def tell(leg: Leg, words: Said) -> str:
    """Say when the visit is, and return the key that is pressed about it; empty where none is.

    It is said to its end, which only 9 hastens: whoever presses 1 twice at once has not heard yet what they confirm.
    """
    telling, stop = asyncio.create_task(leg.play(words.visit)), asyncio.create_task(_pressed(leg, STOP))
    try:
        await asyncio.wait({telling, stop}, return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            return stop.result()
        await telling
    finally:
        telling.cancel()
        stop.cancel()
        await asyncio.gather(telling, stop, return_exceptions=True)
    return await ask(leg, [words.choice, words.visit + words.choice], CONFIRM + ANOTHER_TIME + STOP)


async def beeped(leg: Leg) -> bool:
    """Wait for a machine's beep; return False where it is silent without one, or never stops."""
    beep, hush = asyncio.create_task(leg.beep()), asyncio.create_task(leg.silence(HUSH_S))
    try:
        done, _ = await asyncio.wait({beep, hush}, timeout=GREETING_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in (beep, hush):
            each.cancel()
        await asyncio.gather(beep, hush, return_exceptions=True)
    return beep in done and not beep.cancelled() and beep.exception() is None


async def _pressed(leg: Leg, keys: str) -> str:
    """Return the first key of `keys` that is pressed, or that waits already; others are forgotten."""
    while (key := await leg.digits.get()) not in keys:
        pass
    return key
