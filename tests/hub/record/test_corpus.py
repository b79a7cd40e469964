"""The public appointment feed against its truth, repeated and shuffled; and every public message, refused or stored."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import Session, col, select

from connectors.api import AppointmentFacts, Change, ConnectorError, Identifier
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.settings import Hl7v2Settings
from hub.errors import ChartlineError
from hub.record import appointment, change, patient
from hub.record.appointment import Appointment
from hub.record.known import Known
from hub.record.patient import Patient
from tests.corpus import corpus_path
from tests.hub.record.conftest import Record

pytestmark = pytest.mark.corpus

ZONE = ZoneInfo("America/New_York")
BATCH = 100


def read(raw: bytes) -> Sequence[Change]:
    settings = Hl7v2Settings(listen="127.0.0.1:0")
    return Hl7v2(settings).read(raw, timezone=ZONE, region="US")


def frames(path: Path) -> list[bytes]:
    return [part.lstrip(b"\x0b\r\n") for part in path.read_bytes().split(b"\x1c") if part.strip(b"\x0b\r\n")]


def drain(record: Record, connection: str, told: Sequence[Change]) -> Counter[str]:
    """Store statements as a feed does: by the batch, each under a savepoint; return what became of them by code."""
    codes: Counter[str] = Counter()
    for start in range(0, len(told), BATCH):
        batch = told[start : start + BATCH]
        with record.database.read() as db:
            rows = change.affected(db, batch, connection=connection, index=record.index)
            known = Known(zip(rows, record.opener.open(db, record.audited, rows), strict=True))
        with record.database.write() as db:
            for said in batch:
                codes[store(db, record, connection, said, known)] += 1
    return codes


def store(db: Session, record: Record, connection: str, said: Change, known: Known) -> str:
    try:
        with db.begin_nested():
            change.apply(
                db, said, connection=connection, seal=record.seal, index=record.index, now=record.now, known=known
            )
    except (ChartlineError, ConnectorError) as error:
        return error.code
    return "applied"


@pytest.mark.parametrize("seed", [None, 1])
def test_the_feed_five_times_over_gives_the_true_appointments(record: Record, seed: int | None) -> None:
    feed = corpus_path() / "hl7v2_feed"
    truth = json.loads((feed / "siu_feed_truth.json").read_text())
    told = [said for raw in frames(feed / "siu_feed.mllp") for said in read(raw)] * 5
    if seed is not None:
        random.Random(seed).shuffle(told)
    assert drain(record, "adt", told) == {"applied": len(told)}
    with record.database.read() as db:
        rows = db.exec(select(Appointment)).all()
        people = {row.id: row for row in db.exec(select(Patient))}
        fields = record.opener.open(db, record.audited, [appointment.sealed_of(row) for row in rows])
        owners = record.opener.open(db, record.audited, [patient.sealed_of(row) for row in people.values()])
    assert len(rows) == len(truth) == 200
    assert len(people) == 5
    families = {row_id: owner["family"] for row_id, owner in zip(people, owners, strict=True)}
    got = {
        ids["value"]: (row.status.value, row.starts_at, row.minutes, families[row.patient_id])
        for row, opened in zip(rows, fields, strict=True)
        for ids in opened["ids"]
    }
    for true in truth:
        visit, owner = true["appointment"], true["patient"]
        status, starts_at, minutes, family = got[visit["appointmentId"]]
        assert status == true["expected_status"]
        assert (minutes, family) == (visit["durationMinutes"], owner["familyName"])
        # The feed's times have no zone: what it calls 10:15 is 10:15 where the practice is.
        assert starts_at is not None
        assert starts_at.astimezone(ZONE).isoformat()[:16] == visit["startDateTime"][:16]


def test_one_look_at_the_feed_opens_no_row_at_all(record: Record) -> None:
    feed = corpus_path() / "hl7v2_feed"
    told = [said for raw in frames(feed / "siu_feed.mllp") for said in read(raw)]
    drain(record, "adt", told)
    with record.database.read() as db:
        assert change.affected(db, told, connection="adt", index=record.index) == []


def test_every_public_message_is_stored_or_refused_with_a_code(record: Record) -> None:
    told: list[Change] = []
    messages = 0
    for path in sorted((corpus_path() / "hl7v2").rglob("*")):
        if path.is_file():
            messages += 1
            try:
                told += read(path.read_bytes())
            except ConnectorError:
                continue
    codes = drain(record, "public", told)
    assert messages >= 1000
    assert codes.keys() <= {"applied", "unmatched", "incomplete", "identity-conflict"}
    assert codes["applied"] > 400


def test_what_the_feed_calls_an_appointment_is_found_by_either_of_its_numbers(record: Record) -> None:
    feed = corpus_path() / "hl7v2_feed"
    (said,) = read(frames(feed / "siu_feed.mllp")[0])
    assert isinstance(said, AppointmentFacts)
    drain(record, "adt", [said])
    with record.database.read() as db:
        (row,) = db.exec(select(Appointment).order_by(col(Appointment.id))).all()
        for one in said.ids:
            assert isinstance(one, Identifier)
            found = appointment.find(db, appointment.statement_of(said, "adt", record.index).keys)
            assert found is not None
            assert found.id == row.id
