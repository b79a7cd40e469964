"""`/desk`: where an agent works a whole call. The page is rendered once; its parts are asked for when `/live` says so.

Each part shows what the API answers, by the API's own functions: the same scopes, the same audit, the same fields.
"""

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlmodel import Session, col, select

from hub.api import agents, patients, pops, queues, tasks
from hub.api.caller import SESSION_COOKIE, InstanceDep, SessionDep, TokenDep, needs, opened, person_of
from hub.api.calls import numbers_of
from hub.api.once import OnceDep
from hub.api.phone import extension_of
from hub.api.pops import FullPop, Refused, Said
from hub.api.problem import InvalidError
from hub.api.standing import Caller, caller_of
from hub.errors import ChartlineError
from hub.instance import Instance
from hub.record import call, pop, wrapup
from hub.record.staff import Staff
from hub.record.token import TokenError
from hub.record.wrapup import Disposition
from hub.rules import pop as rules
from hub.security.access import Actor, Scope
from hub.settings import Practice
from hub.web.page import rendered
from hub.web.pages import FormDep

router = APIRouter(prefix="/desk", include_in_schema=False)

Popped = Annotated[Actor, needs(Scope.POPS)]
Present = Annotated[Actor, needs(Scope.PRESENCE_WRITE)]

TASKS: Final = 8
CALLS: Final = 8
"Shown at once."

_MONTH_FIRST: Final = frozenset({"US"})
"Regions that write the month before the day."

RECENT: Final = timedelta(days=2)
"How far back one's last calls go."

NOT_A_DATE: Final = "That is no date of birth. Type it with four digits of the year, such as {example}."


class View:
    """What every part of the page is rendered with."""

    def __init__(self, request: Request, instance: Instance, actor: Actor) -> None:
        self.request = request
        self.instance = instance
        self.actor = actor
        self.practice: Practice = instance.policy()[1]
        self.now: datetime = instance.clock()

    def page(self, template: str, status: int = 200, **told: Any) -> HTMLResponse:
        """Return a part."""
        info = self.practice.practice
        shown = {"practice": info, "zone": info.zone, "now": self.now, "may": self.may, "roles": self.actor.roles}
        return rendered(self.request, template, status, **shown, **told)

    def may(self, scope: str) -> bool:
        """Return whether who looks may do this."""
        return self.actor.may(Scope(scope))

    async def caller(self) -> tuple[Caller | None, str]:
        """Return the call of who looks, and the token of its pop."""
        who, now = person_of(self.actor), self.now
        found = await self.instance.db.run(lambda db: caller_of(db, who, now))
        return found, "" if found is None else pop.token_of(self.instance.keys.pop, found.offer)


async def view_of(request: Request, instance: InstanceDep, shown: TokenDep) -> View:
    """Return what this request's part is rendered with."""
    return View(request, instance, shown[1])


ViewDep = Annotated[View, Depends(view_of)]


@router.get("")
async def desk(request: Request, instance: InstanceDep, patient: Annotated[UUID | None, Query()] = None) -> Response:
    """Return the page; whoever is not signed in is asked to."""
    try:
        _, actor = await opened(instance, request.cookies.get(SESSION_COOKIE), cookie=True)
        who = person_of(actor)
    except TokenError:
        return RedirectResponse("/login", 303)
    view = View(request, instance, actor)

    def look(db: Session) -> dict[str, Any]:
        row = db.get_one(Staff, who)
        standing = agents.shown(db, row, view.practice, view.now)
        return {"person": row, "agent": standing, "extension": extension_of(db, view.practice, who)}

    return view.page("desk.html", patient=patient, **await instance.db.run(look))


@router.get("/part/presence")
async def presence(view: ViewDep, actor: Present) -> HTMLResponse:
    """Return the presence switch."""
    return view.page("part/presence.html", agent=await agents.me(actor, view.instance))


