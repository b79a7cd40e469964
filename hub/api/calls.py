"""The call log: as pages, as CSV for a spreadsheet, and each call's recording."""

import asyncio
import csv
import io
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime
from sqlmodel import Session

from hub.api import transcript
from hub.api.caller import READING, InstanceDep, SessionDep, needs
from hub.api.page import LIMIT, Answer, CursorParam, LimitParam, Page, one_of, page
from hub.api.problem import declared
from hub.api.transcript import Transcript
from hub.errors import NotFoundError, UsageError
from hub.instance import Instance
from hub.record import call, patient, recording
from hub.recordings import Kept, recordings_of, talk_of
from hub.security.access import Actor, RestrictedError, Scope
from hub.security.container import ContainerError, ContainerUnsealedError
from hub.vault.client import Access

router = APIRouter(prefix="/calls", tags=["calls"], responses=READING)

Reader = Annotated[Actor, needs(Scope.CALLS_READ)]
Listener = Annotated[Actor, needs(Scope.RECORDINGS_READ)]

Since = Annotated[AwareDatetime | None, Query(description="Calls that began at this instant or later.")]
Until = Annotated[AwareDatetime | None, Query(description="Calls that began before this instant.")]

EXPORTED = 10_000
"Calls in one CSV file at most; a longer time must be asked for in parts."

BATCH = 500
"Rows that are opened in one request to the vault."

_NUMBER = re.compile(r"\+?[0-9]+")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class ExportTooLongError(UsageError):
    """More calls than one CSV file holds: narrow `since` and `until`."""

    code = "export-too-long"


class CallPlan(Answer):
    """What was to happen to the call, and why."""

    rule: str | None
    "The route that decided; `default` where none did."

    reads: list[str]
    "Chart fields that the routes read."

    source: Literal["workflow", "last-good"] | None


class CallLeg(Answer):
    """One side of the call."""

    role: str
    protection: str
    "Of its media as it was: sframe, dtls-srtp, sdes-srtp, rtp or pstn."

    loss: float
    "Share of packets that never came, 0 to 1."

    jitter_ms: float
    codec: str
    "As its RTP name."

    rtt_ms: float | None
    "Round trip to the far end, where it reports (RTCP)."

    mos: float | None
    "Estimated mean opinion score of what was heard, 1 to 4.5."


class Call(Answer):
    """One call."""

    id: UUID
    direction: str
    did: str
    "The practice's number that was dialled (E.164)."

    queue: str | None
    agent: UUID | None
    state: call.CallState
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    cause: str | None
    "Who or what ended it: caller, agent, system, or a SIP status."

    path: str | None
    "How it went: answered, abandoned, voicemail, callback, hung-up, missed or dropped."

    match: str
    "none, one, many or restricted."

    attestation: str | None
    "What the caller's carrier vouches for: A, B, C, or none (STIR/SHAKEN)."

    plan: CallPlan
    legs: list[CallLeg]
    recording: recording.RecordingState | None
    number: str | None
    "Of the caller; null for whoever may not see numbers, and where it is withheld."


@router.get(
    "",
    summary="List calls",
    responses=declared(ExportTooLongError)
    | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A page, or all of it as CSV."}},
    response_model=Page[Call],
)
async def calls(
    actor: Reader,
    instance: InstanceDep,
    session: SessionDep,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    since: Since = None,
    until: Until = None,
    limit: LimitParam = LIMIT,
    cursor: CursorParam = None,
) -> Page[Call] | Response:
    """Return calls, newest first; numbers only for those who may see them, which is audited."""
    access = actor.access("operations", session=session)
    if "text/csv" in accept.lower():
        text = await instance.db.run(lambda db: _csv(_exported(db, instance, actor, access, since, until)))
        named = {"Content-Disposition": 'attachment; filename="calls.csv"'}
        return Response(text, media_type="text/csv", headers=named)

    def look(db: Session) -> Page[Call]:
        rows = call.recent(db, before=cursor, since=since, until=until, limit=limit + 1)
        numbers = numbers_of(db, instance, rows[:limit], actor, access)
        return page(rows, limit, lambda row: _shown(db, row, numbers.get(row.id)), lambda row: row.id)

    return await instance.db.run(look)


