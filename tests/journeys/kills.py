"""Processes killed with SIGKILL at random moments while the practice works, and the books after that.

The kills of different processes are interleaved in one instance, so that outages overlap as they do when a machine is
in trouble. Nothing waits for anything but a process for its own return.
"""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, get_args

from connectors.sandbox.carrier import Fault
from hub.demo.leak import leaks, notations
from tests.journeys import books, stand
from tests.journeys.house import House, clock
from tests.journeys.load import Callers, Feed, Strangers, ended, going, numbers_of
from tests.journeys.stand import until

CORE = f"{stand.CORE}1"
PARTS = ("temporal", "vault", "hub", "feeds", "worker", "media", CORE)
PAUSE_S = 0.3, 2.5
"Between two kills."

FAULTS: Final[Sequence[Fault]] = get_args(Fault)

FIRST_S = 25.0
"Until the first reminder; the others are spread over the rest of the kills, at most one a second."

MOST_DUE = 80
"Visits whose reminder falls due during a run."

CORES_END_S = 60.0
"Until the cores of a media process that was killed have sealed what they recorded, and are gone."

MOVED_S = 2.0
"Until the calls of a core that died go on in another: a talk that ends before leaves a part in which nobody spoke."

TALK_S = 2.0
"So long do agents talk: longer than what a recording loses with its core."

