"""Texts: recorded before they are sent, never sent twice, never downgraded; replies find their thread."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session

from connectors.api import ReceiptFacts, ReplyFacts, Sms
from hub.record import consent, message
from hub.record.error import IncompleteError, UnmatchedError
from hub.record.message import Message, MessageStatus
from hub.security.sealed import line_subject
from tests.hub.record.conftest import Record
from tests.hub.record.say import ANA, HOME, MOBILE, START, person, tell_patient, tell_visit, visit

LINE = "+12125550100"


def reply(record: Record, sender: str = MOBILE, external_id: str = "in-1", body: str = "C") -> ReplyFacts:
    return ReplyFacts(external_id=external_id, at=record.now, sender=sender, to=LINE, body=body)


def receive(db: Session, record: Record, said: ReplyFacts) -> tuple[Message, bool]:
    return message.receive(db, said, connection="sms", seal=record.seal, index=record.index, now=record.now)


def send(db: Session, record: Record, patient_id: UUID, to: str = MOBILE, visit_id: UUID | None = None) -> Message:
    return message.attempt(
        db,
        uuid4(),
        Sms(to=to, sender=LINE, body="Your visit is tomorrow."),
        connection="sms",
        program="reminder",
        patient_id=patient_id,
        appointment_id=visit_id,
        seal=record.seal,
        index=record.index,
        now=record.now,
    )


def test_an_attempt_is_recorded_once(record: Record, db: Session) -> None:
    owner = tell_patient(db, record, person(**ANA))
    row = send(db, record, owner.id)
    assert (row.status, row.direction, row.external_id) == (MessageStatus.SENDING, "out", None)
    again = message.attempt(
        db,
        row.id,
        Sms(to=HOME, sender=LINE, body="other"),
        connection="sms",
        program="reminder",
        patient_id=owner.id,
        appointment_id=None,
        seal=record.seal,
        index=record.index,
        now=record.now,
    )
    assert again is row
    assert record.open(db, message.sealed_of(row)) == {
        "number": MOBILE,
        "line": LINE,
        "body": "Your visit is tomorrow.",
    }


def test_a_receipt_finds_its_text_by_the_carriers_id(record: Record, db: Session) -> None:
    row = send(db, record, tell_patient(db, record, person(**ANA)).id)
    said = ReceiptFacts(external_id="SM1", at=record.now, status="delivered")
    with pytest.raises(UnmatchedError):
        message.receipt(db, said, connection="sms")
    message.progress(db, row.id, MessageStatus.ACCEPTED, record.now, external_id="SM1")
    with pytest.raises(UnmatchedError):
        message.receipt(db, said, connection="other-carrier")
    assert message.receipt(db, said, connection="sms").status is MessageStatus.DELIVERED


@given(st.permutations(["accepted", "sent", "delivered", "sent", "accepted"]))
def test_the_order_of_statuses_does_not_matter(said: list[str]) -> None:
    reached = MessageStatus.SENDING
    for status in said:
        reached = message.further(reached, MessageStatus(status))
    assert reached is MessageStatus.DELIVERED


def test_a_reply_belongs_to_the_visit_we_asked_about(record: Record, db: Session) -> None:
    booked = tell_visit(db, record, visit(patient=person(**ANA))).row
    send(db, record, booked.patient_id, visit_id=booked.id)
    record.later(minutes=5)
    row, new = receive(db, record, reply(record))
    assert (new, row.patient_id, row.appointment_id) == (True, booked.patient_id, booked.id)
    assert record.open(db, message.sealed_of(row))["body"] == "C"
    again, new = receive(db, record, reply(record, body="other"))
    assert (new, again.id) == (False, row.id)


def test_a_text_out_of_the_blue_belongs_to_the_one_who_gave_the_number(record: Record, db: Session) -> None:
    ana = tell_patient(db, record, person(**ANA))
    row, _ = receive(db, record, reply(record))
    assert (row.patient_id, row.subject, row.appointment_id) == (ana.id, ana.id, None)


def test_a_text_of_nobody_known_is_sealed_for_the_line_and_day(record: Record, db: Session) -> None:
    tell_patient(db, record, person(number="1", **ANA))
    tell_patient(db, record, person(number="2", **ANA))
    for external_id, sender in (("in-1", "+12125550199"), ("in-2", MOBILE)):
        row, _ = receive(db, record, reply(record, sender=sender, external_id=external_id))
        assert (row.patient_id, row.subject) == (None, line_subject("sms", record.now.date()))
        assert record.open(db, message.sealed_of(row))["number"] == sender


def test_a_text_from_no_number_is_refused(record: Record, db: Session) -> None:
    with pytest.raises(IncompleteError):
        receive(db, record, reply(record, sender="72345"))


def test_the_caps_count_what_may_have_been_sent(record: Record, db: Session) -> None:
    owner, key = tell_patient(db, record, person(**ANA)).id, record.index.phone(MOBILE)
    rows = [send(db, record, owner) for _ in range(3)]
    send(db, record, owner, to=HOME)
    message.progress(db, rows[0].id, MessageStatus.FAILED, record.now)
    message.progress(db, rows[1].id, MessageStatus.UNKNOWN, record.now)
    assert message.sent_since(db, key, START) == [START, START]
    assert message.sent_since(db, key, START + timedelta(seconds=1)) == []


def test_texts_come_by_the_page(record: Record, db: Session) -> None:
    owner = tell_patient(db, record, person(**ANA)).id
    rows = []
    for _ in range(2):
        rows.append(send(db, record, owner))
        record.later(minutes=1)
    rows.append(receive(db, record, reply(record))[0])
    page = message.recent(db, patient_id=owner, limit=2)
    assert [row.id for row in page] == [rows[2].id, rows[1].id]
    assert [row.id for row in message.recent(db, before=page[-1].id)] == [rows[0].id]


def test_what_a_reply_means_is_kept(record: Record, db: Session) -> None:
    row, _ = receive(db, record, reply(record))
    message.understood(db, row.id, "confirm")
    assert row.meaning == "confirm"


def test_an_opt_out_holds_for_the_number_until_a_later_choice(record: Record, db: Session) -> None:
    key, other = record.index.phone(MOBILE), record.index.phone(HOME)
    assert consent.stop(db, key, "reminder", START)
    assert not consent.stop(db, key, "reminder", START)
    assert consent.opted_out(db, key, "reminder")
    assert not consent.opted_out(db, key, "campaign:flu")
    assert not consent.opted_out(db, other, "reminder")
    assert not consent.start(db, key, "reminder", START - timedelta(seconds=1))
    assert not consent.start(db, key, "reminder", START)
    assert consent.opted_out(db, key, "reminder")
    assert consent.start(db, key, "reminder", START + timedelta(seconds=1))
    assert not consent.opted_out(db, key, "reminder")


def test_stop_all_covers_every_programme(record: Record, db: Session) -> None:
    key = record.index.phone(MOBILE)
    consent.stop(db, key, consent.ALL, START)
    assert consent.opted_out(db, key, "reminder")
    assert consent.opted_out(db, key, "campaign:flu")