@router.get("/{call_id}", summary="Get a call", responses=declared(NotFoundError))
async def one(call_id: UUID, actor: Reader, instance: InstanceDep, session: SessionDep) -> Call:
    """Return one call."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> Call:
        row = one_of(db, call.Call, call_id)
        return _shown(db, row, numbers_of(db, instance, [row], actor, access).get(row.id))

    return await instance.db.run(look)


@router.get(
    "/{call_id}/recording",
    summary="Listen to a call",
    response_class=Response,
    responses=declared(NotFoundError, RestrictedError, ContainerError, ContainerUnsealedError)
    | {200: {"content": {"audio/wav": {}}, "description": "16-bit WAV: the caller left, the agents right."}},
)
async def listen(call_id: UUID, actor: Listener, instance: InstanceDep, session: SessionDep) -> Response:
    """Return all that was recorded of the call; that somebody listens is on record before they hear anything."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> list[Kept]:
        row = one_of(db, call.Call, call_id)
        if row.match == "restricted" or patient.hidden(db, [row.patient_id]):
            raise RestrictedError("a restricted chart needs a reason")
        return recordings_of(db, instance, call_id, access)

    parts = await instance.db.run(look)
    return Response(await asyncio.to_thread(talk_of, parts), media_type="audio/wav")


@router.get(
    "/{call_id}/transcript",
    summary="Read a call",
    responses=declared(NotFoundError, RestrictedError),
)
async def words(call_id: UUID, actor: Listener, instance: InstanceDep, session: SessionDep) -> Transcript:
    """Return what was said on a call that was recorded; that somebody reads it is on record first."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> Transcript:
        row = one_of(db, call.Call, call_id)
        if row.match == "restricted" or patient.hidden(db, [row.patient_id]):
            raise RestrictedError("a restricted chart needs a reason")
        kept = recording.of_call(db, call_id)
        if not kept:
            raise NotFoundError("the call has no recording")
        parts = [each for each in kept if each.state is not recording.RecordingState.LOST] or kept
        began = parts[0].started_at
        return transcript.joined(
            [
                ((each.started_at - began).total_seconds(), transcript.shown(db, instance, each.id, access))
                for each in parts
            ]
        )

    return await instance.db.run(look)


def numbers_of(
    db: Session, instance: Instance, rows: list[call.Call], actor: Actor, access: Access
) -> dict[UUID, str | None]:
    """Open the callers' numbers for whoever may see them; not of charts under break-glass."""
    if not actor.may(Scope.NUMBERS_READ):
        return {}
    hidden = patient.hidden(db, [row.patient_id for row in rows])
    shown = [row for row in rows if row.match != "restricted" and row.patient_id not in hidden]
    opened = instance.opener.open(db, access, [call.sealed_of(row) for row in shown])
    return {row.id: said.get("number") for row, said in zip(shown, opened, strict=True)}


def _shown(db: Session, row: call.Call, number: str | None) -> Call:
    plan = row.plan or {}
    return Call(
        id=row.id,
        direction=row.direction,
        did=row.did,
        queue=row.queue,
        agent=row.agent_id,
        state=row.state,
        started_at=row.started_at,
        answered_at=row.answered_at,
        ended_at=row.ended_at,
        cause=row.cause,
        path=row.path,
        match=row.match,
        attestation=row.attestation,
        plan=CallPlan(rule=plan.get("rule"), reads=plan.get("reads") or [], source=plan.get("source")),
        legs=[
            CallLeg(
                role=leg.role,
                protection=leg.protection,
                loss=leg.loss,
                jitter_ms=leg.jitter_ms,
                codec=leg.codec,
                rtt_ms=leg.rtt_ms,
                mos=leg.mos,
            )
            for leg in call.legs(db, row.id)
        ],
        recording=recording.state_of(recording.of_call(db, row.id)),
        number=number,
    )


def _exported(
    db: Session, instance: Instance, actor: Actor, access: Access, since: datetime | None, until: datetime | None
) -> Iterator[tuple[call.Call, str | None]]:
    rows = call.recent(db, since=since, until=until, limit=EXPORTED + 1)
    if len(rows) > EXPORTED:
        raise ExportTooLongError(f"more than {EXPORTED} calls; give since and until")
    for at in range(0, len(rows), BATCH):
        part = rows[at : at + BATCH]
        numbers = numbers_of(db, instance, part, actor, access)
        yield from ((row, numbers.get(row.id)) for row in part)


COLUMNS = (
    *("id", "direction", "did", "number", "queue", "agent", "started_at", "answered_at", "ended_at"),
    *("cause", "path", "match", "rule", "source"),
)


def _csv(rows: Iterable[tuple[call.Call, str | None]]) -> str:
    """Return a CSV file (RFC 4180) with a head; no cell is a formula for a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row, number in rows:
        plan = row.plan or {}
        at = [each.isoformat() if each else "" for each in (row.started_at, row.answered_at, row.ended_at)]
        cells = [row.id, row.direction, row.did, number, row.queue, row.agent_id, *at]
        cells += [row.cause, row.path, row.match, plan.get("rule"), plan.get("source")]
        writer.writerow([_cell(cell) for cell in cells])
    return out.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
