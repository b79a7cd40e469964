"""Call pops: a reference from the webhook, opened in two stages. Every look is audited before anything is shown."""

import asyncio
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from connectors.api import Section
from hub.api.caller import READING, InstanceDep, SessionDep, needs, person_of
from hub.api.identify import identified
from hub.api.once import OnceDep
from hub.api.page import Answer
from hub.api.problem import declared
from hub.chart import Chart, Charts
from hub.errors import NotFoundError
from hub.finder import Finder
from hub.instance import Instance
from hub.record import appointment, call, patient, pop, queue, related, request, task
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.idempotency import KeyReusedError
from hub.record.patient import Patient
from hub.record.pop import Pop, PopExpiredError, PopLockedError, PopStage
from hub.rules import matching
from hub.rules import pop as rules
from hub.rules.pop import Ringing, Typed
from hub.security.access import Actor, RestrictedError, Scope
from hub.vault.client import Access

router = APIRouter(prefix="/pops", tags=["pops"], responses=READING | declared(NotFoundError, PopExpiredError))

Agent = Annotated[Actor, needs(Scope.POPS)]

SECTIONS = frozenset(Section) - {Section.REQUESTS}
"What is asked of the EHR while the agent waits; requests stand in the record."


class MaskedPop(Answer):
    """What an agent sees before anyone was verified: whether someone is known, never who."""

    stage: Literal["masked", "locked"]
    call: UUID
    number: str
    "Empty where it is withheld, or where the token may not see numbers."

    attestation: str | None
    "What the carrier vouches for of the number: A, B or C (RFC 8588); null where nothing holds or no number is shown."

    did: str
    queue: str | None
    waited_seconds: int
    match: matching.Kind
    why: str
    candidates: int
    proxy: bool
    "Whether the number is that of somebody who may call for a patient, and of no patient."

    language: str
    repeat_caller: bool
    open_tasks: int


class PopVisit(Answer):
    """A coming appointment of a verified caller."""

    id: UUID
    starts_at: datetime | None
    minutes: int | None
    status: str
    "FHIR R4 Appointment.status."

    confirmed: bool
    practitioner: str | None
    location: str | None
    type: str | None


class PopRequest(Answer):
    """Something that the verified caller asked for, and waits for."""

    kind: str
    status: str


class PopTask(Answer):
    """Something that is left to do for the verified caller."""

    id: UUID
    kind: str


class PopContact(Answer):
    """A call of the verified caller."""

    medium: Literal["phone"]
    at: datetime
    path: str | None


class PopLink(Answer):
    """A page about the caller in an outside system, for the agent's browser."""

    connection: str
    url: str


class PopChart(Answer):
    """Where the chart's sections come from."""

    read_at: datetime | None
    missing: str | None
    "Why there are none: `late`, `no-source`, or the code of an error."


