"""Reminders that are called, through the gateway, to a far end on loopback that is a person or a machine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from connectors.api import AppointmentFacts, AppointmentStatus, Identifier, PatientFacts, Phone, Version
from hub.audio import tone, wav
from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now, uuid7
from hub.instance import Instance
from hub.record import appointment, call, change, consent, reminder, voice
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.voice import CallStage, Outcome, ReminderCall
from hub.rules.voice import words_of
from hub.settings import Paths
from media.latch import Address
from media.prompts import text_hash
from media.sdp import Session as Sdp
from tests.media.farend import FarEnd, far_end
from tests.media.greeting import beep, noise, on_the_line, quiet
from tests.media.office import Office, opened_office, policy, port_of
from tests.media.sip.peer import Conduct, Peer, answering, peer, saying, silent, speaking_early

pytestmark = pytest.mark.xdist_group("gateway")

VOICE = """
[[reminder]]
name = "visit"
offsets = ["-1d"]
voice = true
text.en = "{practice}: your visit is {date} at {time}. Reply C to confirm, R to reschedule, STOP to end."
"""
LIMITS = "concurrent_each = 5\nper_minute = 2"
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


@pytest.fixture
async def office(instance: Instance) -> AsyncIterator[Office]:
    async with opened_office(instance) as office:
        yield office


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
    async with asyncio.timeout(20):
        while True:
            row = await office.instance.db.run(lambda db: db.get_one(ReminderCall, call_id))
            if holds(row):
                return row
            await asyncio.sleep(0.02)


async def row_of_each(office: Office, ids: Collection[UUID]) -> list[ReminderCall]:
    query = select(ReminderCall).where(col(ReminderCall.id).in_(ids))
    return await office.instance.db.run(lambda db: list(db.exec(query)))


async def over(office: Office, call_id: UUID) -> ReminderCall:
    return await row_of(office, call_id, lambda row: row.stage in {CallStage.OVER, CallStage.WITHDRAWN})


@asynccontextmanager
async def telephone(office: Office, conduct: Conduct = answering) -> AsyncIterator[tuple[Peer, FarEnd]]:
    """The patient's telephone, behind the carrier."""
    async with far_end() as far, peer(conduct, office.carrier_port) as carrier:
        carrier.rtp = far.address[1]
        yield carrier, far


async def place_of(carrier: Peer) -> Address:
    await carrier.until(1, "ACK")
    return "127.0.0.1", port_of(Sdp.parse(carrier.of("INVITE")[0].body))


async def hears(far: FarEnd, name: str) -> None:
    """Wait until a text is heard."""
    async with asyncio.timeout(20):
        while TONES[name] not in far.hz():
            await far.hear(len(far.heard) + 5)


def heard(far: FarEnd) -> set[str]:
    tones = far.hz()
    return {name for name, hz in TONES.items() if hz in tones}


async def person(far: FarEnd, place: Address) -> None:
    await far.say(place, on_the_line(quiet(0.2), noise(0.4, -18), quiet(0.9)))


async def test_a_person_presses_keys_and_the_visit_is_confirmed(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office)
        place = await place_of(carrier)
        (invite,) = carrier.of("INVITE")
        assert invite.uri == "sip:+12125550177@carrier.example;user=phone"
        assert invite.headers["P-Asserted-Identity"] == ["<sip:+12125550100@carrier.example;user=phone>"]
        await person(far, place)
        await hears(far, "opening")
        assert "visit" not in heard(far)
        await far.press(place, "51")  # another key is no answer
        await hears(far, "choice")
        await far.press(place, "1")
        row = await over(office, asked)
        await carrier.until(1, "BYE")
        assert heard(far) == {"opening", "visit", "choice", "confirmed"}
    assert (row.outcome, row.answered_by, row.reason) == (Outcome.CONFIRMED, "human", "short-greeting")
    made = await office.instance.db.run(lambda db: db.get_one(Call, asked))
    assert (made.direction, made.path, made.patient_id) == (call.OUT, call.ANSWERED, row.patient_id)
    assert (made.trunk, made.did) == ("line", "+12125550100")


async def test_a_machine_gets_its_message_after_the_beep_and_hears_of_no_visit(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office)
        place = await place_of(carrier)
        await far.say(place, on_the_line(noise(2.2, -18), quiet(0.5)))
        assert heard(far) == set()
        await far.say(place, on_the_line(beep(), quiet(0.4)))
        row = await over(office, asked)
        assert heard(far) == {"message"}
    assert (row.outcome, row.answered_by, row.reason) == (Outcome.LEFT, "machine", "long-greeting")