@router.get("/part/queues", dependencies=[needs(Scope.QUEUES_READ)])
async def queue_panel(view: ViewDep) -> HTMLResponse:
    """Return who waits."""
    shown = await queues.queues(view.instance)
    mine = await view.instance.db.run(lambda db: _queues_of(db, view))
    items = sorted(shown.items, key=lambda each: each.name not in mine)
    return view.page("part/queues.html", queues=items, mine=mine)


@router.get("/part/head")
async def head(view: ViewDep, actor: Popped) -> HTMLResponse:
    """Return how the call stands."""
    caller, _ = await view.caller()
    standing = await agents.me(actor, view.instance)
    return view.page("part/head.html", caller=caller, agent=standing)


@router.get("/part/pop")
async def show_pop(view: ViewDep, actor: Popped, session: SessionDep) -> HTMLResponse:
    """Return what may be shown of who calls, at this stage and to these roles."""
    caller, token = await view.caller()
    if caller is None:
        return view.page("part/nobody.html")
    return await _popped(view, caller, token, actor, session)


@router.post("/verify")
async def verify(view: ViewDep, actor: Popped, session: SessionDep, form: FormDep, once: OnceDep) -> HTMLResponse:
    """Compare what was typed with those who may be calling."""
    caller, token = await view.caller()
    if caller is None or form.get("offer") != str(caller.offer):
        return view.page("part/nobody.html")
    born = birth_of(form.get("birth_date", ""), view.practice.practice.region)
    try:
        said = Said.model_validate({"name": form.get("name", "").strip(), "birth_date": born})
    except ValidationError:
        example = "2/3/1980" if view.practice.practice.region in _MONTH_FIRST else "3/2/1980"
        wrong = "Type the name that the caller gives." if born else NOT_A_DATE.format(example=example)
        return await _popped(view, caller, token, actor, session, form=form, wrong=wrong)
    try:
        answer = await pops.verify(token, said, actor, view.instance, session, view.request, once)
    except ChartlineError as error:
        return view.page("part/trouble.html", error=error, key=caller.key)
    later, _ = await view.caller()
    if not isinstance(answer, Refused):
        return view.page("part/full.html", pop=answer, key=(later or caller).key)
    return await _popped(view, later or caller, token, actor, session, form=form, refused=True)


@router.get("/part/asked")
async def asked(view: ViewDep, actor: Present) -> HTMLResponse:
    """Ask what became of the call, until that is said."""
    who = person_of(actor)
    row = await view.instance.db.run(lambda db: wrapup.asked(db, who, view.now))
    return view.page("part/asked.html", call=row, dispositions=list(Disposition), wrong="")


@router.post("/wrap-up")
async def wrap_up(view: ViewDep, actor: Present, form: FormDep, once: OnceDep) -> HTMLResponse:
    """Keep what became of the call, and end the wrap-up."""
    try:
        said = agents.WrapUpSaid.model_validate(
            {"disposition": form.get("disposition"), "note": form.get("note", ""), "call": form.get("call")}
        )
    except ValidationError:
        who = person_of(actor)
        row = await view.instance.db.run(lambda db: wrapup.asked(db, who, view.now))
        told = "Choose what became of the call; a note has 2000 letters at most."
        return view.page("part/asked.html", call=row, dispositions=list(Disposition), wrong=told)
    await agents.wrap_up(said, actor, view.instance, once)
    return view.page("part/asked.html", call=None, dispositions=[], wrong="")


@router.post("/presence")
async def set_presence(view: ViewDep, actor: Present, form: FormDep, once: OnceDep) -> HTMLResponse:
    """Set what one is doing."""
    try:
        change = agents.PresenceChange.model_validate({"presence": form.get("presence")})
    except ValidationError:
        raise InvalidError("there is no such presence") from None
    return view.page("part/presence.html", agent=await agents.presence(change, actor, view.instance, once))


@router.get("/part/tasks")
async def task_list(view: ViewDep, actor: Annotated[Actor, needs(Scope.TASKS_READ)]) -> HTMLResponse:  # noqa: ARG001 - the scope
    """Return what is left to do."""
    return view.page("part/tasks.html", **await _tasks(view))


