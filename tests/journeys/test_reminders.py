"""Reminders fall due over a season that passes in seconds: each once, at the right local time, none after a cancel."""

import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest
from sqlmodel import select
from temporalio.client import WorkflowExecutionStatus

from connectors.sandbox.carrier import Text as Delivered
from hub.record import message, reminder
from hub.record.appointment import Appointment, AppointmentIdentifier
from hub.record.message import Message
from hub.record.reminder import Reminder, ReminderState
from hub.record.task import Task
from hub.record.writeback import Writeback, WritebackState
from hub.temporal.flow import appointment_flow_id
from tests.journeys.diary import (
    BEGIN,
    PRACTICE,
    STORIES,
    Happening,
    Story,
    at_practice,
    happenings,
    number_of,
    starts_of,
)
from tests.journeys.reckoning import DAY, MINUTE, STEPS, Text, Visit, World, awake, due, excused, full, minutes
from tests.journeys.season import ADT, CARRIER, Season, practice, working
from tests.journeys.shifted import Visit as Shifted
from tests.journeys.shifted import deliveries, visits
from tests.journeys.told import VISITS, Sender, own_of

SLACK = 5 * MINUTE
"So much later may texts come once a carrier is up again: it is not asked all the time."

ANSWERS = {
    "STOP": "Quiet Cove Clinic: you will get no more texts from us. Reply START to get them again.",
    "START": "Quiet Cove Clinic: you will get our texts again. Reply STOP to end, HELP for help.",
}

OWNERS = {number_of(story): (story, "") for story in reversed(STORIES)} | {
    number_of(story, second=True): (story, ", second number") for story in STORIES
}

Seen = tuple[str, str, str]
"Whose number, the minute on the clock there, and the text or the step."


@cache
def reckoned() -> tuple[Text, ...]:
    """Return every reminder that the diary's people must get."""
    world, ahead = World(), deque(happenings())
    texts: list[Text] = []
    for minute in minutes(at for story in STORIES for at in starts_of(story)):
        while ahead and ahead[0][1].at <= minute:
            happen(world, *ahead.popleft())
        texts += world.texts_of(minute)
    return tuple(texts)


def happen(world: World, story: Story, told: Happening) -> None:
    if told.what == "book" and story.name not in world.visits:
        world.visits[story.name] = Visit(
            number_of(story), story.home.zone, at_practice(story.visit), None, reachable=story.numbered
        )
    visit = world.visits[story.name]
    match told.what:
        case "book":
            visit.since = told.at
        case "move":
            visit.starts_at, visit.since, visit.confirmed = at_practice(told.word), told.at, False
        case "cancel" | "noshow":
            visit.since = None
        case "says" if told.word in {"C", "yes"}:
            visit.confirmed = True
        case "says" if told.word == "STOP":
            world.silent.add(visit.number)
        case "says" if told.word == "START":
            world.silent.discard(visit.number)
            visit.since = told.at
        case "dies":
            visit.reachable = False
        case "number" | "merge":
            visit.number, visit.reachable = number_of(story, second=True), True
        case "home" if story.later is not None:
            visit.zone = story.later.zone
        case "crash":
            visit.done.add((visit.starts_at, told.word))
        case "down" | "up":
            world.down = told.what == "down"


def test_the_diary_agrees_with_the_reckoning() -> None:
    reckoning: dict[str, list[str]] = {story.name: [] for story in STORIES}
    for text in reckoned():
        story = next(story for story in STORIES if story.name == text.visit)
        star = "*" if text.number == number_of(story, second=True) else ""
        reckoning[text.visit].append(star + f"{text.at.astimezone(story.home.zone):%m-%d %H:%M}")
    assert reckoning == {story.name: list(story.texts) for story in STORIES}


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("season")
async def test_a_season_of_visits_reminds_everybody_once_and_at_the_right_time(tmp_path: Path) -> None:
    async with practice(tmp_path / "i", BEGIN) as season, working(season):
        chart(season)
        sender = Sender()
        for at, told in itertools.groupby(happenings(), key=lambda pair: pair[1].at):
            await season.until(at)
            await happened(season, sender, list(told))
        await season.until(max(start for story in STORIES for start in starts_of(story)) + timedelta(hours=1))

        wanted = reckoned()
        assert received(season) == sorted([*(seen(t.number, t.at, body_of(t)) for t in wanted), *answered()])
        assert recorded(season) == sorted(seen(t.number, t.at, t.step) for t in wanted)
        assert waiting(season) == []
        assert await flows_left(season) == []
        assert sorted((task.kind, task.reason) for task in season.rows(Task)) == [
            ("outcome", "crashed"),
            ("outcome", "unknown-outcome"),
            ("reschedule", "reschedule"),
        ]
        assert accepted(season) == {own_of(story) for story in STORIES if said(story) & {"C", "yes"}}


