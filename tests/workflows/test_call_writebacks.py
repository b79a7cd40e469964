"""What is written back to the EHR after a call, against the sandbox's FHIR server."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from connectors.api import Identifier, TransientError
from connectors.sandbox.store import Store
from hub.outside import Outside
from hub.record import call, writeback
from hub.record.appointment import Appointment
from hub.record.patient import Patient
from hub.record.writeback import Writeback, WritebackState
from tests.workflows.clinic import Clinic
from tests.workflows.test_calls import patient_of, rung, tasks
from workflows.activities.writeback import Writebacks


@pytest.fixture
def writebacks(clinic: Clinic) -> Writebacks:
    return Writebacks(clinic.instance, Outside(clinic.instance, {}, actor="system:workflows"))


class TestWritingBack:
    async def test_a_call_stands_in_the_chart_once(self, writebacks: Writebacks, clinic: Clinic, ehr: Store) -> None:
        write = self.contact(clinic, ehr)
        assert [await writebacks.write(str(write.id)) for _ in range(2)] == ["done", "done"]
        (said,) = [resource for _, resource in ehr.all("Communication")]
        assert said["subject"]["reference"] == "Patient/p1"
        assert said["status"] == "completed"
        assert clinic.rows(Writeback)[0].external_id

    async def test_a_confirmation_stands_at_the_ehr(self, writebacks: Writebacks, clinic: Clinic, ehr: Store) -> None:
        write = self.confirmation(clinic, ehr)
        assert await writebacks.write(str(write.id)) == "done"
        kept: Any = ehr.get("Appointment", "a1")
        assert kept["participant"][0]["status"] == "accepted"

    async def test_a_visit_that_changed_meanwhile_is_a_task(
        self, writebacks: Writebacks, clinic: Clinic, ehr: Store
    ) -> None:
        write = self.confirmation(clinic, ehr)
        ehr.put({**self.appointment(clinic), "status": "cancelled"})
        assert await writebacks.write(str(write.id)) == "failed"
        assert tasks(clinic) == [("write-back", "conflict")]
        assert clinic.rows(Writeback)[0].state is WritebackState.FAILED

    async def test_a_confirmation_that_a_move_took_back_is_not_written(
        self, writebacks: Writebacks, clinic: Clinic, ehr: Store
    ) -> None:
        write = self.confirmation(clinic, ehr)
        with clinic.instance.db.write() as db:
            row = db.get_one(Appointment, write.object_id)
            row.confirmed_at = None
            db.add(row)
        assert await writebacks.write(str(write.id)) == "failed"
        assert (clinic.rows(Writeback)[0].code, tasks(clinic)) == ("superseded", [])

    async def test_a_patient_whom_the_ehr_does_not_know_is_a_task(
        self, writebacks: Writebacks, clinic: Clinic, ehr: Store
    ) -> None:
        assert list(ehr.all("Patient")) == []
        owner = patient_of(clinic, clinic.book())
        write = self.enqueue(clinic, "log", rung(clinic, (owner,), path=call.ANSWERED))
        assert await writebacks.write(str(write.id)) == "failed"
        assert tasks(clinic)[0][0] == "write-back"

    async def test_an_ehr_that_is_down_is_asked_again(self, writebacks: Writebacks, clinic: Clinic) -> None:
        owner = patient_of(clinic, clinic.book())
        write = self.enqueue(clinic, "log", rung(clinic, (owner,), path=call.ANSWERED))
        with pytest.raises(TransientError):
            await writebacks.write(str(write.id))
        (row,) = clinic.rows(Writeback)
        assert (row.state, row.tries, row.code) == (WritebackState.PENDING, 1, "transient")
        writebacks.give_up(str(write.id))
        assert (clinic.rows(Writeback)[0].state, tasks(clinic)) == (
            WritebackState.FAILED,
            [("write-back", "transient")],
        )

    async def test_without_an_agreement_nothing_is_written(self, writebacks: Writebacks, clinic: Clinic) -> None:
        owner = patient_of(clinic, clinic.book())
        write = self.enqueue(clinic, "log", rung(clinic, (owner,), path=call.ANSWERED))
        clinic.amend(f"http://127.0.0.1:{clinic.ports['ehr']}/fhir", "https://ehr.example.org/fhir")
        assert await writebacks.write(str(write.id)) == "failed"
        assert tasks(clinic) == [("write-back", "no-agreement")]

    def contact(self, clinic: Clinic, ehr: Store) -> Writeback:
        ehr.put({"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:harbor", "value": "P1"}]})
        person = clinic.person(ids=(Identifier(system="urn:harbor", value="P1"),))
        clinic.store(clinic.visit(person))
        return self.enqueue(clinic, "log", rung(clinic, (clinic.rows(Patient)[0].id,), path=call.ANSWERED))

    def confirmation(self, clinic: Clinic, ehr: Store) -> Writeback:
        kept = ehr.put(self.appointment(clinic))
        version = clinic.version().model_copy(update={"tag": str(kept["meta"]["versionId"])})
        named = (Identifier(system="urn:harbor:visits", value="V1"),)
        clinic.store(clinic.visit(clinic.person(), ids=named, version=version), connection="ehr")
        (row,) = clinic.rows(Appointment)
        with clinic.instance.db.write() as db:
            fresh = db.get_one(Appointment, row.id)
            fresh.confirmed_at = clinic.now
            db.add(fresh)
        return self.enqueue(clinic, "status", row.id, to="confirmed")

    def appointment(self, clinic: Clinic) -> dict[str, Any]:
        starts_at = clinic.now + timedelta(days=10)
        return {
            "resourceType": "Appointment",
            "id": "a1",
            "status": "booked",
            "identifier": [{"system": "urn:harbor:visits", "value": "V1"}],
            "start": starts_at.isoformat(),
            "participant": [{"actor": {"reference": "Patient/p1"}, "status": "needs-action"}],
        }

    def enqueue(self, clinic: Clinic, kind: str, object_id: UUID, *, to: str = "") -> Writeback:
        with clinic.instance.db.write() as db:
            return writeback.enqueue(
                db, kind, key=f"{kind}:{object_id}", connection="ehr", object_id=object_id, now=clinic.now, to=to
            )
