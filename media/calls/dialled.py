"""What is written of a number outside that a phone of the practice dials, and who hears of a call for help."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog
from sqlmodel import Session

from hub.record import outbound, task
from hub.rules import dialling
from hub.rules.matching import Match
from media.line import Line

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Dialled:
    """One number that is dialled now."""

    id: UUID
    "The call's."

    extension: str
    number: str = field(repr=False)
    price: Decimal
    "Of a minute."

    match: Match
    at: datetime
    helped: bool = False
    "Whether it is a call for help."

    def note(self, line: Line, db: Session) -> None:
        """Write the call; a change for `media.ledger`."""
        subject = outbound.dial(
            db,
            self.id,
            shown=dialling.shown_number(line.practice),
            host=line.host,
            number=self.number,
            match=self.match,
            price=self.price,
            agent_id=line.directory.owners.get(self.extension),
            seal=line.instance.sealer,
            index=line.instance.index,
            now=self.at,
        )
        if self.helped:
            log.warning("emergency call", call=str(self.id), extension=self.extension)
            self._call_desk(db, line, subject)

    def _call_desk(self, db: Session, line: Line, subject: UUID) -> None:
        """Tell the front desk that somebody calls for help from inside (47 CFR 9.16(b)(2))."""
        place = dialling.location_of(line.practice, self.extension)
        row = task.ask(
            db, "emergency", key=f"emergency:{self.id}", reason="emergency-call", now=self.at, call_id=self.id
        )
        where = [place.name, place.building, place.floor, place.room, place.detail] if place is not None else []
        text = ", ".join([f"{self.number} dialled at extension {self.extension}", *(word for word in where if word)])
        task.note(db, row.id, text, subject=subject, by="system:media", seal=line.instance.sealer)
