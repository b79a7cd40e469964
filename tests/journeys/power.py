"""Everything dies at one moment, as when the power fails, while the practice works; then `chartline up` again.

Nobody is left to tell the others or to tidy up: no supervisor, no Temporal, no vault; the files stay as they lay.
Outside, callers, the scheduling system and the carrier go on.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from sqlmodel import select

from hub.record.call import Call, CallState
from hub.record.reminder import Reminder
from tests.journeys import books
from tests.journeys.house import House, clock
from tests.journeys.kills import MOST_DUE, Story, schedule, someone_was_served, under_load
from tests.journeys.load import Callers, Feed
from tests.journeys.stand import until

FIRST_S = 15.0
"Until the first reminder."

EACH = 10
"Reminders for each cut."

EACH_S, UNANSWERED_EACH_S = 8.0, 25.0
"The time that they are spread over: where each cut waits for a text, they must last until the last one."

UNANSWERED_S = 10.0
"How long a carrier thinks about the text that a cut falls upon."


async def run(house: House, seed: int, times: int, *, unanswered: bool = False) -> list[str]:
    """Cut the power `times` times under load, let all come to rest, and return what does not agree.

    Each cut falls into a call, all but the first among the reminders. With `unanswered` each falls upon a text, too,
    that the carrier has taken and not answered; its receipt is known to be nobody's only a minute later.
    """
    story, cuts = Story(seed), schedule(seed, times, ["everything"])
    story.say(f"seed {seed}: {len(cuts)} cuts")
    due = min(MOST_DUE, EACH * times)
    every = timedelta(seconds=(UNANSWERED_EACH_S if unanswered else EACH_S) * times / due)
    async with Feed(house, seed, due, first=timedelta(seconds=FIRST_S), every=every) as feed:
        await feed.book()
        await until(lambda: _planned(house) >= len(feed.due) + len(feed.busy))

        async def cut_all(callers: Sequence[Callers]) -> list[str]:
            found: list[str] = []
            for cut in cuts:
                await asyncio.sleep(cut.pause_s)
                if unanswered:
                    await _text_taken(house)
                found += await _cut(house, story, callers)
                await someone_was_served(story, callers)
                await until(lambda: clock() + timedelta(days=1) > feed.due[0].starts_at)
            return found

        return await under_load(house, story, feed, cut_all)


async def _cut(house: House, story: Story, callers: Sequence[Callers]) -> list[str]:
    """Cut the power while a call goes on, run everything again, and verify the audit log."""
    await until(lambda: _call_goes_on(house))
    house.let_go()  # SQLite recovers a file when it is opened by the first, not while anybody still has it open
    at = time.monotonic()
    await house.stand.cut_power()
    story.dead.append(clock())
    for caller in callers:
        caller.cut()
    story.say("everything is dead")
    await house.stand.start()
    for caller in callers:
        caller.line_is_back()
    story.outages.append((at, time.monotonic()))
    story.say(f"everything is back after {time.monotonic() - at:.2f} s")
    return await asyncio.to_thread(books.audit, house)


def _planned(house: House) -> int:
    with house.instance.db.read() as db:
        return len(db.exec(select(Reminder.id)).all())


def _call_goes_on(house: House) -> bool:
    with house.instance.db.read() as db:
        return db.exec(select(Call.id).where(Call.state != CallState.ENDED)).first() is not None


async def _text_taken(house: House) -> None:
    """Return once the carrier has taken a text that it does not answer for a while."""
    house.carrier.slow_seconds = UNANSWERED_S
    house.carrier.faults.append("slow")
    await until(lambda: not house.carrier.faults, seconds=60, every=0.01)
