"""The plan of a call while it rings, and what it leaves behind once it is over."""

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast
from uuid import UUID

from sqlmodel import Session, col, select
from temporalio import activity
from temporalio.client import Client

from hub.errors import UnavailableError
from hub.instance import Instance
from hub.outside import Outside
from hub.record import appointment, call, patient, recording, voicemail, writeback
from hub.record.call import ABANDONED, DROPPED, HUNG_UP, MISSED, Call, CallState
from hub.record.event import Delivery, DeliveryState, Event, Lane
from hub.record.patient import Patient
from hub.record.recording import RecordingState
from hub.record.request import ChartRequest
from hub.record.voicemail import VoicemailState
from hub.record.writeback import LOG, WritebackState
from hub.rules.routing import AppointmentContext, CallContext, PatientContext, Plan, RequestContext, Router
from hub.security.sealed import Sealed
from hub.settings import Practice
from hub.temporal import CallStart, TemporalUnavailableError, TextStart, send_text
from hub.vault.client import Access
from workflows.activities import text
from workflows.activities.herald import Herald

VAULT_S = 0.15
"How long the plan waits for the vault: the caller waits for 250 ms in all."

APPOINTMENTS = "patient.appointments"
LANGUAGE = "patient.language"
REQUESTS = "patient.requests"
TYPE = "patient.appointments.type"
"Chart fields as routes name them (hub.rules.expression)."

UNSERVED = frozenset({ABANDONED, HUNG_UP, MISSED, DROPPED})
"Paths on which nobody spoke with the caller and nobody took a message."

FRESH = timedelta(hours=1)
"A word after a missed call that could not go out for so long surprises more than it helps; the call is on the list."

LONGEST_CALL = timedelta(hours=4)
"After this a call is taken to be over even if nobody said so."

LATE_ROW_TRIES = 12
"A call's row is written off the answer path and may come late; after so many looks there is none."

UNFINISHED = timedelta(minutes=10)
"A recording that still runs so long after the call was not closed by its media process, and will not be."