async def test_a_machine_that_was_taken_for_a_person_gets_its_message_after_the_beep(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office)
        place = await place_of(carrier)
        await person(far, place)
        await hears(far, "opening")
        await far.say(place, on_the_line(beep(850), quiet(0.4)))
        row = await over(office, asked)
        assert heard(far) == {"opening", "message"}
    assert (row.outcome, row.answered_by, row.reason) == (Outcome.LEFT, "machine", "beep")


async def test_nine_ends_all_calls_and_texts_to_the_number_at_once(office: Office) -> None:
    number = "+12125550178"
    key = office.instance.index.phone(number)
    async with telephone(office) as (carrier, far):
        asked = await ask(office, number)
        place = await place_of(carrier)
        await person(far, place)
        await hears(far, "opening")
        await far.press(place, "9")
        await hears(far, "stopped")
        assert await office.instance.db.run(lambda db: consent.opted_out(db, key, voice.PROGRAM))
        row = await over(office, asked)
        assert heard(far) == {"opening", "stopped"}
        assert row.outcome is Outcome.STOPPED
        again = await ask(office, number)
        assert (await over(office, again)).stage is CallStage.WITHDRAWN
        assert len(carrier.of("INVITE")) == 1


async def test_nine_holds_though_a_commit_fails(office: Office) -> None:
    number = "+12125550179"
    key, engine = office.instance.index.phone(number), office.instance.db.engine
    failed: list[str] = []

    def disk_full(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INTO opt_out" in statement and not failed:
            failed.append(statement)
            raise OperationalError(statement, None, OSError("database or disk is full"))

    event.listen(engine, "before_cursor_execute", disk_full)
    try:
        async with telephone(office) as (carrier, far):
            asked = await ask(office, number)
            place = await place_of(carrier)
            await person(far, place)
            await hears(far, "opening")
            await far.press(place, "9")
            row = await over(office, asked)
            assert heard(far) == {"opening", "stopped"}
    finally:
        event.remove(engine, "before_cursor_execute", disk_full)
    assert len(failed) == 1
    assert row.outcome is Outcome.STOPPED
    assert await office.instance.db.run(lambda db: consent.opted_out(db, key, voice.PROGRAM))


async def test_one_pressed_twice_confirms_nothing_before_the_visit_was_told(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office)
        place = await place_of(carrier)
        await person(far, place)
        await hears(far, "opening")  # cut short by the key, it may be too little of the whole to be told from it later
        await far.press(place, "11")
        await hears(far, "choice")
        assert heard(far) | {"opening"} == {"opening", "visit", "choice"}
        row = await office.instance.db.run(lambda db: db.get_one(ReminderCall, asked))
        assert row.outcome is Outcome.NONE
        await far.press(place, "1")
        row = await over(office, asked)
        assert heard(far) | {"opening"} == {"opening", "visit", "choice", "confirmed"}
    assert row.outcome is Outcome.CONFIRMED


async def test_nine_ends_the_words_about_the_visit_at_once(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office, "+12125550180")
        place = await place_of(carrier)
        await person(far, place)
        await hears(far, "opening")
        await far.press(place, "19")
        row = await over(office, asked)
        assert heard(far) - {"visit"} == {"opening", "stopped"}
    assert row.outcome is Outcome.STOPPED


async def test_another_time_is_asked_for(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office, language="es")
        place = await place_of(carrier)
        await person(far, place)
        await hears(far, "opening")
        await far.press(place, "1")
        await hears(far, "choice")
        await far.press(place, "2")
        row = await over(office, asked)
        assert heard(far) == {"opening", "visit", "choice", "reschedule"}
    assert row.outcome is Outcome.RESCHEDULE


async def test_who_hangs_up_was_told_who_called(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office)
        place = await place_of(carrier)
        await person(far, place)
        await hears(far, "opening")
        (invite,), (ack,) = carrier.of("INVITE"), carrier.of("ACK")
        text = (
            f"BYE {invite.contacts[0].uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{office.carrier_port};branch=z9hG4bKbye\r\n"
            f"From: {ack.headers['To'][0]}\r\nTo: {invite.headers['From'][0]}\r\nCall-ID: {invite.call_id}\r\n"
            "CSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        carrier._transport.sendto(text.encode(), ("127.0.0.1", office.port))
        row = await over(office, asked)
    assert row.outcome is Outcome.SILENT
    made = await office.instance.db.run(lambda db: db.get_one(Call, asked))
    assert (made.cause, made.path) == ("far-end", call.ANSWERED)


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (486, Outcome.BUSY, ""),
        (480, Outcome.NO_ANSWER, ""),
        (503, Outcome.UNREACHABLE, ""),
        (404, Outcome.REFUSED, "number-unknown"),
    ],
)
async def test_who_is_not_reached(office: Office, status: int, outcome: Outcome, reason: str) -> None:
    async with telephone(office, saying(status)):
        row = await over(office, await ask(office))
    assert (row.outcome, row.reason, row.answered_by) == (outcome, reason, "")


