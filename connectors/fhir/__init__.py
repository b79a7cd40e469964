"""The FHIR R4 connector: who has this number, what the chart says, what changed; writes status and contacts back."""

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from connectors.api import (
    AppointmentStatus,
    Callback,
    Change,
    ChartFacts,
    Checkpoint,
    CommunicationFacts,
    Connector,
    Context,
    Identifier,
    PatientRef,
    Receipt,
    RejectedError,
    Scope,
    Section,
)
from connectors.fhir import launch, subscription
from connectors.fhir.auth import Authorization, authorization
from connectors.fhir.capability import Capabilities
from connectors.fhir.chart import sections_of
from connectors.fhir.client import Client
from connectors.fhir.discovery import discover
from connectors.fhir.feed import Round
from connectors.fhir.mapping import Reader, told_in
from connectors.fhir.memory import Memory
from connectors.fhir.phone import with_number
from connectors.fhir.reading import APPOINTMENT_ID, NEVER, PATIENT_ID, text
from connectors.fhir.settings import FhirSettings
from connectors.fhir.writing import communication_of, create_once, find, set_status


class Fhir(Connector[FhirSettings]):
    """One FHIR R4 server."""

    name: ClassVar = "fhir"
    scopes: ClassVar = frozenset(Scope)
    Settings: ClassVar = FhirSettings

    def __init__(self, settings: FhirSettings) -> None:
        super().__init__(settings)
        self._memory = Memory()
        self._capabilities: Capabilities | None = None
        self._auth: Authorization = authorization(settings, self.scopes)

    async def check(self, ctx: Context) -> None:
        """Ask what the server can do, then something that needs the credentials; nobody's record is read."""
        client = self._client(ctx)
        self._capabilities = await client.capabilities()
        kind, _, query = self.settings.vendor.probe.partition("?")
        if kind:
            await client.page(kind, tuple(parse_qsl(query)))
        else:  # no search that is cheap and reads nobody: getting a token is the proof
            await self._auth.headers(ctx)

    async def find_patients(self, ctx: Context, phone: str) -> Sequence[PatientRef]:
        """Return everyone who gave `phone` (E.164); what the server finds counts only if it carries the number."""
        client, reader = self._client(ctx), self._reader(ctx)
        hits = [
            PatientRef(id=own, facts=reader.patient(resource), url=self.settings.patient_page(own))
            for resource in await with_number(client, phone)
            if (own := text(resource.get("id")))
        ]
        return [hit for hit in hits if any(number.e164 == phone for number in hit.facts.phones)]

    def page(self, patient_ids: Sequence[Identifier]) -> str | None:
        """Return the patient's page, as `patient_url` of the settings or the profile says; None where neither does."""
        own = next((one.value for one in patient_ids if one.system == PATIENT_ID), None)
        return self.settings.patient_page(own) if own else None

    async def chart(self, ctx: Context, patient_ids: Sequence[Identifier], sections: frozenset[Section]) -> ChartFacts:
        """Return the asked-for sections, several at a time; nothing is asked for that was not.

        Raises:
            RejectedError: the server does not know the patient.
        """
        client, reader = self._client(ctx), self._reader(ctx)
        patient = await self._patient(client, patient_ids)
        said = await sections_of(client, reader, patient, sections)
        return ChartFacts(sections=said, read_at=ctx.clock())

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        """Yield what changed (`connectors.fhir.feed`).

        Raises:
            ResetError: the cursor is not ours.
        """
        client = self._client(ctx)
        try:
            declared = await self._declared(client)
        except RejectedError:
            declared = Capabilities()  # what it can do shows as it is asked
        async for one in Round(client, ctx, self.settings, self._zone(ctx), self._memory, declared).run(cursor):
            yield one

    def verify(self, callback: Callback) -> str:
        """Return the id of a notification of our Subscription (`connectors.fhir.subscription`).

        Raises:
            RejectedError: it does not bear our secret.
        """
        return subscription.verify(self.settings, callback)

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        """Return what a resource says that a round could not read; a notification says nothing, and only hints.

        Raises:
            RejectedError: it still cannot be read, or is neither.
        """
        resource = told_in(raw)
        if resource is None:
            subscription.status_in(raw)
            return []
        zone = ZoneInfo(self.settings.timezone) if self.settings.timezone else timezone
        reader = Reader(self.settings, zone, region, NEVER)
        if (fault := reader.fault(resource)) is not None:
            raise fault
        return reader.changes(resource)

    async def set_status(
        self,
        ctx: Context,
        appointment_ids: Sequence[Identifier],
        to: AppointmentStatus | str,
        *,
        if_version: str | None,
        key: str,
    ) -> Receipt:
        """Set the status, or `"confirmed"`: the patient's participation is accepted. A repeat writes nothing.

        The state itself says that it was done, and a repeat finds it; `key` stands on what is created for it.

        Raises:
            ConflictError: it changed since `if_version`, or is over.
            RejectedError: the server has no such appointment.
        """
        client = self._client(ctx)
        found = await find(client, "Appointment", APPOINTMENT_ID, appointment_ids)
        if found is None:
            raise RejectedError("appointment-unknown", field="Appointment.identifier")
        return await set_status(client, await self._declared(client), found, to, if_version, key)

    async def log(self, ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        """Write a Communication; a repeat of `key` has no second effect.

        Raises:
            RejectedError: the server does not know the patient.
        """
        client = self._client(ctx)
        patient = await self._patient(client, communication.patient_ids)
        resource = communication_of(communication, patient, key, body=self.settings.message_bodies)
        return await create_once(client, await self._declared(client), resource, key)

    def is_issuer(self, iss: str) -> bool:
        """Whether `iss`, as an EHR says it when it launches us, is this connection's server."""
        return launch.is_issuer(self.settings, iss)

    async def launch_url(self, ctx: Context, handle: str, *, state: str, redirect_uri: str) -> tuple[str, str]:
        """Return where the browser goes with the `launch` parameter `handle`, and the verifier (RFC 7636) for later.

        Raises:
            RejectedError: this connection has no app to be launched, or the server cannot launch it safely.
        """
        found, proof = await discover(ctx, self.settings), launch.verifier()
        how = {"state": state, "challenge": launch.challenge_of(proof), "redirect_uri": redirect_uri}
        return launch.address(self.settings, found, launch=handle, **how), proof

    async def launched(self, ctx: Context, code: str, *, verifier: str, redirect_uri: str) -> Identifier:
        """Return the patient whom `code` was given for.

        Raises:
            RejectedError: the code is refused, or it is for no patient.
        """
        own = await launch.exchange(ctx, self.settings, code=code, verifier=verifier, redirect_uri=redirect_uri)
        return Identifier(system=PATIENT_ID, value=own)

    def _client(self, ctx: Context) -> Client:
        return Client(ctx, self.settings, self._auth)

    def _zone(self, ctx: Context) -> ZoneInfo:
        return ZoneInfo(self.settings.timezone) if self.settings.timezone else ctx.timezone

    def _reader(self, ctx: Context) -> Reader:
        return Reader(self.settings, self._zone(ctx), ctx.region, ctx.clock())

    async def _declared(self, client: Client) -> Capabilities:
        if self._capabilities is None:
            self._capabilities = await client.capabilities()
        return self._capabilities

    async def _patient(self, client: Client, ids: Sequence[Identifier]) -> str:
        own = next((one.value for one in ids if one.system == PATIENT_ID), None)
        if own is not None:
            return own
        found = await find(client, "Patient", PATIENT_ID, ids)
        if found is None:
            raise RejectedError("patient-unknown", field="Patient.identifier")
        return str(found.resource.get("id"))


__all__ = ["Fhir", "FhirSettings"]
