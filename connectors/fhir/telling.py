"""From the resources that a round reads to what it tells: only what is not what was told last."""

from collections.abc import AsyncIterator
from datetime import datetime

import orjson

from connectors.api import AppointmentFacts, AppointmentStatus, Change, Identifier, PatientFacts, UnreadFacts, Version
from connectors.fhir.client import Client, Page
from connectors.fhir.mapping import Reader, actors
from connectors.fhir.memory import Seen, Told, digest_of, remember
from connectors.fhir.reading import APPOINTMENT_ID, PATIENT_ID, Resource, instant, reference


class Teller:
    """What one round tells."""

    def __init__(self, client: Client, reader: Reader, before: dict[str, Told], *, patients_told: bool) -> None:
        self._client = client
        self._reader = reader
        self._now = reader.read_at
        self.before = before
        self.after: dict[str, Told] = {}
        self.patients_told = patients_told
        "Whether patients are told by themselves; where they are not, each is read for its appointment."

        self._patients: dict[str, Resource | None] = {}
        self._gone: set[str] = set()

    def again(self, kind: str, since: datetime) -> None:
        """Take what was told of a type before as told still: it was not read as a whole in this round.

        Appointments before `since` are forgotten: they are over.
        """
        after = self.after.setdefault(kind, {})
        for own, was in self.before.get(kind, {}).items():
            if own not in after and (was.starts_at is None or was.starts_at >= since):
                remember(after, own, was)

    async def tell(self, kind: str, page: Page) -> AsyncIterator[Change]:
        """Yield what the matches of a page say, where it is new."""
        before, after = self.before.get(kind, {}), self.after.setdefault(kind, {})
        for resource in page.matches:
            own = str(resource.get("id"))
            digest = digest_of(resource)
            told = after.get(own) or before.get(own)
            remember(after, own, Seen(digest, self.starts_at(resource)))
            if told is not None and told.digest == digest:
                continue
            if kind == "Appointment" and not self.patients_told:
                await self._meet(resource, page)
            facts = self._reader.changes(resource, lambda name: page.beside.get(name) or self._patients.get(name))
            for fact in facts:
                yield fact
            if not facts and self._reader.fault(resource) is not None:
                yield UnreadFacts(raw=orjson.dumps(resource))

    def starts_at(self, resource: Resource) -> datetime | None:
        """Return when an appointment begins, if it says so itself."""
        return instant(resource.get("start"), self._reader.zone)

    async def _meet(self, appointment: Resource, page: Page) -> None:
        """Read the appointment's patient, unless it came along."""
        for actor in actors(appointment):
            person = reference(actor, "Patient")
            name = f"Patient/{person}"
            if person and name not in page.beside and name not in self._patients:
                read = await self._client.read("Patient", person)
                self._patients[name] = read.resource if read else None

    async def gone(self, begins: datetime, ends: datetime) -> AsyncIterator[Change]:
        """Yield the appointments between two instants that were told before and are not there: moved, or deleted."""
        after = self.after.get("Appointment", {})
        for own, was in self.before.get("Appointment", {}).items():
            if own in after or own in self._gone or was.starts_at is None or not begins <= was.starts_at < ends:
                continue
            self._gone.add(own)
            read = await self._client.read("Appointment", own)
            if read is None:
                yield self.deleted_appointment(own)
            elif (fact := self._reader.appointment(read.resource)) is not None:
                yield fact

    def deleted(self, kind: str, logical_id: str) -> Change | None:
        """Return what is to be told of a resource that was deleted; None of a type of which nothing is."""
        self.after.get(kind, {}).pop(logical_id, None)
        if kind == "Appointment":
            return self.deleted_appointment(logical_id)
        if kind == "Patient":
            own = Identifier(system=PATIENT_ID, value=logical_id)
            return PatientFacts(ids=(own,), version=Version(at=self._now, tag=""), active=False)
        return None

    def deleted_appointment(self, logical_id: str) -> AppointmentFacts:
        """Return what is told of an appointment that is no longer there."""
        return AppointmentFacts(
            ids=(Identifier(system=APPOINTMENT_ID, value=logical_id),),
            version=Version(at=self._now, tag=""),
            status=AppointmentStatus.ENTERED_IN_ERROR,
            creates=False,
        )