SETTLED_S = 150.0
"A text whose sender was killed is settled after 60 s (`OUTSIDE`), or by upkeep."


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill that is to come."""

    part: str
    pause_s: float
    "After the one before."

    fault: Fault | None
    "What befalls the next text at the carrier."


@dataclass(slots=True)
class Story:
    """What was done, for whoever reads a failure."""

    seed: int
    began: float = field(default_factory=time.monotonic)
    outages: list[tuple[float, float]] = field(default_factory=list)
    "When media was away: callers of that time are not expected to be served."

    dead: list[datetime] = field(default_factory=list)
    "When media was killed, by the clock of the record."

    strikes: list[tuple[float, float]] = field(default_factory=list)
    "When a media core process was away: callers are served all the same."

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:7.2f} {what}", flush=True)


def seed_of_this_run() -> int:
    """Return CHARTLINE_SEED, or a new one; it is printed, so that a run can be had again."""
    return int(os.environ.get("CHARTLINE_SEED") or random.randrange(1_000_000))


def schedule(seed: int, times: int, parts: Sequence[str] = PARTS) -> list[Kill]:
    """Return `times` kills of each part, in rounds of a random order, at random moments."""
    chance = random.Random(seed)
    rounds = (chance.sample(parts, len(parts)) for _ in range(times))
    return [
        Kill(part, chance.uniform(*PAUSE_S), chance.choice(FAULTS) if chance.random() < 0.3 else None)
        for part in itertools.chain.from_iterable(rounds)
    ]


async def run(house: House, seed: int, times: int) -> list[str]:
    """Kill every part `times` times under load, let all come to rest, and return what does not agree."""
    story, kills = Story(seed), schedule(seed, times)
    story.say(f"seed {seed}: {len(kills)} kills")
    length = sum(kill.pause_s for kill in kills) * 1.5
    due = min(MOST_DUE, max(12, int(length / 1.5)))
    every = timedelta(seconds=round(max(1.0, (length - FIRST_S) / due), 1))
    async with Feed(house, seed, due, first=timedelta(seconds=FIRST_S), every=every) as feed:
        await feed.book()
        return await under_load(house, story, feed, lambda callers: _carry_out(house, story, kills, callers))


async def under_load(
    house: House, story: Story, feed: Feed, befalls: Callable[[Sequence[Callers]], Awaitable[list[str]]]
) -> list[str]:
    """Let something befall the practice while it works, let all come to rest, and return what does not agree."""
    strangers, numbers = Strangers(house), numbers_of(feed, 10)
    callers = [Callers(house, numbers[n::2], hasty=n == 0) for n in range(2)]
    async with AsyncExitStack() as stack:
        for extension in house.secrets:
            await stack.enter_async_context(house.agent(extension, talk_s=TALK_S))
        senders = [feed.run(), strangers.run(), *(caller.run() for caller in callers)]
        await stack.enter_async_context(going(*map(asyncio.create_task, senders)))
        found = await befalls(callers)
    story.say("the load is over")
    found += await _settled(house, feed)
    story.say("all is at rest")
    found += _balance(house, story, feed, strangers, callers)
    for each in found:
        story.say(f"NOT SO: {each}")
    return found


async def _carry_out(house: House, story: Story, kills: Sequence[Kill], callers: Sequence[Callers]) -> list[str]:
    """Kill one after the other, and verify the audit log after each."""
    found: list[str] = []
    returns: dict[str, asyncio.Task[None]] = {}
    try:
        for kill in kills:
            await asyncio.sleep(kill.pause_s)
            if kill.part in returns:
                await returns.pop(kill.part)
            if kill.part == "media":
                await someone_was_served(story, callers)
            elif kill.part == CORE and len(story.strikes) % 2 == 0:
                if "media" in returns:
                    await returns["media"]
                await until(lambda: books.is_recording(house), seconds=60)
            if kill.fault:
                house.carrier.faults.append(kill.fault)
            at, cores = time.monotonic(), house.stand.started_by("media")
            before = await house.stand.kill(kill.part)
            story.say(f"killed {kill.part} ({before}){f', carrier: {kill.fault}' if kill.fault else ''}")
            returns[kill.part] = asyncio.create_task(_back(house, story, callers, kill.part, before, at))
            if kill.part == "media":
                story.dead.append(clock())
                for caller in callers:
                    caller.cut()
                found += await _cores_end(cores)
            found += await asyncio.to_thread(books.audit, house)
        await asyncio.gather(*returns.values())
    finally:
        await ended(*returns.values())
    await someone_was_served(story, callers)
    return found


async def _back(house: House, story: Story, callers: Sequence[Callers], part: str, before: int, at: float) -> None:
    await house.stand.back(part, before)
    story.say(f"{part} is back after {time.monotonic() - at:.2f} s")
    if part == "media":
        story.outages.append((at, time.monotonic()))
        for caller in callers:
            caller.line_is_back()
    elif part == CORE:
        story.strikes.append((at, time.monotonic()))


async def _cores_end(cores: Sequence[int]) -> list[str]:
    """Wait until the cores of a media process that was killed are gone."""
    try:
        await until(lambda: stand.all_dead(cores), seconds=CORES_END_S)
    except TimeoutError:
        return ["a media core process was left behind"]
    return [] if cores else ["media had no cores"]


async def someone_was_served(story: Story, callers: Sequence[Callers]) -> None:
    """Wait until a call that began after the last return of media has ended well, and another is under way."""
    since = max((over for _, over in story.outages), default=0.0)

    def served() -> bool:
        calls = [attempt for caller in callers for attempt in caller.attempts if attempt.began > since]
        return any(attempt.ended is not None and attempt.ended.ok for attempt in calls)

    await until(served, seconds=60)
    await until(lambda: any(caller.busy for caller in callers))


async def _settled(house: House, feed: Feed) -> list[str]:
    left: list[str] = []

    def at_rest() -> bool:
        left[:] = books.unsettled(house, feed)
        return not left

    try:
        await until(at_rest, seconds=SETTLED_S, every=0.5)
    except TimeoutError:
        return [f"not at rest: {', '.join(left)}"]
    return []


def _balance(house: House, story: Story, feed: Feed, strangers: Strangers, callers: Sequence[Callers]) -> list[str]:
    attempts = [attempt for caller in callers for attempt in caller.attempts]
    story.say(f"{len(feed.acknowledged)} messages, {len(strangers.taken)} callbacks, {len(attempts)} calls")
    moves = [(died, back + MOVED_S) for died, back in story.strikes]
    return [
        *books.audit(house),
        *books.audited(house),
        *books.stored(house, "adt", feed.acknowledged),
        *books.stored(house, "carrier", strangers.taken),
        *books.visits(house, feed),
        *books.reminders(house, feed),
        *books.apologies(house),
        *books.texts(house, strangers),
        *books.calls(house, [*story.outages, *moves]),
        *(books.dropped(house, story.dead) if story.dead else ()),
        *(books.parts(house, [*story.outages, *story.strikes]) if story.strikes else ()),
        *books.served(house, attempts, story.outages),
        *in_clear(house, feed, callers),
    ]


def in_clear(house: House, feed: Feed, callers: Sequence[Callers]) -> list[str]:
    """Return where anybody of the run can be read in the instance, and tracebacks, which may quote anybody."""
    marks = {mark for person in feed.people for mark in person.marks()}
    marks |= {mark for caller in callers for number in caller.numbers for mark in notations(number)}
    root = house.stand.paths.root
    found = [f"a {one.kind} in {one.file} as {one.form} at {one.at}" for one in leaks([root], marks)]
    if not leaks([house.away], marks):
        found.append("the search finds not even the phones' own files")
    logs = {path.name: path.read_text(errors="replace") for path in house.stand.paths.log.glob("*.log")}
    return found + [f"a traceback in {name}" for name, text in logs.items() if "Traceback" in text]
