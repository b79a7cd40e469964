"""Messages that callers left, for those who share the box."""

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from sqlmodel import Session

from hub.api import transcript
from hub.api.caller import READING, InstanceDep, PersonNeededError, SessionDep, needs, person_of
from hub.api.once import Answered, OnceDep
from hub.api.page import LIMIT, Answer, CursorParam, LimitParam, Page, one_of, page
from hub.api.problem import declared
from hub.api.transcript import Transcript
from hub.errors import NotFoundError
from hub.instance import Instance
from hub.record import patient, voicemail
from hub.record.idempotency import KeyReusedError
from hub.recordings import Kept, message_of, sound_of
from hub.security.access import Actor, RestrictedError, Scope
from hub.security.container import ContainerError, ContainerUnsealedError

router = APIRouter(prefix="/voicemails", tags=["voicemails"], responses=READING)

Listener = Annotated[Actor, needs(Scope.VOICEMAILS_READ)]


class Voicemail(Answer):
    """One message in one box."""

    id: UUID
    box: str
    call: UUID
    state: voicemail.VoicemailState
    started_at: datetime
    seconds: float
    heard_at: datetime | None
    heard_by: UUID | None


@router.get("", summary="List voicemails")
async def voicemails(
    actor: Listener, instance: InstanceDep, limit: LimitParam = LIMIT, cursor: CursorParam = None
) -> Page[Voicemail]:
    """Return the messages in the boxes of one's roles, newest first; a program's token sees every box."""
    boxes = _boxes(instance, actor)
    rows = await instance.db.run(lambda db: voicemail.in_boxes(db, boxes, before=cursor, limit=limit + 1))
    return page(rows, limit, _shown, lambda row: row.id)


@router.get(
    "/{voicemail_id}/audio",
    summary="Listen to a voicemail",
    response_class=Response,
    responses=declared(NotFoundError, RestrictedError, ContainerError, ContainerUnsealedError)
    | {200: {"content": {"audio/wav": {}}, "description": "16-bit WAV."}},
)
async def audio(voicemail_id: UUID, actor: Listener, instance: InstanceDep, session: SessionDep) -> Response:
    """Return the message; that somebody listens is on record before they hear anything. It stays new."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> Kept:
        row = _found(db, instance, voicemail_id, actor)
        if patient.hidden(db, [row.subject]):
            raise RestrictedError("a restricted chart needs a reason")
        return message_of(db, instance, row, access)

    kept = await instance.db.run(look)
    return Response(await asyncio.to_thread(sound_of, kept), media_type="audio/wav")


@router.get(
    "/{voicemail_id}/transcript",
    summary="Read a voicemail",
    responses=declared(NotFoundError, RestrictedError),
)
async def words(voicemail_id: UUID, actor: Listener, instance: InstanceDep, session: SessionDep) -> Transcript:
    """Return what was said, as words; that somebody reads them is on record first. It stays new."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> Transcript:
        row = _found(db, instance, voicemail_id, actor)
        if patient.hidden(db, [row.subject]):
            raise RestrictedError("a restricted chart needs a reason")
        return transcript.shown(db, instance, row.id, access)

    return await instance.db.run(look)


@router.post(
    "/{voicemail_id}/heard",
    summary="Mark a voicemail as heard",
    responses=declared(NotFoundError, PersonNeededError, KeyReusedError),
)
async def heard(voicemail_id: UUID, actor: Listener, instance: InstanceDep, once: OnceDep) -> Voicemail:
    """Note that one has heard it; the first who says so stays."""
    person, now = person_of(actor), instance.clock()

    def write(db: Session) -> Answered:
        row = _found(db, instance, voicemail_id, actor)
        return _shown(voicemail.heard(db, row.id, person, now)).model_dump(mode="json")

    return Voicemail.model_validate(await once.run(write))


def _boxes(instance: Instance, actor: Actor) -> list[str]:
    """Return the boxes that one may listen to."""
    _, practice = instance.policy()
    person = not actor.id.startswith("token:")
    return [box.name for box in practice.voicemails if not person or set(box.roles) & set(actor.roles)]


def _found(db: Session, instance: Instance, voicemail_id: UUID, actor: Actor) -> voicemail.Voicemail:
    row = one_of(db, voicemail.Voicemail, voicemail_id)
    if row.box not in _boxes(instance, actor):
        raise NotFoundError(f"there is no voicemail {voicemail_id}")
    return row


def _shown(row: voicemail.Voicemail) -> Voicemail:
    return Voicemail(
        id=row.id,
        box=row.box,
        call=row.call_id,
        state=row.state,
        started_at=row.started_at,
        seconds=row.seconds,
        heard_at=row.heard_at,
        heard_by=row.heard_by,
    )
