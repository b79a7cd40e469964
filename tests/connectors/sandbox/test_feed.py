"""The sandbox's HL7 v2 feed, read back by the hl7v2 connector and by hand."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import islice

import pytest

from connectors.api import AppointmentFacts, PatientFacts
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.settings import Hl7v2Settings
from connectors.sandbox.day import day
from connectors.sandbox.feed import END, START, Feed, Sender
from connectors.sandbox.people import FILLER_SYSTEM, make
from connectors.sandbox.resource import resources
from connectors.sandbox.siu import Message, acknowledged, trigger_of
from connectors.sandbox.store import Store
from hub.demo.ports import free_port
from tests.connectors.stage import NOW, ZONE, Clock, listening

READER = Hl7v2(Hl7v2Settings(listen="127.0.0.1:2575"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock, resources(make(7, NOW, ZONE)))


def waiting(feed: Feed) -> list[Message]:
    return [feed.waiting.get_nowait() for _ in range(feed.waiting.qsize())]


def field(message: Message, segment: str, number: int) -> str:
    for line in message.raw.decode().split("\r"):
        if line.startswith(segment + "|"):
            return line.split("|")[number - (segment == "MSH")]
    raise LookupError(segment)


def test_the_feed_begins_with_everyone_and_every_visit(store: Store, clock: Clock) -> None:
    messages = waiting(Feed(store, ZONE, clock))
    triggers = [message.trigger for message in messages]
    assert triggers == ["A28"] * 40 + ["S12"] * len(make(7, NOW, ZONE).visits)
    assert len({message.control_id for message in messages}) == len(messages)
    times = [field(message, "MSH", 7) for message in messages]
    assert times == sorted(set(times))


def test_what_it_says_is_what_the_other_door_says(store: Store, clock: Clock) -> None:
    people = make(7, NOW, ZONE)
    messages = waiting(Feed(store, ZONE, clock))
    facts = [one for message in messages for one in READER.read(message.raw, timezone=ZONE, region="US")]
    persons = {person.mrn: person for person in people.persons}
    patients = [fact for fact in facts if isinstance(fact, PatientFacts)]
    assert len(patients) == 40
    for said in patients:
        person = persons[said.ids[0].value]
        assert (said.family, said.given, said.birth_date) == (person.family, person.given, person.birth_date)
        assert said.language == person.language
        assert bool(said.deceased) == person.deceased
        assert [phone.e164 for phone in said.phones] == ([person.phone] if person.phone else [])
    visits = {visit.filler: visit for visit in people.visits}
    for fact in facts:
        if not isinstance(fact, AppointmentFacts):
            continue
        visit = visits[next(one.value for one in fact.ids if one.system == FILLER_SYSTEM)]
        assert (fact.starts_at, fact.minutes) == (visit.starts_at, visit.minutes)
        assert fact.patient is not None
        assert fact.patient.family == visit.person.family
        assert fact.location == visit.place.name


BOOKED = {"status": "booked", "start": "2026-11-24T15:00:00Z", "meta": {"versionId": "1"}}


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        ({"status": "cancelled"}, "S15"),
        ({"status": "noshow"}, "S26"),
        ({"status": "entered-in-error"}, "S17"),
        ({"start": "2026-11-25T15:00:00Z"}, "S13"),
        ({"minutesDuration": 15}, "S14"),
        ({"status": "arrived"}, "S14"),
        ({"meta": {"versionId": "2"}}, None),
    ],
)
def test_a_change_has_its_trigger(change: dict[str, object], trigger: str | None) -> None:
    assert trigger_of(None, BOOKED) == "S12"
    assert trigger_of(BOOKED, BOOKED | change) == trigger


def test_a_days_changes_end_where_the_server_stands(store: Store, clock: Clock) -> None:
    feed = Feed(store, ZONE, clock)
    for _ in islice(day(store, clock, seed=5), 150):
        clock.now += timedelta(seconds=20)
    messages = waiting(feed)
    assert {"A28", "S12", "S13", "S14", "S15", "S26"} <= {message.trigger for message in messages}
    heard: dict[str, AppointmentFacts] = {}
    for message in messages:
        for fact in READER.read(message.raw, timezone=ZONE, region="US"):
            if isinstance(fact, AppointmentFacts):
                own = next(one.value for one in fact.ids if one.system == FILLER_SYSTEM)
                assert own not in heard or fact.version.at >= heard[own].version.at
                heard[own] = fact
    truth = {one["identifier"][1]["value"]: one for _, one in store.all("Appointment")}
    assert set(heard) == set(truth)
    for own, fact in heard.items():
        assert fact.status == truth[own]["status"]
        assert fact.starts_at == datetime.fromisoformat(truth[own]["start"])


def test_the_same_seed_gives_the_same_day(clock: Clock) -> None:
    stores = [Store(clock, resources(make(7, NOW, ZONE))) for _ in range(2)]
    first, second = (list(islice(day(store, clock, seed=5), 40)) for store in stores)
    assert first == second


def test_delimiters_in_a_value_are_escaped(store: Store, clock: Clock) -> None:
    feed = Feed(store, ZONE, clock)
    waiting(feed)
    visit = store.get("Appointment", "a1")
    assert visit is not None
    store.put(visit | {"reasonCode": [{"text": "Pain | left & right ^ ~ \\ side"}]})
    (message,) = waiting(feed)
    (fact,) = READER.read(message.raw, timezone=ZONE, region="US")
    assert isinstance(fact, AppointmentFacts)
    assert fact.reason == "Pain | left & right ^ ~ \\ side"


@pytest.mark.parametrize(
    ("resource", "triggers"),
    [
        ({"resourceType": "Appointment", "status": "proposed", "participant": [{"status": "accepted"}]}, []),
        ({"resourceType": "Appointment", "status": "booked", "start": "2026-12-01T15:00:00Z"}, ["S12"]),
        ({"resourceType": "Patient", "name": [{"text": "Orlena"}]}, ["A28"]),
        ({"resourceType": "Patient", "identifier": [{"value": "1|2"}], "telecom": [{"system": "phone"}]}, ["A28"]),
        ({"resourceType": "Task", "status": "requested"}, []),
    ],
)
def test_a_resource_that_somebody_else_wrote_is_told_as_far_as_it_goes(
    store: Store, clock: Clock, resource: dict[str, object], triggers: list[str]
) -> None:
    feed = Feed(store, ZONE, clock)
    waiting(feed)
    store.put(resource)
    said = waiting(feed)
    assert [message.trigger for message in said] == triggers
    list(islice(day(store, clock, seed=1), 30))


def ack(frame: bytes, code: str) -> bytes:
    control_id = frame.split(b"|")[9].decode()
    return START + f"MSH|^~\\&|||||||ACK|x|P|2.5.1\rMSA|{code}|{control_id}\r".encode() + END


Answers = Callable[[int, bytes], bytes | None]


class Listener:
    """Takes frames and answers the n-th as it is told; None closes the connection."""

    def __init__(self, answer: Answers) -> None:
        self.frames: list[bytes] = []
        self._answer = answer

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                frame = await reader.readuntil(END)
            except asyncio.IncompleteReadError:
                return
            self.frames.append(frame)
            said = self._answer(len(self.frames), frame)
            if said is None:
                return
            writer.write(said)


async def quick(_: float) -> None:
    """Pause for no time."""
    await asyncio.sleep(0)


def messages(count: int) -> list[Message]:
    found = []
    for number in range(count):
        raw = f"MSH|^~\\&|S|F|R|G|2026||ADT^A28|M{number}|P|2.5.1\r".encode()
        found.append(Message(f"M{number}", "A28", raw))
    return found


async def sent(count: int, answer: Answers, patience: float = 5.0) -> tuple[Sender, Listener, list[str]]:
    listener = Listener(answer)
    async with listening(listener.talk) as port:
        sender = Sender("127.0.0.1", port, patience=patience, pause=quick)
        codes = [await sender.send(message) for message in messages(count)]
        await sender.aclose()
    return sender, listener, codes


async def test_each_message_waits_for_its_answer() -> None:
    sender, listener, codes = await sent(5, lambda _, frame: ack(frame, "AA"))
    assert codes == ["AA"] * 5
    assert [frame.split(b"|")[9] for frame in listener.frames] == [b"M0", b"M1", b"M2", b"M3", b"M4"]
    assert (sender.tally.accepted, sender.tally.again) == (5, 0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda number, frame: ack(frame, "AE" if number in {1, 2, 4} else "AA"),
        lambda number, frame: None if number in {1, 2, 4} else ack(frame, "AA"),
        lambda number, frame: b"" if number in {1, 2, 4} else ack(frame, "AA"),
        lambda number, frame: START + b"rubbish" + END if number in {1, 2, 4} else ack(frame, "AA"),
        lambda number, frame: ack(frame.replace(b"|M", b"|X"), "AA") if number in {1, 2, 4} else ack(frame, "AA"),
    ],
    ids=["AE", "closed", "silent", "rubbish", "another's"],
)
async def test_what_was_not_acknowledged_is_sent_again_under_the_same_id(answer: Answers) -> None:
    sender, listener, codes = await sent(3, answer, patience=1.0)
    assert codes == ["AA"] * 3
    ids = [frame.split(b"|")[9] for frame in listener.frames]
    assert ids == [b"M0", b"M0", b"M0", b"M1", b"M1", b"M2"]
    assert (sender.tally.accepted, sender.tally.again) == (3, 3)


async def test_what_is_rejected_is_not_sent_again() -> None:
    sender, listener, codes = await sent(2, lambda number, frame: ack(frame, "AR" if number == 1 else "AA"))
    assert codes == ["AR", "AA"]
    assert len(listener.frames) == 2
    assert sender.tally.rejected == 1


async def test_a_listener_that_comes_up_late_gets_everything(store: Store, clock: Clock) -> None:
    feed = Feed(store, ZONE, clock)
    count = feed.waiting.qsize()
    tries = 0
    listener = Listener(lambda _, frame: ack(frame, "AA"))
    with socket.socket() as bound:  # bound and not listening: connections are refused
        port = free_port()
        bound.bind(("127.0.0.1", port))
        async with AsyncExitStack() as stack:

            async def pause(_: float) -> None:
                nonlocal tries
                tries += 1
                if tries == 3:
                    bound.close()
                    await stack.enter_async_context(listening(listener.talk, port))
                await asyncio.sleep(0)

            running = asyncio.create_task(feed.run(Sender("127.0.0.1", port, pause=pause)))
            await feed.waiting.join()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert tries == 3
    assert len(listener.frames) == count


def test_an_acknowledgement_is_read_whatever_ends_its_segments() -> None:
    assert list(acknowledged(b"MSH|^~\\&|\nMSA|AA|1\n")) == [("AA", "1")]
    assert list(acknowledged(b"MSH|x\rMSA|AE|2|words\r")) == [("AE", "2")]
    assert list(acknowledged(b"MSA|AA\r\xff")) == []