class NotYetError(UnavailableError):
    """The call's row does not say yet that it is over; its writer is behind."""

    code = "call-not-over"


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a call leaves to do."""

    writebacks: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    "Recordings and voicemails that are to be written down."


class Calls:
    """The activities of CallFlow."""

    def __init__(self, instance: Instance, outside: Outside, herald: Herald, client: Client) -> None:
        self._instance = instance
        self._outside = outside
        self._herald = herald
        self._client = client
        self._router: tuple[int, Router] | None = None

    @activity.defn(name="call.route")
    def route(self, start: CallStart) -> Plan:
        """Return where the call goes, from the least of the chart that the routes read (45 CFR 164.502(b)).

        Only a caller whose number is one patient's is looked up; the look is on record in the audit log. The plan is
        not stored here: whoever follows it notes it, and that may be the published one if this came too late.

        Raises:
            VaultUnavailableError: not in time; the caller gets the published plan.
        """
        now = self._instance.clock()
        version, practice = self._instance.policy()
        router = self._compiled(version, practice)
        reads = frozenset(field for route in router.routes for field in route.expression.reads)
        known = None
        if start.match == "one" and len(start.patients) == 1 and reads:
            known = self._known(start, reads, now)
        asked = CallContext(start.did, cast(Literal["none", "one", "many", "restricted"], start.match), now)
        return router.decide(version, asked, known)

    @activity.defn(name="call.wind_up")
    async def wind_up(self, call_id: str) -> Aftermath:
        """File what the call left behind, note it for webhooks and the chart, and return what is still to be done.

        A repeat finds the same rows.

        Raises:
            NotYetError: the call's row does not say yet that it is over.
        """
        attempt = activity.info().attempt
        deliveries, writebacks, missed = await self._instance.db.run(
            lambda db: self._filed(db, UUID(call_id), attempt), write=True
        )
        await self._herald.start(deliveries)
        carrier = self._outside.carrier()
        if missed and carrier is not None:
            with contextlib.suppress(TemporalUnavailableError):
                await send_text(self._client, TextStart(text.MISSED, call_id, carrier))
        sounds = await self._instance.db.run(lambda db: self._sounds(db, UUID(call_id)))
        return Aftermath(tuple(writebacks), tuple(sounds))

    def _compiled(self, version: int, practice: Practice) -> Router:
        if self._router is None or self._router[0] != version:
            self._router = (version, Router.of(practice))
        return self._router[1]

    def _known(self, start: CallStart, reads: frozenset[str], now: datetime) -> PatientContext | None:
        """Open what the routes read, and nothing else, in one audited request."""
        owner_id = UUID(start.patients[0])
        access = Access("system:workflows", "system", "treatment", session=f"call-{start.call_id}")
        with self._instance.db.read() as db:
            owner = db.get(Patient, owner_id)
            if owner is None or owner.restricted:
                return None
            visits = appointment.upcoming(db, owner_id, now) if _any(reads, APPOINTMENTS) else []
            rows: list[Sealed] = [patient.sealed_of(owner)]
            if TYPE in reads:
                rows += [appointment.sealed_of(visit) for visit in visits]
            opened = self._instance.opener.open(db, access, rows, timeout=VAULT_S)
            requests = self._requests(db, owner_id) if _any(reads, REQUESTS) else ()
        types = [str(fields.get("type") or "") for fields in opened[1:]] or [""] * len(visits)
        return PatientContext(
            language=str(opened[0].get("language") or "").partition("-")[0].casefold() if LANGUAGE in reads else "",
            appointments=tuple(
                AppointmentContext(
                    hours_until=(visit.starts_at - now).total_seconds() / 3600,
                    status=visit.status,
                    confirmed=visit.confirmed_at is not None,
                    type=kind,
                )
                for visit, kind in zip(visits, types, strict=True)
                if visit.starts_at is not None
            ),
            requests=requests,
        )

    def _requests(self, db: Session, owner_id: UUID) -> tuple[RequestContext, ...]:
        query = select(ChartRequest).where(ChartRequest.patient_id == owner_id)
        return tuple(RequestContext(kind=row.kind, status=row.status) for row in db.exec(query))

    def _filed(self, db: Session, call_id: UUID, attempt: int) -> tuple[list[Delivery], list[str], bool]:
        now = self._instance.clock()
        row = db.get(Call, call_id)
        if row is None and attempt > LATE_ROW_TRIES:
            return [], [], False
        if row is None or (row.state is not CallState.ENDED and now - row.started_at < LONGEST_CALL):
            raise NotYetError(f"call {call_id} is not over in its row")
        if row.state is not CallState.ENDED:
            row = call.ended(db, call_id, "system", now)
        for each in recording.of_call(db, call_id):
            if each.state is RecordingState.RUNNING and row.ended_at is not None and now - row.ended_at > UNFINISHED:
                recording.end(db, each.id, 0.0, now, state=RecordingState.LOST)
        call.wound_up(db, call_id, now)
        writebacks = self._contact(db, row, now)
        unsaid = select(Delivery).join(Event, col(Event.id) == col(Delivery.event_id))
        told = unsaid.where(
            col(Event.call_id) == call_id, Delivery.lane == Lane.RECORD, Delivery.state == DeliveryState.PENDING
        )
        fresh = row.ended_at is not None and now - row.ended_at < FRESH
        return list(db.exec(told)), writebacks, row.path in UNSERVED and fresh

    def _sounds(self, db: Session, call_id: UUID) -> list[str]:
        """Return what the policy has written down of a call."""
        speech = self._instance.policy()[1].speech
        if speech.engine is None:
            return []
        talks = recording.of_call(db, call_id) if "calls" in speech.transcribe else []
        messages = voicemail.of_call(db, call_id) if "voicemails" in speech.transcribe else []
        kept = [row.id for row in talks if row.state is not RecordingState.LOST]
        return [str(each) for each in kept + [row.id for row in messages if row.state is not VoicemailState.LOST]]

    def _contact(self, db: Session, row: Call, now: datetime) -> list[str]:
        """Note the call for the chart of whoever called, where an EHR takes such notes, and for every CRM."""
        charts = self._outside.notes("ehr")[:1] if row.patient_id is not None else []
        crms = self._outside.notes("crm") if row.caller_key is not None else []
        keys = dict.fromkeys(charts, f"call:{row.id}") | {name: f"call:{row.id}:{name}" for name in crms}
        queued = [
            writeback.enqueue(db, LOG, key=key, connection=name, object_id=row.id, now=now)
            for name, key in keys.items()
        ]
        return [str(one.id) for one in queued if one.state is WritebackState.PENDING]


def _any(reads: frozenset[str], what: str) -> bool:
    return any(field == what or field.startswith(f"{what}.") for field in reads)
