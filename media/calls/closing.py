"""What the record says of a call from outside once it is over: one change, whichever way the call went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from hub.record import agent, call, pop, queue
from hub.settings import Practice
from media.calls.taping import Tape, end_message
from media.stats import LegStats


@dataclass(frozen=True, slots=True)
class Closing:
    """How a call ended."""

    call_id: UUID
    at: datetime
    cause: str
    path: str | None
    "How it went, where that is not told by how far it came."

    agent_id: UUID | None
    "Who of the practice had the caller at the end."

    wrap_up_seconds: int
    stats: Sequence[tuple[str, LegStats]]
    "By role: caller, agent."

    message: Tape | None
    seconds: float
    "Of the message."

    def write(self, db: Session, practice: Practice) -> list[tuple[str, dict[str, str]]]:
        """Write it, let whoever is free have the next caller, and return the events to tell."""
        row = self._ended(db)
        for role, figures in self.stats:
            note_leg(db, self.call_id, role, figures)
        pop.close(db, self.call_id, self.at + timedelta(seconds=self.wrap_up_seconds))
        queue.pair(db, practice, self.at)
        said = [("call.ended", {"status": row.path or ""})]
        if row.path in {call.ABANDONED, call.MISSED}:
            said.append((f"call.{row.path}", {"match": row.match}))
        if row.path == call.VOICEMAIL and self.message is not None:
            said.append(("voicemail.received", {"voicemail": str(self.message.id)}))
        return said

    def _ended(self, db: Session) -> call.Call:
        tape, path = self.message, self.path
        if path is None and queue.waits(db, self.call_id):
            path = call.ABANDONED  # also after a talk, by whom a colleague sent on
        if tape is not None and not end_message(db, tape.id, self.call_id, tape.box or "", self.seconds, self.at):
            path = None
        queue.leave(db, self.call_id, path or self.cause, self.at, wrap_up_seconds=self.wrap_up_seconds)
        if self.agent_id is not None:
            # Who got the call from a colleague stands in no offer.
            agent.freed(db, self.agent_id, self.call_id, self.at, wrap_up_seconds=self.wrap_up_seconds)
        return call.ended(db, self.call_id, self.cause, self.at, path=path)


def note_leg(db: Session, call_id: UUID, role: str, figures: LegStats) -> None:
    """Note what a leg of a call sounded like."""
    call.leg(
        db,
        call_id,
        role,
        protection=figures.protection,
        loss=figures.loss,
        jitter_ms=figures.jitter_ms,
        codec=figures.encoding.partition("/")[0],
        rtt_ms=figures.rtt_ms,
        mos=figures.mos,
    )