@router.post("/tasks/{task_id}/done")
async def task_done(
    task_id: UUID,
    view: ViewDep,
    actor: Annotated[Actor, needs(Scope.TASKS_WRITE)],
    form: FormDep,  # noqa: ARG001 - proves whose page it was
    once: OnceDep,
) -> HTMLResponse:
    """Close a task."""
    await tasks.done(task_id, actor, view.instance, once)
    return view.page("part/tasks.html", **await _tasks(view))


@router.get("/part/calls")
async def call_list(
    view: ViewDep, actor: Annotated[Actor, needs(Scope.CALLS_READ)], session: SessionDep
) -> HTMLResponse:
    """Return one's last calls; numbers for who may see them, which is on record."""
    who, instance = person_of(actor), view.instance
    access = actor.access("operations", session=session)

    def look(db: Session) -> list[tuple[call.Call, str | None]]:
        mine = select(call.Call).where(call.Call.agent_id == who, col(call.Call.ended_at).is_not(None))
        recent = mine.where(col(call.Call.started_at) > view.now - RECENT)
        rows = list(db.exec(recent.order_by(col(call.Call.started_at).desc()).limit(CALLS)))
        numbers = numbers_of(db, instance, rows, actor, access)
        return [(row, numbers.get(row.id)) for row in rows]

    return view.page("part/calls.html", calls=await instance.db.run(look))


@router.get("/part/colleagues")
async def colleagues(view: ViewDep, actor: Present) -> HTMLResponse:
    """Return to whom a call may be handed on: people with an extension, and queues."""
    me, instance = person_of(actor), view.instance
    people = await instance.db.run(lambda db: agents.listed(db, view.practice, view.now, phones=True))
    others = [one for one in people if one.id != me]
    shown = await queues.queues(instance)
    return view.page("part/colleagues.html", people=others, queues=shown.items)


@router.get("/part/patient")
async def patient_card(
    patient: UUID, view: ViewDep, actor: Annotated[Actor, needs(Scope.PATIENTS_READ)], session: SessionDep
) -> HTMLResponse:
    """Return the patient whom the EHR opened us on."""
    try:
        shown = await patients.one(patient, actor, view.instance, session)
    except ChartlineError as error:
        return view.page("part/trouble.html", error=error, key="")
    return view.page("part/patient.html", patient=shown)


def birth_of(text: str, region: str) -> date | None:
    """Return the date that was typed: year first, or as the region writes it, with four digits of the year."""
    words = re.findall(r"[0-9]+", text)
    if len(words) == 1 and len(words[0]) == len("02031980"):
        words = [words[0][:2], words[0][2:4], words[0][4:]]
    if len(words) != 3 or sorted(map(len, words))[-1] != 4:
        return None
    first, second, third = map(int, words)
    if len(words[0]) == 4:
        year, month, day = first, second, third
    else:
        month, day, year = (first, second, third) if region in _MONTH_FIRST else (second, first, third)
    try:
        return date(year, month, day)
    except ValueError:
        return None


async def _popped(
    view: View,
    caller: Caller,
    token: str,
    actor: Actor,
    session: str,
    **asked: Any,
) -> HTMLResponse:
    try:
        answer = await pops.get(token, actor, view.instance, session, view.request)
    except ChartlineError as error:
        return view.page("part/trouble.html", error=error, key=caller.key)
    if isinstance(answer, FullPop):
        return view.page("part/full.html", pop=answer, key=caller.key)
    form: dict[str, Any] = {"form": {}, "wrong": "", "refused": False} | asked
    left = max(rules.TRIES - caller.tries, 0)
    return view.page("part/masked.html", pop=answer, caller=caller, key=caller.key, left=left, **form)


async def _tasks(view: View) -> dict[str, Any]:
    shown = await tasks.tasks(view.instance, limit=TASKS)
    return {"tasks": shown.items, "more": shown.next is not None}


def _queues_of(db: Session, view: View) -> frozenset[str]:
    row = db.get_one(Staff, person_of(view.actor))
    listed = next((one for one in view.practice.staff if one.email.lower() == row.email), None)
    return frozenset(listed.queues if listed else ())
