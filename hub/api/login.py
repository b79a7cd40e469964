"""Logging in: an address and a password for a token that ends with the working day.

A password that somebody else gave out opens nothing but the door to setting one's own. Guessing is slow: few tries for
one account from one address, and few checks at once, since each takes 19 MiB and a share of a core.
"""

import asyncio
import time
from collections import OrderedDict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlmodel import Session

from hub.api.caller import SESSION_COOKIE, InstanceDep, SessionDep, TokenDep
from hub.api.page import Answer
from hub.api.problem import declared
from hub.errors import DeniedError, UnavailableError, UsageError
from hub.instance import Instance
from hub.record import staff, token
from hub.record.staff import Staff
from hub.record.token import TokenError, TokenKind
from hub.security import access, intent, login
from hub.security.access import Scope
from hub.security.login import LoginError
from hub.vault.client import Access

router = APIRouter(prefix="/login", tags=["login"])

SHORTEST = 12
"Letters of a password; length is what counts."

MISSES = 5
FORGET_S = 15 * 60.0
"So many wrong passwords for one account from one address, and nothing more is tried for so long."

REMEMBERED = 10_000
"Pairs of account and address."

IN_LINE = 32
"Logins that wait for their turn; who comes later is sent away at once."


class TooManyTriesError(UnavailableError):
    """Too many wrong passwords, or too many logins at once: wait."""

    code = "too-many-tries"
    status = 429

    def __init__(self, retry_after: float) -> None:
        super().__init__("wait before the next try")
        self.retry_after = retry_after
        "Seconds."


class PasswordChangeError(DeniedError):
    """The password was given out by somebody else: set one of your own first."""

    code = "password-change-needed"


class PasswordWeakError(UsageError):
    """The new password is too short, or the old one."""

    code = "password-weak"


class Credentials(BaseModel):
    """Who wants in."""

    model_config = ConfigDict(extra="forbid")

    email: Annotated[str, Field(max_length=254)]
    password: Annotated[SecretStr, Field(max_length=200)]


class PasswordChange(Credentials):
    """... and the password that is to hold from now on."""

    new_password: Annotated[SecretStr, Field(max_length=200)]


class LoginSession(Answer):
    """What a login opens."""

    token: str
    "The bearer token; shown once."

    expires_at: datetime
    "Earlier, where it is not used for ten minutes."


class Oneself(Answer):
    """Who shows the token."""

    id: str
    "Staff id, or token:<id>."

    roles: list[str]
    scopes: list[Scope]
    expires_at: datetime


class Door:
    """Lets in one after the other, and knows who guessed too often; in this process's memory."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(login.AT_ONCE)
        self._waiting = 0
        self._missed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    async def check(self, instance: Instance, said: Credentials, address: str) -> Staff:
        """Return whose address and password they are.

        Raises:
            LoginError: nobody's.
            TooManyTriesError: it is not even looked at.
        """
        name = (said.email.strip().lower(), address)
        misses, since = self._missed.get(name, (0, 0.0))
        left = since + FORGET_S - time.monotonic()
        if misses >= MISSES and left > 0:
            raise TooManyTriesError(left)
        if self._waiting >= IN_LINE:
            raise TooManyTriesError(1.0)
        self._waiting += 1
        try:
            async with self._turns:  # so that checks never hold all of the database's threads
                row = await instance.db.run(
                    lambda db: staff.check_password(db, said.email, said.password.get_secret_value())
                )
        except LoginError:
            self._miss(name, 0 if left <= 0 else misses)
            raise
        finally:
            self._waiting -= 1
        self._missed.pop(name, None)
        return row

    def _miss(self, name: tuple[str, str], before: int) -> None:
        self._missed[name] = (before + 1, time.monotonic())
        self._missed.move_to_end(name)
        while len(self._missed) > REMEMBERED:
            self._missed.popitem(last=False)


@router.post("", summary="Log in", responses=declared(LoginError, PasswordChangeError, TooManyTriesError))
async def log_in(
    said: Credentials, request: Request, response: Response, instance: InstanceDep, session: SessionDep
) -> LoginSession:
    """Open a session; it ends after ten minutes without a request, and after twelve hours."""
    row = await _known(said, request, instance, session)
    if row.must_change:
        raise PasswordChangeError("set a password of your own: POST /v1/login/password")
    opened = await instance.db.run(lambda db: _opened(db, instance, row, session, said), write=True)
    return _kept(opened, response, instance)


@router.post(
    "/password",
    summary="Set one's password",
    responses=declared(LoginError, PasswordWeakError, TooManyTriesError),
)
async def set_password(
    said: PasswordChange, request: Request, response: Response, instance: InstanceDep, session: SessionDep
) -> LoginSession:
    """Replace one's password, end every other session, and open one."""
    row = await _known(said, request, instance, session)
    new = said.new_password.get_secret_value()
    if len(new) < SHORTEST or new == said.password.get_secret_value() or new.lower() == row.email:
        raise PasswordWeakError(f"a password has {SHORTEST} letters or more, and is not the one before")

    def change(db: Session) -> LoginSession:
        staff.set_password(db, row.id, new)
        for kept in token.of_staff(db, row.id):
            if kept.kind is TokenKind.SESSION:
                token.revoke(db, kept.id, instance.clock())
        intent.note(db, _access(row, session), "password.set", (), {"staff": str(row.id)}, at=instance.clock())
        return _opened(db, instance, row, session)

    return _kept(await instance.db.run(change, write=True), response, instance)


