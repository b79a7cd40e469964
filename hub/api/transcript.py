"""What was said on a call or in a message, as words; or plainly why there are none."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from hub.api.page import Answer
from hub.instance import Instance
from hub.record import transcript
from hub.vault.client import Access

OFF = "off"
"The policy names no engine, or not for this kind of sound."

PENDING = "pending"
"Nobody has written it down yet."

SILENCE = "silence"
"Nobody said a word that the engine understood."


class Word(Answer):
    """One word."""

    text: str
    start: float
    "Seconds from the beginning of the sound."

    end: float
    confidence: float
    "0 to 1, as the engine says; 0 where it does not know."

    doubtful: bool
    "Less sure than the policy asks for: listen before you rely on it."

    speaker: str
    "caller or agent."


class Transcript(Answer):
    """What an engine wrote down. It errs: the sound is what counts."""

    reason: str
    "Why there are no words: off, pending, engine-missing, model-missing, language, silence, too-long or failed."

    engine: str | None
    language: str | None
    made_at: datetime | None
    words: list[Word]


def shown(db: Session, instance: Instance, sound_id: UUID, access: Access) -> Transcript:
    """Return the transcript of a recording or voicemail; opening the words is on record first.

    Raises:
        VaultUnavailableError: the read cannot be audited, so there is none.
    """
    speech = instance.policy()[1].speech
    row = transcript.of_sound(db, sound_id)
    if row is None:
        return Transcript(
            reason=OFF if speech.engine is None else PENDING, engine=None, language=None, made_at=None, words=[]
        )
    sealed = transcript.sealed_of(row)
    (opened,) = instance.opener.open(db, access, [sealed]) if sealed is not None else [{"words": []}]
    return Transcript(
        reason=row.reason,
        engine=row.engine,
        language=row.language,
        made_at=row.made_at,
        words=[
            Word(
                text=word.text,
                start=word.start,
                end=word.end,
                confidence=word.confidence,
                doubtful=word.confidence < speech.doubtful,
                speaker=word.speaker,
            )
            for word in transcript.words_of(opened)
        ],
    )


def joined(parts: Sequence[tuple[float, Transcript]]) -> Transcript:
    """Return what was said in all recordings of a call, each with the seconds from the first to where it begins.

    `reason` tells of the first part that is not written down, and of silence only where nobody spoke in any.
    """
    words = [
        word.model_copy(update={"start": word.start + after, "end": word.end + after})
        for after, part in parts
        for word in part.words
    ]
    lacking = [part.reason for _, part in parts if part.reason and (part.reason != SILENCE or not words)]
    written = next((part for _, part in parts if part.engine is not None), parts[0][1])
    made = [part.made_at for _, part in parts if part.made_at is not None]
    return written.model_copy(
        update={"reason": lacking[0] if lacking else "", "made_at": max(made, default=None), "words": words}
    )
