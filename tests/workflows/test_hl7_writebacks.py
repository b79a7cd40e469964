"""A confirmation goes back over HL7 v2, from the outbox through the egress gate to a receiver on a socket."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from connectors.api import FindsPatients, Identifier, SetsStatus, TransientError
from connectors.hl7v2.build import control_id_of
from connectors.hl7v2.er7 import Message
from hub.outside import Outside
from hub.record import writeback
from hub.record.appointment import Appointment
from hub.record.writeback import Writeback, WritebackState
from tests.connectors.hl7v2.peer import Talk, receiving
from tests.workflows.clinic import Clinic
from tests.workflows.test_calls import tasks
from workflows.activities.writeback import Writebacks

NAMED = (
    Identifier(system="SCHED", value="P100", type="PLAC"),
    Identifier(system="SCHED", value="F200", type="FILL"),
)


def outside(clinic: Clinic) -> Outside:
    return Outside(clinic.instance, {}, actor="system:workflows")


def sends_to(clinic: Clinic, url: str) -> None:
    """Let the policy's HL7 v2 source be written back to."""
    clinic.amend('listen = "127.0.0.1:2575",', f'listen = "127.0.0.1:2575", send = "{url}", write = "siu",')


def confirmed(clinic: Clinic) -> Writeback:
    """Return the write of a visit that the source told and the patient confirmed."""
    clinic.store(clinic.visit(clinic.person(), ids=NAMED))
    (row,) = clinic.rows(Appointment)
    with clinic.instance.db.write() as db:
        fresh = db.get_one(Appointment, row.id)
        fresh.confirmed_at = clinic.now
        db.add(fresh)
        return writeback.enqueue(
            db, "status", key=f"confirmed:{row.id}", connection="adt", object_id=row.id, now=clinic.now, to="confirmed"
        )


def answering(code: str, seen: list[Message]) -> Callable[[Talk], Awaitable[None]]:
    async def treat(talk: Talk) -> None:
        while True:
            seen.append(await talk.next())
            await talk.answer(seen[-1], code)

    return treat


def test_only_a_source_with_an_address_can_be_written_to(clinic: Clinic) -> None:
    assert "adt" not in outside(clinic).able(SetsStatus)
    sends_to(clinic, "mllp://127.0.0.1:1")
    assert outside(clinic).able(SetsStatus)[0] == "adt"
    assert "adt" not in outside(clinic).able(FindsPatients)


async def test_a_confirmation_reaches_the_receiver_under_the_id_of_its_row(clinic: Clinic) -> None:
    seen: list[Message] = []
    async with receiving(answering("AA", seen)) as receiver:
        sends_to(clinic, f"mllp://127.0.0.1:{receiver.port}")
        write = confirmed(clinic)
        assert await Writebacks(clinic.instance, outside(clinic)).write(str(write.id)) == "done"
    (message,) = seen
    assert message.type == ("SIU", "S14")
    (row,) = clinic.rows(Writeback)
    assert (row.state, row.external_id) == (WritebackState.DONE, control_id_of(str(write.id)))


async def test_a_process_that_begins_again_sends_the_same_bytes(clinic: Clinic) -> None:
    first: list[Message] = []
    async with receiving(answering("AE", first)) as receiver:
        sends_to(clinic, f"mllp://127.0.0.1:{receiver.port}")
        write = confirmed(clinic)
        for tries in (1, 2):
            with pytest.raises(TransientError):
                await Writebacks(clinic.instance, outside(clinic)).write(str(write.id))
            assert clinic.rows(Writeback)[0].tries == tries
            clinic.later(minutes=5)
    assert len(first) == 2
    assert first[0].raw == first[1].raw
    assert UUID(str(write.id)).version == 7


async def test_what_the_receiver_refuses_is_a_task(clinic: Clinic) -> None:
    async with receiving(answering("AR", [])) as receiver:
        sends_to(clinic, f"mllp://127.0.0.1:{receiver.port}")
        write = confirmed(clinic)
        assert await Writebacks(clinic.instance, outside(clinic)).write(str(write.id)) == "failed"
    assert tasks(clinic) == [("write-back", "rejected")]


async def test_a_receiver_beyond_this_machine_needs_an_agreement(clinic: Clinic) -> None:
    sends_to(clinic, "mllps://engine.example.org:2576")
    write = confirmed(clinic)
    assert await Writebacks(clinic.instance, outside(clinic)).write(str(write.id)) == "failed"
    assert tasks(clinic) == [("write-back", "no-agreement")]