async def happened(season: Season, sender: Sender, told: list[tuple[Story, Happening]]) -> None:
    """Let it happen in the world outside."""
    messages = []
    for story, each in told:
        match each.what:
            case "says":
                await season.answer(number_of(story), each.word)
            case "crash":
                crash(season, story, each.word)
            case "fault":
                season.carrier.faults.extend(each.word.split())  # type: ignore[arg-type]
            case "down":
                season.carrier.faults.extend(["error"] * 10_000)
            case "up":
                season.carrier.faults.clear()
            case _:
                messages.append(sender.tell(story, each))
    if messages:
        await season.hear(*messages)


def crash(season: Season, story: Story, step: str) -> None:
    """Leave what a worker leaves that recorded an attempt and was killed before it knew the outcome."""
    instance = season.instance
    key = instance.index.identifier(VISITS, "", f"V{own_of(story)}")
    with instance.db.write() as db:
        visit = db.exec(select(AppointmentIdentifier).where(AppointmentIdentifier.key == key)).one()
        rows = {row.step: row for row in reminder.of_appointment(db, visit.appointment_id)}
        assert reminder.attempt(db, rows[step].id, None, instance.clock())


def chart(season: Season) -> None:
    """Let the EHR have the visits that are to be confirmed."""
    for story in STORIES:
        if said(story):
            season.ehr.put(
                {
                    "resourceType": "Appointment",
                    "id": f"a{own_of(story)}",
                    "identifier": [{"system": VISITS, "value": f"V{own_of(story)}"}],
                    "status": "booked",
                    "participant": [{"actor": {"reference": f"Patient/p{own_of(story)}"}, "status": "needs-action"}],
                }
            )


def said(story: Story) -> set[str]:
    return {each.word for each in story.happenings() if each.what == "says"}


def accepted(season: Season) -> set[str]:
    """Return the visits for which the EHR knows that the patient comes."""
    return {
        str(visit["id"])[1:]
        for _, visit in season.ehr.all("Appointment")
        if visit["participant"][0]["status"] == "accepted"
    }


def seen(number: str, at: datetime, what: str) -> Seen:
    """Return what a person saw, so that it can be compared, and read where it differs."""
    story, second = OWNERS[number]
    back = (each.at for _, each in happenings() if each.what == "up" and each.at <= at < each.at + SLACK)
    return story.name + second, f"{next(back, at).astimezone(story.home.zone):%m-%d %H:%M}", what


def received(season: Season) -> list[Seen]:
    """Return what came to the carrier."""
    out = [text for text in season.carrier.texts if not text.inbound]
    return sorted(seen(text.to, datetime.fromisoformat(text.at), text.text) for text in out)


def recorded(season: Season) -> list[Seen]:
    """Return the attempts on record, as they ended."""
    texts = {row.id: row for row in season.rows(Message)}
    rows = [row for row in season.rows(Reminder) if row.message_id is not None]
    opened = season.open(message.sealed_of(texts[row.message_id]) for row in rows if row.message_id is not None)
    pairs = zip(rows, opened, strict=True)
    return sorted(seen(fields["number"], row.attempted_at, row.step) for row, fields in pairs if row.attempted_at)


def body_of(text: Text) -> str:
    """Return what a reminder says: the visit on the practice's clock, in the patient's language."""
    story = next(story for story in STORIES if story.name == text.visit)
    if story.language == "es":
        assert text.starts_at == at_practice("03-13 16:20")
        said = "Quiet Cove Clinic: su cita es el martes 13 de marzo a las 4:20 PM."
        return f"{said} Responda C si viene, R si no, ALTO para salir."
    return english(text.starts_at)


