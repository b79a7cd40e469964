"""What happens in the morning: patients call and are texted, agents pick up, refuse or are not there.

Every path that a call can take is walked by a real phone; each caller's story says what must come of it.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import httpx

from connectors.sandbox.people import Person
from hub.demo.phone import Caller, Ended, Phones
from hub.demo.ports import free_port
from hub.demo.stage import Agent, Stage

MAIN, NURSES = "+12125550100", "+12125550101"

TALK_S = 3.0
SOON = (
    timedelta(days=1, seconds=25),
    timedelta(days=1, seconds=28),
    timedelta(days=1, seconds=31),
    timedelta(hours=2, seconds=34),
    timedelta(days=1, seconds=37),
    timedelta(days=1, seconds=40),
)
"From the start: the visits whose next reminder falls due while the calls go on."

REPLIES = ("C", "Yes confirm", "R", "C", "STOP", "")
"What the patients of those visits answer."


@dataclass(frozen=True, slots=True)
class Story:
    """One call, and what must come of it."""

    title: str
    caller: Caller
    path: str
    rule: str | None = None
    "The route that must have decided; None for a caller whom no route concerns."

    language: str = "en"


@dataclass(frozen=True, slots=True)
class Told:
    """A story and how it ended for the caller's phone."""

    story: Story
    ended: Ended


def stories(stage: Stage) -> list[Story]:
    """Return the calls to the main number, in the order in which they are made."""
    people = stage.people
    alone = {person.id: person for person in people.alone_at_their_number()}
    soon = {visit.person.id for visit in people.within(24)}
    refills = {refill.person.id for refill in people.refills}
    visiting = [person for person in alone.values() if person.id in soon and person.language == "en"]
    refilling = [person for person in alone.values() if person.id in refills - soon]
    english = [person for person in refilling if person.language == "en"]
    spanish = [person for person in refilling if person.language == "es"]
    told = [
        _talk("visit within a day", visiting[0], "visit-within-a-day"),
        _talk("visit within a day", visiting[1], "visit-within-a-day"),
        _talk("visit within a day", visiting[2], "visit-within-a-day"),
        _talk("open refill", english[0], "open-refill"),
        _talk("open refill", english[1], "open-refill"),
        _talk("open refill, in Spanish", spanish[0], "open-refill", language="es"),
    ]
    told += [
        Story("stranger presses 1", Caller("+12125550191", MAIN, 90, {4.0: "1"}, waits=True), "answered"),
        Story(
            "stranger presses a wrong key, then 1",
            Caller("+12125550192", MAIN, 90, {4.0: "7", 8.0: "1"}, waits=True),
            "answered",
        ),
        Story("leaves a message", Caller("+12125550193", MAIN, 20, {4.0: "9"}), "voicemail"),
        Story("hangs up in the menu", Caller("+12125550194", MAIN, 5), "hung-up"),
    ]
    return told


def _talk(title: str, person: Person, rule: str, *, language: str = "en") -> Story:
    return Story(title, Caller(person.phone or "", MAIN, 90, waits=True), "answered", rule, language)


def nurse_stories() -> list[tuple[str, Story]]:
    """Return the calls to the nurses' line, each with what the only nurse does."""
    return [
        ("refuses", Story("the agent refuses", Caller("+12125550195", NURSES, 40, waits=True), "callback")),
        (
            "lets-it-ring",
            Story("the agent does not answer", Caller("+12125550196", NURSES, 40, waits=True), "callback"),
        ),
        ("lets-it-ring", Story("hangs up while it rings", Caller("+12125550197", NURSES, 9), "abandoned")),
        ("", Story("no agent is there", Caller("+12125550198", NURSES, 40, waits=True), "callback")),
    ]


async def play(stage: Stage, phones: Phones) -> list[Told]:
    """Play the morning and return how each story ended."""
    await _answers(stage)
    desks = [stage.agents["101"], stage.agents["102"]]
    ports = {agent.extension: free_port() for agent in stage.agents.values()}
    for agent in stage.agents.values():
        await _signed_in(phones, agent, ports[agent.extension])
    picking_up = [
        asyncio.create_task(phones.agent("answers", agent.extension, ports[agent.extension], calls=100, talk_s=TALK_S))
        for agent in desks
    ]
    for agent in desks:
        await phones.listens(ports[agent.extension])
    try:
        main, nurse = await asyncio.gather(
            _main_line(stage, phones), _nurse_line(phones, stage.agents["103"], ports["103"])
        )
    finally:
        for phone in picking_up:
            phone.cancel()
        await asyncio.gather(*picking_up, return_exceptions=True)
    return [*main, *nurse]


async def _main_line(stage: Stage, phones: Phones) -> list[Told]:
    calls = []
    for story in stories(stage):
        calls.append(asyncio.create_task(_told(phones, story)))
        await asyncio.sleep(1.5)
    return list(await asyncio.gather(*calls))


async def _nurse_line(phones: Phones, nurse: Agent, port: int) -> list[Told]:
    told = []
    for does, story in nurse_stories():
        if does:
            phone = asyncio.create_task(phones.agent(does, nurse.extension, port, calls=1, talk_s=TALK_S))
            await phones.listens(port)
            told.append(await _told(phones, story))
            phone.cancel()
            await asyncio.gather(phone, return_exceptions=True)
        else:
            await _signed_off(phones, nurse, port)
            told.append(await _told(phones, story))
    return told


async def _told(phones: Phones, story: Story) -> Told:
    return Told(story, await phones.call(story.caller))


async def _signed_in(phones: Phones, agent: Agent, port: int) -> None:
    ended = await phones.register(agent.extension, agent.secret, port)
    if not ended.ok:
        raise RuntimeError(f"extension {agent.extension} cannot sign in")


async def _signed_off(phones: Phones, agent: Agent, port: int) -> None:
    ended = await phones.register(agent.extension, agent.secret, port, seconds=0)
    if not ended.ok:
        raise RuntimeError(f"extension {agent.extension} cannot sign off")


async def _answers(stage: Stage) -> None:
    """Tell the carrier what the patients reply."""
    visits = [visit for visit in stage.people.visits if visit.starts_at - stage.people.now in SOON]
    visits.sort(key=lambda visit: SOON.index(visit.starts_at - stage.people.now))
    async with httpx.AsyncClient(trust_env=False) as http:
        for visit, reply in zip(visits, REPLIES, strict=True):
            if reply:
                rule = {"to": visit.person.phone, "reply": reply, "after": 1.0}
                answer = await http.post(f"{stage.url('carrier')}/rules", json=rule)
                answer.raise_for_status()
