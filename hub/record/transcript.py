"""What was said on a call or in a message, written down by an engine: words with times and how sure it is of each."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import Field, Session, SQLModel

from hub.record import column
from hub.record.trail import touch
from hub.security.sealed import Sealed, Sealer, Table
from hub.speech import Word


class Transcript(SQLModel, table=True):
    """The transcript of one recording or voicemail, or why there is none."""

    id: UUID = Field(primary_key=True)
    "Of the recording or voicemail."

    call_id: UUID = Field(foreign_key="call.id", index=True)
    subject: UUID
    "Whom it is sealed for: the same as the sound."

    engine: str
    language: str
    reason: str = ""
    "Why there is none, as a code; empty where there is one."

    words: int = 0
    made_at: datetime = column.instant()
    sealed: bytes | None = column.maybe_sealed()


def keep(db: Session, row: Transcript, words: Sequence[Word], *, seal: Sealer) -> Transcript:
    """Keep what was said; a later try replaces an earlier one."""
    said = [[word.text, word.start, word.end, word.confidence, word.speaker] for word in words]
    row.sealed = seal.seal(db, row.subject, Table.TRANSCRIPT, row.id, {"words": said})
    row.words, row.reason = len(said), ""
    touch(db, "system:workflows", "write", row.subject, Table.TRANSCRIPT, row.id)
    row = db.merge(row)
    db.flush()
    return row


def refuse(db: Session, row: Transcript, reason: str) -> Transcript:
    """Note why there is none; one that is there stays."""
    kept = db.get(Transcript, row.id)
    if kept is not None and kept.sealed is not None:
        return kept
    row.reason = reason
    row = db.merge(row)
    db.flush()
    return row


def of_sound(db: Session, sound_id: UUID) -> Transcript | None:
    """Return the transcript of a recording or voicemail, or what is known of its absence."""
    return db.get(Transcript, sound_id)


def sealed_of(row: Transcript) -> Sealed | None:
    """Return what `Opener` needs to open the words, None where there are none."""
    return None if row.sealed is None else Sealed(Table.TRANSCRIPT, row.id, row.sealed)


def words_of(opened: dict[str, list[tuple[str, float, float, float, str]]]) -> list[Word]:
    """Return the words that were opened."""
    return [Word(*word) for word in opened["words"]]