def english(starts_at: datetime) -> str:
    """Return what a reminder says in English."""
    local = starts_at.astimezone(PRACTICE)
    hour = f"{local.hour % 12 or 12}:{local:%M} {'AM' if local.hour < 12 else 'PM'}"
    said = f"Quiet Cove Clinic: your visit is {local:%A, %B} {local.day} at {hour}."
    return f"{said} Reply C to confirm, R to reschedule, STOP to end."


def answered() -> list[Seen]:
    """Return the texts that answer a STOP or a START."""
    return [
        seen(number_of(story), each.at, ANSWERS[each.word])
        for story, each in happenings()
        if each.what == "says" and each.word in ANSWERS
    ]


def waiting(season: Season) -> list[str]:
    """Return what was told and is not in the record, and what is still to be sent or written."""
    unread = [
        state for state in ("stored", "quarantined") if season.counts(ADT)[state] or season.counts(CARRIER)[state]
    ]
    unsent = [row.step for row in season.rows(Reminder) if row.state in {ReminderState.PLANNED, ReminderState.SENDING}]
    return unread + unsent + [row.key for row in season.rows(Writeback) if row.state is not WritebackState.DONE]


async def flows_left(season: Season) -> list[str]:
    """Return the flows of visits that have not ended."""
    ids = [appointment_flow_id(str(row.id)) for row in season.rows(Appointment)]
    found = [(flow_id, await season.client.get_workflow_handle(flow_id).describe()) for flow_id in ids]
    return [flow_id for flow_id, flow in found if flow.status is not WorkflowExecutionStatus.COMPLETED]


@pytest.mark.corpus
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("season")
async def test_the_public_feed_in_the_coming_days_reminds_each_once_and_within_every_limit(tmp_path: Path) -> None:
    wanted = visits()
    async with practice(tmp_path / "i", BEGIN) as season, working(season):
        for delivery in deliveries():
            await season.until(delivery.at)
            await season.hear(*delivery.messages)
        await season.until(max(visit.starts_at for visit in wanted.values()) + DAY)

        names = named(season, wanted)
        assert {names[row.id]: row.status.value for row in season.rows(Appointment)} == {
            name: visit.status for name, visit in wanted.items()
        }
        texts = {text.id: text for text in season.carrier.texts}
        rows = {row.id: row for row in season.rows(Message)}
        sent = [row for row in season.rows(Reminder) if row.state is ReminderState.SENT]
        assert sorted(texts) == sorted(str(rows[row.message_id].external_id) for row in sent if row.message_id)
        assert await flows_left(season) == []
    taken = {
        (names[row.appointment_id], row.step): texts[str(rows[row.message_id].external_id)]
        for row in sent
        if row.message_id
    }
    assert len(taken) == len(texts)
    for visit in wanted.values():
        mine = {step: text for (name, step), text in taken.items() if name == visit.name}
        times = sorted(minute_of(text) for text in texts.values() if text.to == visit.number)
        assert faults(visit, mine, times) == []


def named(season: Season, wanted: Iterable[str]) -> dict[UUID, str]:
    """Return the feed's name of each appointment."""
    keys = {season.instance.index.identifier("", kind, name): name for name in wanted for kind in ("PLAC", "FILL")}
    return {row.appointment_id: keys[row.key] for row in season.rows(AppointmentIdentifier) if row.key in keys}


def minute_of(text: Delivered) -> datetime:
    """Return when the carrier took it; what is seven days later to the second may be a moment less by its clock."""
    return datetime.fromisoformat(text.at).replace(second=0, microsecond=0)


def faults(visit: Shifted, mine: Mapping[str, Delivered], times: Sequence[datetime]) -> list[str]:
    """Return what is wrong with the texts about one visit; `times` are those of all texts to its number."""
    wrong = []
    for step in STEPS:
        text = mine.get(step)
        if text is None:
            if not excused(visit.starts_at, step, visit.zone, times, visit.off_at):
                wrong.append(f"{step} was not sent, and could have been")
            continue
        at = minute_of(text)
        before = [then for then in times if then < at]
        wrong += [
            f"{step} at {at}: {what}"
            for what, so in {
                "not the patient's number": text.to != visit.number,
                "not the visit's time": text.text != english(visit.starts_at),
                "before it is due": at < due(step, visit.starts_at, visit.zone),
                "after the visit": at >= visit.starts_at,
                "after a cancel": at >= visit.off_at,
                "in quiet hours": not awake(at, visit.zone),
                "one too many": full(at, visit.zone, before),
            }.items()
            if so
        ]
    return wrong
