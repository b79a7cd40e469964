"""Who is told of events, what became of each telling, and telling again."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from sqlmodel import Session

from hub.api.caller import GUARDED, InstanceDep, SessionDep, needs
from hub.api.flows import Flows
from hub.api.once import Answered, OnceDep
from hub.api.page import LIMIT, Answer, CursorParam, LimitParam, Page, one_of, page
from hub.api.problem import declared
from hub.errors import NotFoundError
from hub.record import event
from hub.record.event import Delivery, DeliveryState, DeliveryStateError, Event, Lane, webhook_of
from hub.record.idempotency import KeyReusedError
from hub.security import intent
from hub.security.access import Actor, Scope

router = APIRouter(prefix="/webhooks", tags=["webhooks"], responses=GUARDED)

Writer = Annotated[Actor, needs(Scope.WEBHOOKS_WRITE)]


class Webhook(Answer):
    """One receiver of events."""

    id: str
    "SHA-256 of the address: what deliveries name it by."

    url: str
    events: list[str]
    pending: int
    failed: int


class Telling(Answer):
    """One event for one webhook in one lane."""

    id: UUID
    event: UUID
    type: str
    webhook: str
    lane: Lane
    state: DeliveryState
    tries: int
    code: str
    "Why the last try failed: an HTTP status or an error's code."

    at: datetime
    "When it happened."

    settled_at: datetime | None


@router.get("", summary="List webhooks", dependencies=[needs(Scope.WEBHOOKS_READ)])
async def webhooks(instance: InstanceDep) -> Page[Webhook]:
    """Return every webhook of the policy with how its deliveries stand."""
    _, practice = instance.policy()
    counts = await instance.db.run(event.standing)
    items = [
        Webhook(
            id=webhook_of(hook.url),
            url=hook.url,
            events=list(hook.events),
            pending=counts.get((webhook_of(hook.url), DeliveryState.PENDING), 0),
            failed=counts.get((webhook_of(hook.url), DeliveryState.FAILED), 0),
        )
        for hook in practice.webhooks
    ]
    return Page(items=items)


@router.get("/deliveries", summary="List deliveries", dependencies=[needs(Scope.WEBHOOKS_READ)])
async def deliveries(
    instance: InstanceDep,
    state: Annotated[DeliveryState | None, Query(description="Those in this state.")] = None,
    limit: LimitParam = LIMIT,
    cursor: CursorParam = None,
) -> Page[Telling]:
    """Return what was to be told to whom, newest first."""
    rows = await instance.db.run(lambda db: event.deliveries(db, state=state, before=cursor, limit=limit + 1))
    return page(rows, limit, lambda row: _shown(*row), lambda row: row[0].id)


@router.post(
    "/deliveries/{delivery_id}/again",
    summary="Deliver again",
    status_code=202,
    responses=declared(NotFoundError, DeliveryStateError, KeyReusedError),
)
async def again(delivery_id: UUID, actor: Writer, session: SessionDep, request: Request, once: OnceDep) -> Telling:
    """Try a delivery of the record lane that failed once more, from the first try on.

    A receiver that answered 410 is asked again only after a new policy was published.
    """
    flows: Flows = request.app.state.flows

    def write(db: Session) -> Answered:
        row = event.again(db, one_of(db, Delivery, delivery_id).id)
        intent.note(db, actor.access("operations", session=session), "webhook.again", (), {"delivery": str(row.id)})
        return _shown(row, db.get_one(Event, row.event_id)).model_dump(mode="json")

    answer = Telling.model_validate(await once.run(write))
    await flows.deliver(answer.event, answer.id)
    return answer


def _shown(row: Delivery, told: Event) -> Telling:
    return Telling(
        id=row.id,
        event=row.event_id,
        type=told.type,
        webhook=row.webhook,
        lane=row.lane,
        state=row.state,
        tries=row.tries,
        code=row.code,
        at=told.at,
        settled_at=row.settled_at,
    )
