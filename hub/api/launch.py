"""Opened from the EHR: whoever is signed in here and opens us on a patient's chart there lands on that patient here.

The EHR sends the browser to /launch/{connection}; we send it to the EHR's authorize endpoint with a proof key; it comes
back with a code, which the EHR's token endpoint exchanges for the patient's id (SMART App Launch; RFC 7636). What was
begun is known to this process alone, once, for ten minutes, and to the session that began it.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Protocol, runtime_checkable
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse
from sqlmodel import Session

from connectors.api import ConnectorError, Context, Identifier
from hub.api.caller import GUARDED, InstanceDep, SessionDep, TokenDep, needs, person_of
from hub.api.problem import declared
from hub.errors import DeniedError, NotFoundError, UsageError
from hub.instance import Instance
from hub.outside import ConnectionMissingError, Outside
from hub.record import identity, patient
from hub.security import intent
from hub.security.access import Actor, Scope
from hub.security.egress import NOTHING
from hub.security.sealed import Table

router = APIRouter(prefix="/launch", tags=["launch"], responses=GUARDED)

PAGE = "/desk?patient={id}"
"Where the browser lands."

KNOWN = timedelta(minutes=10)
"From the launch to the code."

MOST = 1000
"Launches that are under way; the oldest goes first."

Reader = Annotated[Actor, needs(Scope.PATIENTS_READ)]


class LaunchInvalidError(UsageError):
    """It was not this EHR that launched, or nothing that was begun here in this session comes back."""

    code = "launch-invalid"


class LaunchRefusedError(DeniedError):
    """The EHR does not let this person in."""

    code = "launch-refused"


@runtime_checkable
class Launches(Protocol):
    """A connector whose system can open us on a patient."""

    def is_issuer(self, iss: str) -> bool:
        """Whether `iss` is this connection's system."""
        ...

    async def launch_url(self, ctx: Context, handle: str, *, state: str, redirect_uri: str) -> tuple[str, str]:
        """Return where the browser is to be let in, and the verifier whose challenge goes there."""
        ...

    async def launched(self, ctx: Context, code: str, *, verifier: str, redirect_uri: str) -> Identifier:
        """Return the patient whom `code` was given for."""
        ...


@dataclass(frozen=True, slots=True)
class Begun:
    """A launch that waits for its code."""

    connection: str
    session: UUID
    "Id of the token that began it."

    verifier: str = field(repr=False)
    until: datetime


class Pending:
    """The launches that are under way, by their state."""

    def __init__(self) -> None:
        self._begun: OrderedDict[str, Begun] = OrderedDict()

    def begin(self, state: str, begun: Begun) -> None:
        """Know a launch from now on."""
        self._begun[state] = begun
        while len(self._begun) > MOST:
            self._begun.popitem(last=False)

    def end(self, state: str, connection: str, session: UUID, now: datetime) -> str:
        """Return the verifier; the state is used up, whoever came with it.

        Raises:
            LaunchInvalidError: it was not begun here, not for this connection, not in this session, or too long ago.
        """
        begun = self._begun.pop(state, None)
        if begun is None or begun.until <= now or (begun.connection, begun.session) != (connection, session):
            raise LaunchInvalidError("no launch of this session waits for this; open it from the EHR again")
        return begun.verifier