@router.get("", summary="Who am I", responses=declared(TokenError))
async def oneself(shown: TokenDep) -> Oneself:
    """Return who shows the token, and what it allows."""
    row, actor = shown
    return Oneself(id=actor.id, roles=list(actor.roles), scopes=sorted(actor.scopes), expires_at=row.expires_at)


@router.delete("", summary="Log out", status_code=204, responses=declared(TokenError))
async def log_out(shown: TokenDep, instance: InstanceDep, session: SessionDep) -> Response:
    """Take back the token that is shown."""
    row, actor = shown

    def end(db: Session) -> None:
        token.revoke(db, row.id, instance.clock())
        who = actor.access("operations", session=session)
        intent.note(db, who, "logout", (), {"token": str(row.id)}, at=instance.clock())

    await instance.db.run(end, write=True)
    gone = Response(status_code=204)
    gone.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return gone


def _kept(opened: LoginSession, response: Response, instance: Instance) -> LoginSession:
    """Let the browser keep the session, for this site alone, out of reach of its scripts."""
    _, practice = instance.policy()
    response.set_cookie(
        SESSION_COOKIE,
        opened.token,
        max_age=int((opened.expires_at - instance.clock()).total_seconds()),
        secure=practice.http.base_url.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
    return opened


async def _known(said: Credentials, request: Request, instance: Instance, session: str) -> Staff:
    door: Door = request.app.state.door
    try:
        return await door.check(instance, said, request.client.host if request.client else "")
    except LoginError:
        await instance.db.run(lambda db: _refused(db, instance, said.email, session), write=True)
        raise


def _refused(db: Session, instance: Instance, email: str, session: str) -> None:
    """Note a wrong password of an account that exists (45 CFR 164.308(a)(5)(ii)(C))."""
    row = staff.find(db, email)
    if row is not None:
        who = Access("system:hub", "system", "operations", session)
        intent.note(db, who, "login.refused", (), {"staff": str(row.id)}, at=instance.clock())


def _opened(db: Session, instance: Instance, row: Staff, session: str, said: Credentials | None = None) -> LoginSession:
    """Open a session; with `said`, a hash that was made at another cost is made anew."""
    now = instance.clock()
    if said is not None and row.password is not None and login.outdated(row.password):
        staff.set_password(db, row.id, said.password.get_secret_value())
    made, secret = token.create(
        db, scopes=list(Scope), now=now, lifetime=token.SESSION, staff_id=row.id, kind=TokenKind.SESSION
    )
    intent.note(db, _access(row, session), "login", (), {"token": str(made.id)}, at=now)
    return LoginSession(token=secret, expires_at=made.expires_at)


def _access(row: Staff, session: str) -> Access:
    return access.actor_of(str(row.id), roles=row.roles, token=None).access("operations", session=session)
