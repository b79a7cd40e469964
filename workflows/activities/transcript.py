"""Has recordings and voicemails written down, once they are whole; the sound stays beside the words."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlmodel import Session
from temporalio import activity

from hub import speech, tape
from hub.errors import UnavailableError
from hub.instance import Instance
from hub.record import event, transcript
from hub.record.call import Call
from hub.record.event import Delivery
from hub.record.recording import Recording, RecordingState
from hub.record.transcript import Transcript
from hub.record.voicemail import Voicemail, VoicemailState
from hub.recordings import Kept, kept_of, message_of
from hub.settings import Practice
from hub.speech import Engine, TranscriptionError, Word
from hub.vault.client import Access
from workflows.activities.herald import Herald

LASTING = frozenset({"engine-missing", "model-missing", "language", "silence"})
"Reasons that another try does not change."

ACTOR = "system:workflows"


class SoundNotWholeError(UnavailableError):
    """The sound is still being sealed, or recovered after a crash."""

    code = "sound-not-whole"


@dataclass(frozen=True, slots=True)
class _Sound:
    """What is to be written down."""

    id: UUID
    call_id: UUID
    subject: UUID
    language: str
    kept: Kept
    voicemail: bool


class Transcripts:
    """The activity that writes down."""

    def __init__(self, instance: Instance, herald: Herald) -> None:
        self._instance = instance
        self._herald = herald

    @activity.defn(name="transcript.make")
    async def make(self, sound_id: str) -> None:
        """Write down a recording or a voicemail; that it is listened to is on record. A repeat makes it anew.

        Raises:
            SoundNotWholeError: not yet.
            TranscriptionError: the engine failed; another try may go better.
        """
        _, practice = self._instance.policy()
        name = practice.speech.engine
        if name is None:
            return
        sound = await self._instance.db.run(lambda db: self._found(db, UUID(sound_id), practice))
        if sound is None:
            return
        engine = Engine(name, _model(self._instance.paths.root, practice))
        now = self._instance.clock()
        try:
            words = await asyncio.to_thread(_heard, sound, engine)
        except TranscriptionError as error:
            reason = error.reason
            await self._instance.db.run(lambda db: transcript.refuse(db, _row(sound, engine, now), reason), write=True)
            if reason in LASTING:
                return
            raise
        deliveries = await self._instance.db.run(
            lambda db: self._keep(db, sound, _row(sound, engine, now), words, practice), write=True
        )
        await self._herald.start(deliveries)

    def _found(self, db: Session, sound_id: UUID, practice: Practice) -> _Sound | None:
        row: Recording | Voicemail | None = db.get(Recording, sound_id) or db.get(Voicemail, sound_id)
        if row is None or row.state in (RecordingState.LOST, VoicemailState.LOST):
            return None
        if row.state in (RecordingState.RUNNING, VoicemailState.RUNNING):
            raise SoundNotWholeError(f"sound {sound_id} is not whole yet")
        access = Access(ACTOR, "system", "operations", session=f"transcript-{sound_id}")
        is_message = isinstance(row, Voicemail)
        kept = (
            message_of(db, self._instance, row, access)
            if isinstance(row, Voicemail)
            else kept_of(db, self._instance, row, access)
        )
        call = db.get(Call, row.call_id)
        planned = (call.plan or {}).get("language") if call is not None else None
        language = str(planned or practice.practice.languages[0])
        return _Sound(row.id, row.call_id, row.subject, language, kept, is_message)

    def _keep(
        self, db: Session, sound: _Sound, row: Transcript, words: list[Word], practice: Practice
    ) -> list[Delivery]:
        transcript.keep(db, row, words, seal=self._instance.sealer)
        if not sound.voicemail:
            return []
        payload = {"call": str(sound.call_id), "voicemail": str(sound.id)}
        kind = "voicemail.transcribed"
        return event.emit(db, practice, kind, payload, now=row.made_at, call_id=sound.call_id)[1]


def _row(sound: _Sound, engine: Engine, now: datetime) -> Transcript:
    return Transcript(
        id=sound.id,
        call_id=sound.call_id,
        subject=sound.subject,
        engine=engine.name,
        language=sound.language,
        made_at=now,
    )


def _model(root: Path, practice: Practice) -> Path | None:
    model = practice.speech.model
    return None if model is None else root / model.removeprefix("file:")


def _heard(sound: _Sound, engine: Engine) -> list[Word]:
    """Return what was said, by each who spoke.

    Raises:
        TranscriptionError: the engine wrote nothing down.
    """
    with sound.kept.open() as source:
        caller, agent = tape.channels(tape.frames(source))
    if sound.voicemail:
        words = speech.transcribe(caller, sound.language, engine, speaker="caller")
    else:
        words = speech.in_order(
            speech.transcribe(caller, sound.language, engine, speaker="caller"),
            speech.transcribe(agent, sound.language, engine, speaker="agent"),
        )
    if not words:
        raise TranscriptionError("silence")
    return words