@router.get(
    "/{connection}",
    summary="Be opened by an EHR",
    status_code=303,
    response_class=RedirectResponse,
    responses=declared(LaunchInvalidError, NotFoundError, ConnectionMissingError, ConnectorError),
)
async def begin(
    connection: str,
    request: Request,
    actor: Reader,
    shown: TokenDep,
    instance: InstanceDep,
    session: SessionDep,
    iss: Annotated[str, Query(max_length=500, description="The EHR's FHIR base URL.")],
    launch: Annotated[str, Query(max_length=4000, description="What the EHR calls this launch.")],
) -> RedirectResponse:
    """Send the browser to the EHR's authorize endpoint (SMART App Launch, EHR launch)."""
    person_of(actor)
    outside, pending = _parts(request)
    connector = _launching(outside, connection)
    if not connector.is_issuer(iss):
        raise LaunchInvalidError("iss is not the base URL of this connection")
    state = secrets.token_urlsafe(32)
    async with outside.open(connection, NOTHING, "treatment") as line:
        url, proof = await connector.launch_url(line.ctx, launch, state=state, redirect_uri=_back(instance, connection))
    pending.begin(state, Begun(connection, shown[0].id, proof, instance.clock() + KNOWN))
    await _note(instance, actor, session, "launch.begun", connection)
    return RedirectResponse(url, 303)


@router.get(
    "/{connection}/callback",
    summary="Come back from the EHR",
    status_code=303,
    response_class=RedirectResponse,
    responses=declared(LaunchInvalidError, LaunchRefusedError, NotFoundError, ConnectionMissingError, ConnectorError),
)
async def end(
    connection: str,
    request: Request,
    actor: Reader,
    shown: TokenDep,
    instance: InstanceDep,
    session: SessionDep,
    state: Annotated[str, Query(max_length=200)],
    code: Annotated[str | None, Query(max_length=8000)] = None,
    error: Annotated[
        str | None, Query(max_length=200, description="Instead of `code` (RFC 6749 section 4.1.2.1).")
    ] = None,
) -> RedirectResponse:
    """Exchange the code, and send the browser to the patient; one who is unknown here, or restricted, is not found."""
    outside, pending = _parts(request)
    connector = _launching(outside, connection)
    proof = pending.end(state, connection, shown[0].id, instance.clock())
    if error is not None or code is None:
        await _note(instance, actor, session, "launch.refused", connection)
        raise LaunchRefusedError("the EHR gave no code")
    async with outside.open(connection, NOTHING, "treatment") as line:
        who = await connector.launched(line.ctx, code, verifier=proof, redirect_uri=_back(instance, connection))
    found = await instance.db.run(lambda db: _known(db, instance, connection, who))
    await _note(instance, actor, session, "launch.opened" if found else "launch.unknown", connection, found)
    if found is None:
        raise NotFoundError("the patient of this launch is not known here")
    return RedirectResponse(PAGE.format(id=found), 303)


def _parts(request: Request) -> tuple[Outside, Pending]:
    return request.app.state.outside, request.app.state.launches


def _launching(outside: Outside, connection: str) -> Launches:
    connector: object = outside.connectors().get(connection)
    if not isinstance(connector, Launches):
        raise NotFoundError("there is no such connection that launches")
    return connector


def _back(instance: Instance, connection: str) -> str:
    """Return the redirect URI, as it is registered with the EHR."""
    _, practice = instance.policy()
    return f"{practice.http.base_url}/launch/{connection}/callback"


def _known(db: Session, instance: Instance, connection: str, who: Identifier) -> UUID | None:
    """Return the row of the patient, the survivor of a merge, unless the chart is restricted."""
    keys = identity.keys_for([who], connection, instance.index)
    row_id = identity.only(keys, identity.named(db, patient.PatientIdentifier, "patient_id", keys), "patients")
    row = db.get(patient.Patient, row_id) if row_id is not None else None
    if row is not None and row.merged_into is not None:
        row = db.get(patient.Patient, row.merged_into)
    return None if row is None or row.restricted else row.id


async def _note(
    instance: Instance, actor: Actor, session: str, act: str, connection: str, patient_id: UUID | None = None
) -> None:
    access = actor.access("treatment", session=session)
    subjects = [] if patient_id is None else [(b"", patient_id, [(Table.PATIENT, patient_id)])]

    def note(db: Session) -> None:
        intent.note(db, access, act, subjects, {"connection": connection}, at=instance.clock())

    await instance.db.run(note, write=True)
