"""Who makes a request: the bearer token, what its owner's roles allow, and what the audit log will say of them.

A browser that goes from page to page shows no bearer token: there the session of a login counts from its cookie. No
other site can make a browser write by it: the cookie is SameSite=Strict, what writes must come from a page of ours (the
browser says so in Sec-Fetch-Site or Origin), and must carry a header that only a script of ours can set.
"""

from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from sqlmodel import Session
from starlette.datastructures import Headers

from hub.api.guard import number_of
from hub.api.problem import declared
from hub.errors import DeniedError
from hub.instance import Instance
from hub.record import token
from hub.record.staff import Staff
from hub.record.token import Token, TokenError, TokenKind
from hub.security import access
from hub.security.access import Actor, Scope, ScopeError
from hub.vault.client import VaultUnavailableError

SESSION_COOKIE = "chartline_session"
"Set by a login; its value is the session's token."

PAGE_HEADER = "X-Chartline"
"""What our pages send with every request of a script: `desk`, or `background` where nobody did anything, which does not
keep the session from running out. A form of another site cannot set it, and a script there would have to ask (CORS)."""

BACKGROUND = "background"

_READS = frozenset({"GET", "HEAD"})

_bearer = HTTPBearer(auto_error=False, description="A token of `chartline token create`, or of `POST /v1/login`.")


class PersonNeededError(DeniedError):
    """Only a person can do this, and the token stands for nobody."""

    code = "person-needed"


GUARDED: dict[int | str, dict[str, Any]] = declared(TokenError, ScopeError)
"What every route may answer that needs a token."

READING: dict[int | str, dict[str, Any]] = declared(TokenError, ScopeError, VaultUnavailableError)
"... and that opens what is sealed."


def instance_of(request: Request) -> Instance:
    """Return the open instance that this API serves."""
    instance = request.app.state.instance
    assert isinstance(instance, Instance)  # noqa: S101 - put there by hub.api.app.create
    return instance


InstanceDep = Annotated[Instance, Depends(instance_of)]


def ours(headers: Headers, base_url: str) -> bool:
    """Return whether a page of ours made the request, as far as the browser says; False where it says nothing.

    `Sec-Fetch-Site` where there is one (W3C Fetch Metadata), otherwise `Origin` (RFC 6454): the host that was asked, or
    the address by which others call this hub.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(headers.get("origin", ""))
    if origin.scheme not in {"http", "https"} or not origin.netloc:
        return False
    return origin.netloc == headers.get("host") or f"{origin.scheme}://{origin.netloc}" == base_url


def _cookie_of(request: Request, instance: Instance) -> str | None:
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is None or request.method in _READS:
        return cookie
    if PAGE_HEADER not in request.headers:
        return None
    return cookie if ours(request.headers, instance.policy()[1].http.base_url) else None


async def token_of(
    request: Request,
    instance: InstanceDep,
    shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> tuple[Token, Actor]:
    """Return the token that came with the request, and who shows it.

    Raises:
        TokenError: no bearer token, or one that opens nothing.
    """
    if shown is not None:
        return await opened(instance, shown.credentials)
    background = request.headers.get(PAGE_HEADER) == BACKGROUND
    return await opened(instance, _cookie_of(request, instance), cookie=True, used=not background)


async def opened(
    instance: Instance, secret: str | None, *, cookie: bool = False, used: bool = True
) -> tuple[Token, Actor]:
    """Return the token of `secret` and who shows it; with `used` that counts as a use of it.

    Raises:
        TokenError: there is none, or it opens nothing; from a cookie, also what is no session.
    """
    if secret is None:
        raise TokenError("a bearer token is needed")
    now = instance.clock()

    def look(db: Session) -> tuple[Token, Actor]:
        row, owner = token.find(db, secret, now)
        if row.kind is TokenKind.LOGIN:
            raise TokenError("this token opens a session, nothing else")
        if cookie and row.kind is not TokenKind.SESSION:
            raise TokenError("a cookie holds a session, nothing else")
        return row, actor_of(row, owner)

    row, actor = await instance.db.run(look)
    if used and token.due(row, now):
        await instance.db.run(lambda db: token.used(db, row.id, now), write=True)
    return row, actor


def actor_of(row: Token, owner: Staff | None) -> Actor:
    """Return who shows a token, and what it lets them do now."""
    name = str(owner.id) if owner is not None else f"token:{row.id}"
    return access.actor_of(name, roles=None if owner is None else owner.roles, token=row.scopes)


TokenDep = Annotated[tuple[Token, Actor], Depends(token_of)]


async def allowed(scopes: SecurityScopes, shown: TokenDep) -> Actor:
    """Return who asks, if they may do all that the route needs.

    Raises:
        ScopeError: they may not.
    """
    _, actor = shown
    for scope in scopes.scopes:
        actor.need(Scope(scope))
    return actor


def needs(*scopes: Scope) -> Any:
    """Return a dependency that lets in who may do all of `scopes`, and returns them as `Actor`."""
    return Security(allowed, scopes=list(scopes))


def person_of(actor: Actor) -> UUID:
    """Return the staff id of who asks.

    Raises:
        PersonNeededError: it is a program.
    """
    try:
        return UUID(actor.id)
    except ValueError:
        raise PersonNeededError("this token stands for nobody") from None


def session_of(request: Request) -> str:
    """Return the id under which this request stands in the audit log."""
    return f"request:{number_of(request)}"


SessionDep = Annotated[str, Depends(session_of)]
