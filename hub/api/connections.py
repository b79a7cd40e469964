"""The outside systems of the policy: what they delivered, and what is kept in quarantine."""

from fastapi import APIRouter
from sqlmodel import Session

from hub.api.caller import GUARDED, InstanceDep, needs
from hub.api.page import Answer, Page
from hub.record import inbox
from hub.record.inbox import State
from hub.security.access import Scope

router = APIRouter(prefix="/connections", tags=["connections"], responses=GUARDED)


class Connection(Answer):
    """One outside system."""

    name: str
    connector: str
    stored: int
    "Messages that wait to be read."

    applied: int
    quarantined: int
    quarantine: dict[str, int]
    "How many are in quarantine, by reason; `chartline feed replay` runs them again."


@router.get("", summary="List connections", dependencies=[needs(Scope.CONNECTIONS_READ)])
async def connections(instance: InstanceDep) -> Page[Connection]:
    """Return every connection of the policy with how its messages stand."""
    _, practice = instance.policy()

    def look(db: Session) -> list[Connection]:
        return [_shown(db, one.name, one.connector) for one in practice.connections]

    return Page(items=await instance.inbox.run(look))


def _shown(db: Session, name: str, connector: str) -> Connection:
    counts = inbox.counts(db, name)
    return Connection(
        name=name,
        connector=connector,
        stored=counts[State.STORED],
        applied=counts[State.APPLIED],
        quarantined=counts[State.QUARANTINED],
        quarantine=inbox.reasons(db, name),
    )
