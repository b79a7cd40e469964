"""One try to tell one webhook of one event (the record lane)."""

from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session, col, select
from temporalio import activity

from hub import webhook
from hub.instance import Instance
from hub.outside import Outside
from hub.record import event, policy
from hub.record.event import Delivery, DeliveryState, Event, Lane
from hub.security.egress import DestinationDeniedError, EgressDeniedError
from hub.temporal import DeliveryStart
from hub.webhook import Letter, Outcome, Taken, WebhookSecretError

DELIVERED = "delivered"
GONE = "gone"
VOID = "void"
LATER = "later"


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a try."""

    state: str
    "delivered, gone, void or later."

    retry_after_s: float = 0.0
    "What the receiver asks for."


class Deliveries:
    """The activities of DeliveryFlow."""

    def __init__(self, instance: Instance, outside: Outside) -> None:
        self._instance = instance
        self._outside = outside

    @activity.defn(name="delivery.attempt")
    async def attempt(self, start: DeliveryStart) -> Tried:
        """Try once. A receiver that answered 410 is not told of anything again (Standard Webhooks)."""
        delivery_id = UUID(start.delivery_id)
        found = await self._instance.db.run(lambda db: self._letter(db, delivery_id), write=True)
        if isinstance(found, str):
            return Tried(found)
        try:
            async with await self._outside.webhook(found.url) as http:
                outcome = await webhook.post(http, found, self._instance.clock())
        except (EgressDeniedError, DestinationDeniedError) as error:
            code = error.code
            await self._instance.db.run(lambda db: self._fail(db, delivery_id, code), write=True)
            return Tried(VOID)
        return await self._instance.db.run(lambda db: self._note(db, delivery_id, outcome), write=True)

    @activity.defn(name="delivery.give_up")
    def give_up(self, start: DeliveryStart) -> None:
        """The schedule is over and nobody took it."""
        with self._instance.db.write() as db:
            row = db.get_one(Delivery, UUID(start.delivery_id))
            self._fail(db, row.id, row.code or "gave-up")

    def _letter(self, db: Session, delivery_id: UUID) -> Letter | str:
        """Return what to post, or why there is nothing to post."""
        row = db.get(Delivery, delivery_id)
        if row is None:
            return VOID
        if row.state is not DeliveryState.PENDING:
            return DELIVERED if row.state is DeliveryState.DONE else VOID
        if self._told_live(db, row):
            event.settle(db, row.id, DeliveryState.DONE, self._instance.clock(), code="live")
            return DELIVERED
        if self._disabled(db, row.webhook):
            self._fail(db, row.id, GONE)
            return GONE
        _, practice = self._instance.policy()
        try:
            letter = webhook.letter_of(db.get_one(Event, row.event_id), row.webhook, practice, self._instance)
        except WebhookSecretError as error:
            event.tried(db, row.id, error.code)
            return LATER
        if letter is None:
            self._fail(db, row.id, "removed")
            return VOID
        return letter

    def _told_live(self, db: Session, row: Delivery) -> bool:
        """Return whether the receiver took the same event in the live lane."""
        query = select(Delivery.id).where(
            Delivery.event_id == row.event_id,
            Delivery.webhook == row.webhook,
            Delivery.lane == Lane.LIVE,
            Delivery.state == DeliveryState.DONE,
        )
        return db.exec(query).first() is not None

    def _disabled(self, db: Session, hook: str) -> bool:
        """Return whether the receiver said 410 since this policy was published; publishing anew asks it again."""
        since = policy.history(db, limit=1)[0].published_at
        query = select(Delivery.id).where(
            Delivery.webhook == hook, Delivery.code == "410", col(Delivery.settled_at) >= since
        )
        return db.exec(query.limit(1)).first() is not None

    def _note(self, db: Session, delivery_id: UUID, outcome: Outcome) -> Tried:
        code = "" if outcome.status is None else str(outcome.status)
        now = self._instance.clock()
        if outcome.taken is Taken.DELIVERED:
            event.settle(db, delivery_id, DeliveryState.DONE, now, code=code)
            return Tried(DELIVERED)
        if outcome.taken is Taken.GONE:
            event.settle(db, delivery_id, DeliveryState.FAILED, now, code=code)
            return Tried(GONE)
        event.tried(db, delivery_id, code or "no-answer")
        return Tried(LATER, retry_after_s=outcome.retry_after or 0.0)

    def _fail(self, db: Session, delivery_id: UUID, code: str) -> None:
        event.settle(db, delivery_id, DeliveryState.FAILED, self._instance.clock(), code=code)