class FullPop(Answer):
    """What an agent sees of a verified caller: of these fields, those that the agent's roles need."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    stage: Literal["full"] = "full"
    call: UUID
    patient: UUID
    name: str | None = None
    language: str | None = None
    appointments: list[PopVisit] | None = None
    requests: list[PopRequest] | None = None
    tasks: list[PopTask] | None = None
    contacts: list[PopContact] | None = None
    allergies: list[str] | None = None
    problems: list[str] | None = None
    medications: list[str] | None = None
    coverage: list[str] | None = None
    care_team: list[str] | None = Field(None, alias="care-team")
    encounters: list[str] | None = None
    referrals: list[str] | None = None
    consents: list[str] | None = None
    messages: list[str] | None = None
    related: list[str] | None = None
    links: list[PopLink] | None = None
    chart: PopChart | None = None
    "Absent for roles that see no section of the chart."


class VerifiedPop(FullPop):
    """The caller is who they say; with the full stage."""

    verified: Literal[True] = True


class Refused(Answer):
    """Name and date of birth are not those of anybody who may be calling."""

    verified: Literal[False] = False
    stage: Literal["masked", "full", "locked"]
    tries_left: int


class Said(BaseModel):
    """What the caller said of themselves, as the agent typed it."""

    model_config = ConfigDict(extra="forbid", str_max_length=200)

    name: str = Field(min_length=1)
    "Given and family name, in any order."

    birth_date: date


@dataclass(frozen=True, slots=True)
class _Found:
    """A pop and its call, as the rows say."""

    pop: Pop
    call: Call
    match: matching.Match
    "As it stands now: a chart may have become restricted since the phone rang."

    open_tasks: int
    calls_before: int
    waited_seconds: int


@router.get("/{token}", summary="Open a pop", response_model_exclude_unset=True, responses=declared(RestrictedError))
async def get(
    token: str, actor: Agent, instance: InstanceDep, session: SessionDep, request: Request
) -> MaskedPop | FullPop:
    """Return the masked stage, or the full one once the agent verified who calls.

    A pop of another agent is not found. A restricted chart says so and nothing else.
    """
    found = await _found(instance, token, actor)
    access = actor.access("treatment", session=session)
    if found.pop.stage is PopStage.FULL and found.pop.patient_id is not None:
        return FullPop(**await _full(instance, request, found, found.pop.patient_id, actor, access))
    return await _masked(instance, request.app.state.finder, found, actor, access)


@router.post(
    "/{token}/verify",
    summary="Verify who calls",
    response_model_exclude_unset=True,
    responses=declared(PopLockedError, RestrictedError, KeyReusedError),
)
async def verify(
    token: str, said: Said, actor: Agent, instance: InstanceDep, session: SessionDep, request: Request, once: OnceDep
) -> VerifiedPop | Refused:
    """Compare name and date of birth with those who gave the number, then with anyone of that name and date.

    The third miss locks the pop for good. A repeat with the same Idempotency-Key is no second try.
    """
    found = await _found(instance, token, actor)
    if found.match.kind == "restricted":
        raise RestrictedError("a restricted chart needs a reason")
    access, now = actor.access("treatment", session=session), instance.clock()
    answer = await once.before()
    if answer is None:
        if found.pop.stage is PopStage.LOCKED:
            raise PopLockedError(f"pop {found.pop.id} is locked")
        typed = Typed(said.name, said.birth_date)
        await request.app.state.finder.looked(found.call.id)
        near = (*found.match.patients, *found.match.proxy_for)
        who = await instance.db.run(lambda db: identified(db, instance, near, typed, access))

        def note(db: Session) -> dict[str, Any]:
            row = pop.tried(db, found.pop.id, who, by=actor.id, now=now)
            left = max(rules.TRIES - row.tries, 0)
            return {"patient": str(who) if who else None, "stage": row.stage.value, "tries_left": left}

        answer = await once.run(note)
    elif answer["patient"] is not None and found.pop.stage is not PopStage.FULL:
        raise PopLockedError(f"pop {found.pop.id} is locked")
    if answer["patient"] is None:
        return Refused(verified=False, stage=answer["stage"], tries_left=answer["tries_left"])
    shown = await _full(instance, request, found, UUID(answer["patient"]), actor, access)
    return VerifiedPop(verified=True, **shown)


async def _found(instance: Instance, token: str, actor: Actor) -> _Found:
    agent_id, now = person_of(actor), instance.clock()

    def look(db: Session) -> _Found:
        row = pop.find(db, token, now, agent_id=agent_id)
        ringing = db.get_one(Call, row.call_id)
        match = matching.Match("none") if ringing.caller_key is None else related.match_phone(db, ringing.caller_key)
        if ringing.match == "restricted":
            match = matching.Match("restricted")
        tasks = sum(len(task.open_of(db, one)) for one in match.patients)
        return _Found(row, ringing, match, tasks, call.count_before(db, ringing), _waited(db, ringing, now))

    return await instance.db.run(look)


async def _masked(instance: Instance, finder: Finder, found: _Found, actor: Actor, access: Access) -> MaskedPop:
    """Open the call, which is on record before it is shown, and say what may be said of it."""
    number = await _number(instance, found, access)
    if found.match.kind == "none" and number:
        finder.look(found.call.id, number, access)
    shown = rules.masked(
        Ringing(
            number=number if actor.may(Scope.NUMBERS_READ) else "",
            did=found.call.did,
            queue=found.call.queue,
            waited_seconds=found.waited_seconds,
            match=found.match.kind,
            candidates=len(found.match.patients),
            language=(found.call.plan or {}).get("language", ""),
            calls_before=found.calls_before,
            proxy=bool(found.match.proxy_for),
            open_tasks=found.open_tasks,
            attestation=found.call.attestation,
        )
    )
    stage = "locked" if found.pop.stage is PopStage.LOCKED else "masked"
    return MaskedPop(**(shown | {"stage": stage, "call": found.call.id}))


async def _number(instance: Instance, found: _Found, access: Access) -> str:
    """Return the number that calls, which is on record; empty where it is withheld."""
    (said,) = await instance.db.run(lambda db: instance.opener.open(db, access, [call.sealed_of(found.call)]))
    return str(said.get("number") or "")


async def _full(
    instance: Instance, request: Request, found: _Found, patient_id: UUID, actor: Actor, access: Access
) -> dict[str, Any]:
    """Ask the record and the chart for the fields that the roles allow, and for nothing else.

    Raises:
        RestrictedError: the chart has come under break-glass.
    """
    wanted = rules.fields_of(actor.roles)
    row = await instance.db.run(lambda db: db.get_one(Patient, patient_id))
    if row.restricted:
        raise RestrictedError("a restricted chart needs a reason")
    known, person = await instance.db.run(lambda db: _known(db, instance, row, wanted, access))
    shown: dict[str, Any] = {"stage": "full", "call": found.call.id, "patient": patient_id}
    chart, links = await asyncio.gather(
        _chart(request.app.state.charts, patient_id, person, wanted, access),
        _links(instance, request.app.state.finder, found, patient_id, person, wanted, access),
    )
    if chart is not None:
        known |= {section.value: list(lines) for section, lines in chart.sections.items()}
        shown["chart"] = PopChart(read_at=chart.read_at, missing=chart.missing)
    known["links"] = links
    return shown | rules.full(actor.roles, known)


async def _chart(
    charts: Charts, patient_id: UUID, person: dict[str, Any], wanted: frozenset[str], access: Access
) -> Chart | None:
    sections = frozenset(section for section in SECTIONS if section.value in wanted)
    return await charts.read(patient_id, person, sections, access) if sections else None


async def _links(
    instance: Instance,
    finder: Finder,
    found: _Found,
    patient_id: UUID,
    person: dict[str, Any],
    wanted: frozenset[str],
    access: Access,
) -> list[PopLink]:
    if "links" not in wanted or not finder.able():
        return []
    number = await _number(instance, found, access)
    links = await finder.links(found.call.id, number, patient_id, person, access)
    return [PopLink(connection=link.connection, url=link.url) for link in links]


def _known(
    db: Session, instance: Instance, row: Patient, wanted: frozenset[str], access: Access
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the wanted fields that stand in the record, and the opened patient."""
    visits = appointment.upcoming(db, row.id, instance.clock()) if "appointments" in wanted else []
    relations = related.of_patient(db, row.id) if "related" in wanted else []
    sealed = [patient.sealed_of(row), *map(appointment.sealed_of, visits), *map(related.sealed_of, relations)]
    person, *told = instance.opener.open(db, access, sealed)
    known: dict[str, Any] = {
        "name": f"{person.get('given') or ''} {person.get('family') or ''}".strip(),
        "language": person.get("language") or "",
    }
    if "appointments" in wanted:
        known["appointments"] = [_visit(visit, said) for visit, said in zip(visits, told, strict=False)]
    if relations:
        known["related"] = [related.line_of(said) for said in told[len(visits) :]]
    if "requests" in wanted:
        known["requests"] = [PopRequest(kind=one.kind, status=one.status) for one in request.open_of(db, row.id)]
    if "tasks" in wanted:
        known["tasks"] = [PopTask(id=one.id, kind=one.kind) for one in task.open_of(db, row.id)]
    if "contacts" in wanted:
        known["contacts"] = [
            PopContact(medium="phone", at=one.started_at, path=one.path) for one in call.of_patient(db, row.id)
        ]
    return known, person


def _visit(row: Appointment, said: dict[str, Any]) -> PopVisit:
    return PopVisit(
        id=row.id,
        starts_at=row.starts_at,
        minutes=row.minutes,
        status=row.status.value,
        confirmed=row.confirmed_at is not None,
        practitioner=said.get("practitioner"),
        location=said.get("location"),
        type=said.get("type"),
    )


def _contact(row: Call) -> PopContact:
    return PopContact(medium="phone", at=row.started_at, path=row.path)


def _waited(db: Session, row: Call, now: datetime) -> int:
    waited = queue.waited(db, row.id, now)
    if waited is None:  # rung without having been in a queue
        waited = (row.bridged_at or row.ended_at or now) - (row.queued_at or row.started_at)
    return round(waited.total_seconds())
