"""Finding what a crash left undone, and waking whoever should do it; nothing is done twice by it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from sqlmodel import Session, col, select
from temporalio import activity
from temporalio.client import Client

from hub.instance import Instance
from hub.outside import Outside
from hub.record import call, event, message, queue, reminder, task, voice, writeback
from hub.record.appointment import Appointment
from hub.record.call import Call, CallState
from hub.record.event import Delivery, DeliveryState, Event, Lane
from hub.record.message import MessageStatus
from hub.record.queue import Offer, OfferState
from hub.record.reminder import Reminder
from hub.record.writeback import LOG, STATUS, TEXT
from hub.temporal import (
    UpkeepStart,
    appointment_answered,
    appointment_changed,
    call_ended,
    deliver,
    start_writeback,
)
from workflows.activities.visit import upcoming_ids
from workflows.activities.voice import ANSWERS, settle_call

log = structlog.get_logger()

STUCK = timedelta(minutes=3)
"A text that has been under way so long lost its sender: an attempt is given 90 s."

SLACK = timedelta(seconds=20)
"What should have been begun is left to its own flow for so long."

LATELY = timedelta(days=1)

AT_ONCE = 100
"Of each kind in one sweep; what is left is found by the next."


@dataclass(frozen=True, slots=True)
class _Left:
    calls: list[UUID]
    deliveries: list[tuple[UUID, UUID]]
    "Event and delivery."

    writebacks: list[UUID]
    "Of confirmations and of notes of texts."


class Upkeep:
    """The activity of UpkeepFlow."""

    def __init__(self, instance: Instance, client: Client, outside: Outside) -> None:
        self._instance = instance
        self._client = client
        self._outside = outside

    @activity.defn(name="upkeep.sweep")
    async def sweep(self, before: UpkeepStart) -> UpkeepStart:
        """Look once over everything that could have been left.

        Raises:
            TemporalUnavailableError: not all was woken; the sweep is repeated.
        """
        version, _ = self._instance.policy()
        for visit, answer, starts_at in await self._instance.db.run(self._chosen):
            await appointment_answered(self._client, str(visit), answer, starts_at)
        lost = await self._instance.db.run(self._settle, write=True)
        if lost:
            log.warning("attempts without an end", texts=lost)
        texts = await self._instance.db.run(self._unnoted)
        if texts:
            await self._instance.db.run(self._note_texts, write=True)
        left = await self._instance.db.run(self._left)
        for writeback_id in left.writebacks:
            await start_writeback(self._client, str(writeback_id))
        for call_id in left.calls:
            await call_ended(self._client, str(call_id))
        for event_id, delivery_id in left.deliveries:
            await deliver(self._client, str(event_id), [str(delivery_id)])
        if before.policy != version:
            await self._tell_visits()
        return UpkeepStart(version)

    def _settle(self, db: Session) -> int:
        """Close what was begun and never ended: nobody knows whether those texts went out, so a person looks."""
        now = self._instance.clock()
        stuck = [row for row in reminder.stuck(db, now - STUCK) if not self._called(db, row, now)]
        for row in stuck:
            reminder.unknown(db, row.id, now, "crashed")
            if row.message_id is not None:
                message.progress(db, row.message_id, MessageStatus.UNKNOWN, now, code="crashed")
            visit = db.get_one(Appointment, row.appointment_id)
            task.ask(
                db,
                "outcome",
                key=f"outcome:{row.id}",
                now=now,
                reason="crashed",
                patient_id=visit.patient_id,
                appointment_id=visit.id,
            )
        self._silence(db)
        self._drop_live(db)
        return len(stuck)

    def _called(self, db: Session, row: Reminder, now: datetime) -> bool:
        """Return whether a reminder is one that is called; settle it where its flow does not."""
        asked = voice.latest(db, row.id)
        if asked is None:
            return False
        asked = voice.lapse(db, asked.id, now)
        if asked.over_at is not None and asked.over_at < now - SLACK:
            settle_call(db, asked, now)
        return True

    def _chosen(self, db: Session) -> list[tuple[UUID, str, datetime]]:
        """Return what was chosen by keys of calls that nobody has settled, by visit and start; told before they are."""
        now = self._instance.clock()
        calls = [voice.latest(db, row.id) for row in reminder.stuck(db, now - STUCK)]
        return [
            (row.appointment_id, ANSWERS[row.outcome], row.starts_at)
            for row in calls
            if row is not None and row.over_at is not None and row.over_at < now - SLACK and row.outcome in ANSWERS
        ]

    def _noting(self) -> list[str]:
        """Return the systems that texts are noted in: the chart, and every CRM."""
        return [*self._outside.notes("ehr")[:1], *self._outside.notes("crm")]

    def _unnoted(self, db: Session) -> list[tuple[str, UUID]]:
        now = self._instance.clock()
        return [
            (connection, row.id)
            for connection in self._noting()
            for row in writeback.unnoted(db, connection, now - LATELY, now - SLACK, limit=AT_ONCE)
        ]

    def _note_texts(self, db: Session) -> None:
        """Have texts of the last day noted where that was not done yet."""
        now = self._instance.clock()
        for connection, text in self._unnoted(db):
            key = f"text:{text}:{connection}"
            writeback.enqueue(db, TEXT, key=key, connection=connection, object_id=text, now=now)

    def _silence(self, db: Session) -> None:
        """End offers whose call is over: a media process that died withdrew nothing."""
        now = self._instance.clock()
        query = (
            select(Offer.call_id)
            .join(Call, col(Call.id) == col(Offer.call_id))
            .where(Offer.state == OfferState.RINGING, Call.state == CallState.ENDED)
        )
        for call_id in set(db.exec(query).all()):
            queue.leave(db, call_id, "ended", now)

    def _drop_live(self, db: Session) -> None:
        """Close live tellings of a process that died: their moment is over."""
        now = self._instance.clock()
        query = (
            select(Delivery.id)
            .join(Event, col(Event.id) == col(Delivery.event_id))
            .where(Delivery.state == DeliveryState.PENDING, Delivery.lane == Lane.LIVE, col(Event.at) < now - SLACK)
        )
        for delivery_id in db.exec(query.limit(AT_ONCE)).all():
            event.settle(db, delivery_id, DeliveryState.DROPPED, now, code="crashed")

    def _left(self, db: Session) -> _Left:
        """Return calls, write-backs and events that nobody seems to see to."""
        old = self._instance.clock() - SLACK
        pending = [
            row
            for row in writeback.pending(db, limit=AT_ONCE)
            if not row.tries and (row.created_at < old or row.kind == TEXT)
        ]
        calls = {row.object_id for row in pending if row.kind == LOG}
        calls |= set(call.left(db, old - LATELY, old, limit=AT_ONCE))
        query = (
            select(Delivery)
            .join(Event, col(Event.id) == col(Delivery.event_id))
            .where(
                Delivery.state == DeliveryState.PENDING,
                Delivery.lane == Lane.RECORD,
                Delivery.tries == 0,
                col(Event.at) < old,
            )
        )
        return _Left(
            calls=sorted(calls),
            writebacks=sorted(row.id for row in pending if row.kind in {STATUS, TEXT}),
            deliveries=[(row.event_id, row.id) for row in db.exec(query.limit(AT_ONCE))],
        )

    async def _tell_visits(self) -> None:
        """Let every visit ahead be looked at under the new policy."""
        after: UUID | None = None
        now = self._instance.clock()
        while page := await self._instance.db.run(partial(upcoming_ids, now=now, after=after)):
            for visit in page:
                await appointment_changed(self._client, str(visit))
            after = page[-1]
