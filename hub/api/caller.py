"""Who makes a request: the bearer token, what its owner's roles allow, and what the audit log will say of them."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel import Session

from hub.db import uuid7
from hub.instance import Instance
from hub.record import token
from hub.record.token import TokenError
from hub.security import access
from hub.security.access import Actor, Scope


def instance_of(request: Request) -> Instance:
    """Return the open instance that this API serves."""
    instance = request.app.state.instance
    assert isinstance(instance, Instance)  # noqa: S101 - put there by hub.api.app.create
    return instance


InstanceDep = Annotated[Instance, Depends(instance_of)]


async def actor_of(request: Request, instance: InstanceDep) -> Actor:
    """Return who asks.

    Raises:
        TokenError: no bearer token, or one that opens nothing.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise TokenError("a bearer token is needed")
    now = instance.clock()

    def look(db: Session) -> tuple[Actor, bool, token.Token]:
        row, owner = token.find(db, secret.strip(), now)
        name = str(owner.id) if owner is not None else f"token:{row.id}"
        roles = owner.roles if owner is not None else None
        return access.actor_of(name, roles=roles, token=row.scopes), token.due(row, now), row

    actor, due, row = await instance.db.run(look)
    if due:
        await instance.db.run(lambda db: token.used(db, row.id, now), write=True)
    return actor


ActorDep = Annotated[Actor, Depends(actor_of)]


def needs(scope: Scope) -> Callable[[Actor], Actor]:
    """Return a dependency that lets in who may do `scope`, and returns them."""

    def allowed(actor: ActorDep) -> Actor:
        actor.need(scope)
        return actor

    return allowed


def session_of(request: Request) -> str:
    """Return the id under which this request stands in the audit log."""
    kept = getattr(request.state, "session", None)
    if kept is None:
        kept = request.state.session = f"request:{uuid7()}"
    return str(kept)


SessionDep = Annotated[str, Depends(session_of)]
