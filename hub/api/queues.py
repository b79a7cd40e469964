"""Who waits."""

from datetime import datetime

from fastapi import APIRouter

from hub.api.caller import GUARDED, InstanceDep, needs
from hub.api.page import Answer, Page
from hub.record import queue
from hub.security.access import Scope

router = APIRouter(responses=GUARDED)


class Queue(Answer):
    """One queue of the policy, now."""

    name: str
    waiting: int
    "Callers for whom no phone rings yet."

    since: datetime | None
    "When the first of them came."

    target_seconds: int


@router.get("/queues", summary="List queues", tags=["queues"], dependencies=[needs(Scope.QUEUES_READ)])
async def queues(instance: InstanceDep) -> Page[Queue]:
    """Return every queue of the policy with how many wait, and since when the first does."""
    _, practice = instance.policy()
    waiting = await instance.db.run(queue.waiting)
    items = []
    for one in practice.queues:
        entered = sorted(caller.entered_at for caller in waiting if caller.queue == one.name)
        since = entered[0] if entered else None
        items.append(Queue(name=one.name, waiting=len(entered), since=since, target_seconds=one.target_seconds))
    return Page(items=items)
