"""Tokens for programs, and for people's own programs."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlmodel import col, select

from hub.cli.instance import DirOption, JsonOption, opened, operator, show
from hub.cli.staff import person
from hub.db import now
from hub.errors import NotFoundError
from hub.record import token
from hub.record.staff import Staff
from hub.record.token import Token, TokenKind
from hub.security import access, intent
from hub.security.access import Scope, UnknownScopeError

tokens = typer.Typer(help="Tokens for programs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(tokens, name="token")


@tokens.command()
def create(
    directory: DirOption,
    scopes: Annotated[str, typer.Option(help="Comma-separated, such as calls:read,pops.")],
    email: Annotated[str | None, typer.Option("--for", help="The person it stands for; nobody by default.")] = None,
    days: Annotated[int, typer.Option(min=1, max=366)] = 90,
    as_json: JsonOption = False,
) -> None:
    """Make a token; its secret is shown once. It allows what both its scopes and the person's roles allow."""
    wanted = _scopes(scopes)
    with opened(directory) as instance, instance.db.write() as db:
        owner = person(db, email) if email else None
        row, secret = token.create(
            db, scopes=wanted, now=now(), lifetime=timedelta(days=days), staff_id=owner.id if owner else None
        )
        intent.note(db, operator(), "token.create", (), {"token": str(row.id)})
    allowed = access.actor_of("", roles=owner.roles, token=None).scopes if owner else wanted
    idle = sorted(wanted - allowed)
    value = {"id": row.id, "token": secret, "expires_at": row.expires_at.isoformat(), "without_effect": idle}
    lines = [secret, *(f"{scope} has no effect: the roles of that person do not allow it" for scope in idle)]
    show(value, as_json=as_json, text="\n".join(lines))


@tokens.command("list")
def list_(directory: DirOption, as_json: JsonOption = False) -> None:
    """Show the tokens that still open something, newest first; never their secrets."""
    with opened(directory) as instance, instance.db.read() as db:
        query = (
            select(Token, Staff)
            .join(Staff, col(Staff.id) == col(Token.staff_id), isouter=True)
            .where(Token.kind == TokenKind.API, col(Token.revoked_at).is_(None), col(Token.expires_at) > now())
        )
        rows = list(db.exec(query.order_by(col(Token.id).desc())))
    items: list[dict[str, Any]] = [
        {
            "id": row.id,
            "begins": row.prefix,
            "for": None if owner is None else owner.email,
            "scopes": row.scopes,
            "expires_at": row.expires_at.isoformat(),
            "used_at": None if row.used_at is None else row.used_at.isoformat(),
        }
        for row, owner in rows
    ]
    lines = [
        f"{item['id']} {item['begins']}... {item['for'] or 'a program'} until {item['expires_at']}: "
        + ",".join(item["scopes"])
        for item in items
    ]
    show({"items": items}, as_json=as_json, text="\n".join(lines) or "no tokens")


@tokens.command()
def revoke(token_id: UUID, directory: DirOption, as_json: JsonOption = False) -> None:
    """Take a token back, by the id that `token list` shows; it opens nothing any more."""
    with opened(directory) as instance, instance.db.write() as db:
        if db.get(Token, token_id) is None:
            raise NotFoundError("there is no such token")
        token.revoke(db, token_id, now())
        intent.note(db, operator(), "token.revoke", (), {"token": str(token_id)})
    show({"id": token_id, "revoked": True}, as_json=as_json, text=f"{token_id} is revoked")


def _scopes(names: str) -> frozenset[Scope]:
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise typer.BadParameter("give at least one", param_hint="--scopes")
    try:
        return access.parse(wanted)
    except UnknownScopeError as error:
        raise typer.BadParameter(str(error), param_hint="--scopes") from None
