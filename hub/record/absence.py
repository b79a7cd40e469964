"""What an owner no longer tells: after a feed began anew, visits that it knows no more are gone.

A connection that lost its place tells everything again. Whatever stood in the record before and was not told then was
deleted meanwhile, and nobody will ever say so; its reminders must not go out.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import AwareDatetime
from sqlmodel import Session, col, select

from connectors.api import FINAL, AppointmentStatus, Version
from connectors.facts import Fact
from hub.record.appointment import Appointment, AppointmentIdentifier
from hub.record.trail import touch
from hub.record.version import Told, rank_of
from hub.security.sealed import Table

PLAUSIBLE = 0.2
FEW = 10
"More than a fifth, and more than a few, of what is known do not vanish at once: then the answer was not whole."


class AbsenceFacts(Fact):
    """One visit that its owner no longer knows."""

    appointment: UUID
    at: AwareDatetime
    "When that was found."


@dataclass(frozen=True, slots=True)
class Missing:
    """What of the known visits was not told."""

    visits: tuple[UUID, ...]
    known: int

    @property
    def plausible(self) -> bool:
        """Whether so many may really be gone."""
        return len(self.visits) <= max(FEW, self.known * PLAUSIBLE)


def missing(db: Session, connection: str, told: AbstractSet[bytes], since: datetime, until: datetime) -> Missing:
    """Return the visits that `connection` told before, that begin from `since` to before `until`, and are not `told`.

    `told` holds the keys (hub.record.identity) of the identifiers of everything that was told. Visits that are over,
    and those of which another connection spoke last, do not count.
    """
    rows = db.exec(
        select(Appointment.id, AppointmentIdentifier.key)
        .join(AppointmentIdentifier, col(AppointmentIdentifier.appointment_id) == col(Appointment.id))
        .where(
            Appointment.connection == connection,
            Appointment.version_connection == connection,
            col(Appointment.starts_at) >= since,
            col(Appointment.starts_at) < until,
            col(Appointment.status).not_in(FINAL),
        )
    )
    keys: dict[UUID, set[bytes]] = {}
    for row_id, key in rows:
        keys.setdefault(row_id, set()).add(key)
    return Missing(tuple(sorted(row_id for row_id, own in keys.items() if own.isdisjoint(told))), len(keys))


def apply(db: Session, said: AbsenceFacts, *, connection: str, now: datetime) -> bool:
    """Take a visit for deleted, unless its owner spoke of it since; return whether that is new.

    It ranks just above the statement that it contradicts, so that anything newer from the owner brings the visit back.
    """
    row = db.get(Appointment, said.appointment)
    if row is None or row.status in FINAL or row.version_at > said.at or row.version_connection != connection:
        return False
    rank = rank_of(Version(at=row.version_at, tag=row.version_tag), b"", final=True)
    row.told = Told.load(row.told).told({"status"}, rank).dump()
    row.status, row.changed_at, row.since_at = AppointmentStatus.ENTERED_IN_ERROR, now, now
    touch(db, f"connection:{connection}", "absent", row.patient_id, Table.APPOINTMENT, row.id)
    db.add(row)
    db.flush()
    return True
