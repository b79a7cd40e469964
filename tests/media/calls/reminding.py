"""Reminders that are called through the gateway, and the patient's telephone: a far end on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlmodel import Session, col, select

from connectors.api import AppointmentFacts, AppointmentStatus, Identifier, PatientFacts, Phone, Version
from hub.audio import tone, wav
from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now, uuid7
from hub.instance import Instance
from hub.record import change, reminder, voice
from hub.record.appointment import Appointment
from hub.record.voice import CallStage, Outcome, ReminderCall
from hub.rules.voice import words_of
from hub.settings import Paths
from media.latch import Address
from media.prompts import text_hash
from media.sdp import Session as Sdp
from tests.media.farend import FarEnd, far_end
from tests.media.greeting import noise, on_the_line, quiet
from tests.media.office import Office, policy, port_of
from tests.media.sip.peer import Conduct, Peer, answering, peer

VOICE = """
[[reminder]]
name = "visit"
offsets = ["-1d"]
voice = true
text.en = "{practice}: your visit is {date} at {time}. Reply C to confirm, R to reschedule, STOP to end."
"""
PATIENT = "+12125550177"
TEXTS = ("opening", "visit", "choice", "confirmed", "reschedule", "stopped", "closing", "message")
TONES = dict(zip(TEXTS, (420, 540, 1500, 660, 780, 900, 1100, 1300), strict=True))
"What stands for each text, as a WAV of the practice's own."


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("reminding") / "i"
    setup.make(Paths(root), policy(VOICE))
    with opened(root) as instance:
        yield instance


def visit_of(instance: Instance, db: Session, number: str) -> Appointment:
    """Store a visit of a new patient, in three days."""
    own = str(uuid7())
    version = Version(at=now(), tag=own)
    person = PatientFacts(
        ids=(Identifier(system="urn:cove", value=own, type="MR"),),
        version=version,
        family="Sample",
        given="Ada",
        phones=(Phone(e164=number, use="home"),),
    )
    said = AppointmentFacts(
        ids=(Identifier(system="urn:cove:visits", value=own),),
        version=version,
        status=AppointmentStatus.BOOKED,
        starts_at=now().replace(microsecond=0) + timedelta(days=3),
        minutes=20,
        patient=person,
    )
    applied = change.apply(db, said, connection="ehr", seal=instance.sealer, index=instance.index, now=now())
    assert applied.appointment_id is not None
    return db.get_one(Appointment, applied.appointment_id)


def asked(instance: Instance, number: str, language: str, db: Session) -> UUID:
    """Ask for a call about a visit, with all that it may say recorded; return its id."""
    visit = visit_of(instance, db, number)
    assert visit.starts_at is not None
    step = reminder.plan(db, visit.id, visit.starts_at, "visit-1d", visit.starts_at - timedelta(days=1))
    reminder.attempt(db, step.id, None, now())
    row = ReminderCall(
        id=uuid7(),
        reminder_id=step.id,
        appointment_id=visit.id,
        patient_id=visit.patient_id,
        starts_at=visit.starts_at,
        stage=CallStage.WAITING,
        outcome=Outcome.NONE,
        asked_at=now(),
        until_at=now() + timedelta(minutes=10),
        phone_key=b"",
        sealed=b"",
    )
    voice.ask(db, row, number=number, language=language, seal=instance.sealer, index=instance.index)
    words = words_of(instance.policy()[1], visit.starts_at, language)
    (instance.paths.root / "prompts").mkdir(exist_ok=True)
    for name, hz in TONES.items():
        path = instance.paths.root / "prompts" / f"{text_hash(getattr(words, name), words.language)}.wav"
        path.write_bytes(wav(tone(hz, seconds=0.4)))
    return row.id


async def ask(office: Office, number: str = PATIENT, language: str = "en") -> UUID:
    return await office.instance.db.run(partial(asked, office.instance, number, language), write=True)


async def row_of(office: Office, call_id: UUID, holds: Callable[[ReminderCall], bool]) -> ReminderCall:
    """Wait until the row is as a test waits for."""
    async with asyncio.timeout(40):
        while True:
            row = await office.instance.db.run(lambda db: db.get_one(ReminderCall, call_id))
            if holds(row):
                return row
            await asyncio.sleep(0.02)


async def row_of_each(office: Office, ids: Collection[UUID]) -> list[ReminderCall]:
    query = select(ReminderCall).where(col(ReminderCall.id).in_(ids))
    return await office.instance.db.run(lambda db: list(db.exec(query)))


async def over(office: Office, call_id: UUID) -> ReminderCall:
    """Wait until nothing more comes of a call."""
    return await row_of(office, call_id, lambda row: row.stage in {CallStage.OVER, CallStage.WITHDRAWN})


@asynccontextmanager
async def telephone(office: Office, conduct: Conduct = answering) -> AsyncIterator[tuple[Peer, FarEnd]]:
    """The patient's telephone, behind the carrier."""
    async with far_end() as far, peer(conduct, office.carrier_port) as carrier:
        carrier.rtp = far.address[1]
        yield carrier, far


async def place_of(carrier: Peer) -> Address:
    """Wait for the call; return where it wants sound."""
    await carrier.until(1, "ACK")
    return "127.0.0.1", port_of(Sdp.parse(carrier.of("INVITE")[0].body))


async def hears(far: FarEnd, name: str) -> None:
    """Wait until a text is heard."""
    async with asyncio.timeout(40):
        while TONES[name] not in far.hz():
            await far.hear(len(far.heard) + 5)


def heard(far: FarEnd) -> set[str]:
    """Return the texts that were heard so far."""
    tones = far.hz()
    return {name for name, hz in TONES.items() if hz in tones}


async def person(far: FarEnd, place: Address) -> None:
    """Speak as somebody does who picks up."""
    await far.say(place, on_the_line(quiet(0.2), noise(0.4, -18), quiet(0.9)))


async def reached(
    office: Office, carrier: Peer, far: FarEnd, number: str = PATIENT, language: str = "en"
) -> tuple[UUID, Address]:
    """Have a person called who picks up, speaks, and hears who calls; return the call and where they speak to."""
    call_id = await ask(office, number, language)
    place = await place_of(carrier)
    await person(far, place)
    await hears(far, "opening")
    return call_id, place