@pytest.mark.parametrize(
    ("number", "reason"), [("+19005550123", "range-not-allowed"), ("+442079460958", "country-not-allowed")]
)
async def test_what_may_not_be_dialled_is_not(office: Office, number: str, reason: str) -> None:
    async with telephone(office, silent) as (carrier, _):
        before = await office.count()
        row = await over(office, await ask(office, number))
        assert carrier.requests == []
    assert (row.outcome, row.reason) == (Outcome.REFUSED, reason)
    assert await office.count() == before


async def test_a_visit_that_moved_is_not_called_about(office: Office) -> None:
    def moved(db: Session) -> UUID:
        row = db.get_one(ReminderCall, asked(office.instance, PATIENT, "en", db))
        appointment.confirm(db, row.appointment_id, by="system:test", now=now())
        return row.id

    async with telephone(office, silent) as (carrier, _):
        row = await over(office, await office.instance.db.run(moved, write=True))
        assert carrier.requests == []
    assert row.stage is CallStage.WITHDRAWN


async def test_one_call_at_a_time_where_the_policy_says_so(office: Office) -> None:
    async with telephone(office, silent) as (carrier, _):
        first, second = await ask(office), await ask(office)
        await carrier.until(1, "INVITE")
        rows = await office.instance.db.run(
            lambda db: db.exec(select(ReminderCall).where(col(ReminderCall.id).in_([first, second]))).all()
        )
        assert sorted(row.stage for row in rows) == ["dialled", "waiting"]
        (waits,) = [row.id for row in rows if row.stage is CallStage.WAITING]
        left = await office.instance.db.run(lambda db: voice.withdraw(db, waits, now()).stage, write=True)
        assert left is CallStage.WITHDRAWN


async def test_no_more_calls_are_begun_at_once_than_every_limit_allows(tmp_path: Path) -> None:
    setup.make(Paths(tmp_path / "i"), policy(VOICE).replace("concurrent_each = 1\nper_minute = 100", LIMITS))
    with opened(tmp_path / "i") as instance:
        ids = [await instance.db.run(partial(asked, instance, PATIENT, "en"), write=True) for _ in range(6)]
        async with opened_office(instance) as office, telephone(office, silent) as (carrier, _):
            await office.rows(lambda rows: len(rows) >= 2)
            rows = await row_of_each(office, ids)
            assert sorted(row.stage for row in rows) == ["dialled"] * 2 + ["waiting"] * 4
            assert await office.count() == 2
        rows = await row_of_each(office, ids)
        assert sum(row.dialled_at is not None for row in rows) == 2
        assert len({invite.call_id for invite in carrier.of("INVITE")}) == 2


async def test_a_call_that_died_with_its_process_is_not_made_again(instance: Instance) -> None:
    async with opened_office(instance) as office, telephone(office, silent):
        asked = await ask(office)
        await row_of(office, asked, lambda row: row.stage is CallStage.DIALLED)
        with instance.db.write() as db:
            left = voice.lost(db, "media-test", now())
    assert left == 1
    row = await office.instance.db.run(lambda db: db.get_one(ReminderCall, asked))
    assert (row.stage, row.outcome) == (CallStage.OVER, Outcome.LOST)
    async with opened_office(instance) as office, telephone(office, silent) as (carrier, _):
        other = await ask(office)
        await row_of(office, other, lambda row: row.stage is CallStage.DIALLED)
        await carrier.until(1, "INVITE")
        assert len({invite.call_id for invite in carrier.of("INVITE")}) == 1


async def test_a_carrier_that_speaks_early_and_then_refuses_has_put_nobody_through(office: Office) -> None:
    async with telephone(office, speaking_early) as (carrier, _):
        asked = await ask(office)
        (invite,) = await carrier.until(1, "INVITE")
        carrier.say(invite.respond(486, to_tag="peer"))
        row = await over(office, asked)
    assert (row.outcome, row.answered_by) == (Outcome.BUSY, "")
