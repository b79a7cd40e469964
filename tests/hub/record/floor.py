"""A practice with one queue, its agents, and calls to them."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from hub.db import uuid7
from hub.record import agent, call, staff
from hub.record.call import Call
from hub.record.staff import Staff
from hub.rules.matching import Match
from hub.settings.practice import Practice
from tests.hub.record.conftest import Record
from tests.hub.record.say import MOBILE

NOBODY = Match("none")


def practice(*agents: str, ring_seconds: int = 20, webhooks: list[dict[str, object]] | None = None) -> Practice:
    """Return a policy with agents of these extensions (101 and 102 by default), top of the list first."""
    return Practice.model_validate(
        {
            "practice": {"name": "Harbor", "timezone": "America/New_York"},
            "queue": [
                {"name": "appointments", "ring_seconds": ring_seconds},
                {"name": "refills", "strategy": "top-down"},
            ],
            "staff": [
                {
                    "email": address(extension),
                    "roles": ["front-desk"],
                    "queues": ["appointments", "refills"],
                    "extension": extension,
                }
                for extension in agents or ("101", "102")
            ],
            "webhook": webhooks or [],
        }
    )


def address(extension: str) -> str:
    return f"agent{extension}@example.org"


def add_agent(db: Session, record: Record, extension: str = "101") -> Staff:
    """Add someone who has a phone and is at work."""
    row = staff.find(db, address(extension))
    if row is None:
        row = staff.add(db, email=address(extension), roles=["front-desk"], now=record.now)
    agent.registered(db, row.id, record.now + timedelta(hours=1), record.now)
    return row


def add_call(
    db: Session,
    record: Record,
    *,
    call_id: UUID | None = None,
    number: str | None = MOBILE,
    match: Match = NOBODY,
    now: datetime | None = None,
) -> Call:
    call_id = call_id or uuid7()
    call.ring(
        db,
        call_id,
        did="+12125550100",
        trunk="carrier",
        host="media-a",
        number=number,
        name="RIVERA A",
        match=match,
        seal=record.seal,
        index=record.index,
        now=now or record.now,
    )
    return db.get_one(Call, call_id)
