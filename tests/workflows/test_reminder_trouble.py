"""The activities behind AppointmentFlow where something fails: no text is lost silently, and none is sent twice."""

from collections.abc import Sequence

import pytest
from sqlmodel import Session

from connectors.api import RejectedError, TransientError
from connectors.sandbox.carrier import Carrier, Fault
from hub.record import appointment, reminder
from hub.record.appointment import Appointment
from hub.record.message import Message, MessageStatus
from hub.record.reminder import Reminder, ReminderState
from hub.vault.client import Vault, VaultUnavailableError
from tests.workflows.clinic import Clinic
from tests.workflows.reminding import FIRST, SECOND, due, states, tasks, texts
from workflows.activities.appointment import Appointments
from workflows.activities.visit import StepDue


async def test_a_carrier_that_did_not_take_it_leaves_the_step_planned(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    carrier.faults.extend(["error", "busy"])
    with pytest.raises(TransientError):
        await due(desk, clinic, visit, FIRST)
    assert states(clinic) == [(FIRST, "planned", "")]
    with pytest.raises(Exception, match="pause") as caught:
        await desk.remind(StepDue(str(visit), FIRST))
    assert caught.value.retry  # type: ignore[attr-defined]
    assert await desk.remind(StepDue(str(visit), FIRST)) == "sent"
    assert len(texts(carrier)) == 1
    assert [row.status for row in clinic.rows(Message)] == ["failed", "failed", "accepted"]


@pytest.mark.parametrize("fault", ["drop"])
async def test_an_unknown_outcome_goes_to_staff_and_is_not_sent_again(
    desk: Appointments, clinic: Clinic, carrier: Carrier, fault: Fault
) -> None:
    visit = clinic.book()
    carrier.faults.append(fault)
    assert await due(desk, clinic, visit, FIRST) == "unknown"
    assert await desk.remind(StepDue(str(visit), FIRST)) == "unknown"
    assert desk.next_step(str(visit)).name == SECOND
    assert len(texts(carrier)) == 1
    assert (states(clinic)[0], tasks(clinic)) == (
        (FIRST, "unknown", "unknown-outcome"),
        [("outcome", "unknown-outcome")],
    )
    assert clinic.rows(Message)[0].status is MessageStatus.UNKNOWN


async def test_a_crash_between_recording_and_sending_goes_to_staff(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    clinic.later(seconds=desk.next_step(str(visit)).wait_s)
    (planned,) = clinic.rows(Reminder)
    with clinic.instance.db.write() as db:  # as far as the one that died had come
        reminder.attempt(db, planned.id, None, clinic.now)
    assert await desk.remind(StepDue(str(visit), FIRST)) == "unknown"
    assert (states(clinic), tasks(clinic)) == ([(FIRST, "unknown", "crashed")], [("outcome", "crashed")])
    assert texts(carrier) == []


async def test_a_text_that_the_carrier_refuses_is_given_up(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    clinic.amend('[[number]]\ndid = "+12125550100"\nqueue = "appointments"\n', "")  # then nobody is the sender
    assert await due(desk, clinic, visit, FIRST) == "failed"
    assert states(clinic) == [(FIRST, "failed", RejectedError.code)]
    assert tasks(clinic) == [("outcome", RejectedError.code)]
    assert texts(carrier) == []


async def test_without_an_agreement_no_text_leaves(desk: Appointments, clinic: Clinic) -> None:
    visit = clinic.book()
    clinic.amend(f"http://127.0.0.1:{clinic.ports['carrier']}", "https://sms.example.org")
    assert await due(desk, clinic, visit, FIRST) == "skipped"
    assert states(clinic) == [(FIRST, "skipped", "no-agreement")]
    assert tasks(clinic) == [("outcome", "no-agreement")]
    assert clinic.rows(Message) == []


async def test_without_the_vault_nothing_is_planned_and_nothing_sent(
    desk: Appointments, clinic: Clinic, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = clinic.book()
    clinic.later(seconds=desk.next_step(str(visit)).wait_s)
    away = Vault(clinic.instance.paths.run / "nobody.sock")
    monkeypatch.setattr(clinic.instance.opener, "_vault", away)
    with pytest.raises(VaultUnavailableError):
        desk.next_step(str(visit))
    with pytest.raises(VaultUnavailableError):
        await desk.remind(StepDue(str(visit), FIRST))
    assert states(clinic) == [(FIRST, "planned", "")]
    assert texts(carrier) == []


def test_the_row_never_leaves_a_final_state(clinic: Clinic) -> None:
    visit = clinic.book()

    def settled(db: Session) -> Sequence[Reminder]:
        row = reminder.plan(db, visit, clinic.now, FIRST, clinic.now)
        assert reminder.attempt(db, row.id, None, clinic.now)
        reminder.released(db, row.id)
        assert reminder.attempt(db, row.id, None, clinic.now)
        reminder.sent(db, row.id, clinic.now)
        reminder.released(db, row.id)
        return reminder.of_appointment(db, visit)

    with clinic.instance.db.write() as db:
        (row,) = settled(db)
    assert row.state is ReminderState.SENT
    assert appointment.sealed_of(clinic.rows(Appointment)[0]).blob
