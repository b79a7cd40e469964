"""Who makes a request: the bearer token, what its owner's roles allow, and what the audit log will say of them.

A browser that goes from page to page shows no bearer token: for what only reads (GET), the session of a login counts
from its cookie as well. What writes wants the token, so that no other site can make a browser write.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from sqlmodel import Session

from hub.api.guard import number_of
from hub.api.problem import declared
from hub.errors import DeniedError
from hub.instance import Instance
from hub.record import token
from hub.record.token import Token, TokenError, TokenKind
from hub.security import access
from hub.security.access import Actor, Scope, ScopeError
from hub.vault.client import VaultUnavailableError

SESSION_COOKIE = "chartline_session"
"Set by a login; its value is the session's token."

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


async def token_of(
    request: Request,
    instance: InstanceDep,
    shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> tuple[Token, Actor]:
    """Return the token that came with the request, and who shows it.

    Raises:
        TokenError: no bearer token, or one that opens nothing.
    """
    cookie = request.cookies.get(SESSION_COOKIE) if request.method == "GET" else None
    secret, now = shown.credentials if shown is not None else cookie, instance.clock()
    if secret is None:
        raise TokenError("a bearer token is needed")

    def look(db: Session) -> tuple[Token, Actor]:
        row, owner = token.find(db, secret, now)
        if row.kind is TokenKind.LOGIN:
            raise TokenError("this token opens a session, nothing else")
        if shown is None and row.kind is not TokenKind.SESSION:
            raise TokenError("a cookie holds a session, nothing else")
        name = str(owner.id) if owner is not None else f"token:{row.id}"
        return row, access.actor_of(name, roles=None if owner is None else owner.roles, token=row.scopes)

    row, actor = await instance.db.run(look)
    if token.due(row, now):
        await instance.db.run(lambda db: token.used(db, row.id, now), write=True)
    return row, actor


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
