"""People, their phones, and tokens for programs."""

import secrets
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer
from sqlmodel import Session

from hub.cli.instance import DirOption, JsonOption, opened, operator, show
from hub.db import now
from hub.errors import NotFoundError, UsageError
from hub.record import staff, token
from hub.record.staff import Staff
from hub.security import access
from hub.settings import Practice

REALM = "chartline"
"What phones' passwords are bound to (RFC 7616 section 3.3)."

user = typer.Typer(help="The people who work here and their phones.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens for programs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(user, name="user")
    app.add_typer(tokens, name="token")


def person(db: Session, email: str) -> Staff:
    """Return the person with this address.

    Raises:
        NotFoundError: nobody.
    """
    row = staff.find(db, email)
    if row is None:
        raise NotFoundError("nobody has that address; name them under [[staff]] and apply, or: chartline user add")
    return row


@user.command()
def add(
    email: str,
    directory: DirOption,
    role: Annotated[list[str], typer.Option("--role", help="May be given several times.")],
    as_json: JsonOption = False,
) -> None:
    """Make an account; prints a password that is good for one login."""
    with opened(directory) as instance, instance.db.write() as db:
        password = secrets.token_urlsafe(12)
        row = staff.add(db, email=email, roles=_roles(role), now=now(), password=password)
    show({"email": row.email, "password": password}, as_json=as_json, text=f"{row.email} {password}")


@user.command()
def reset(email: str, directory: DirOption, as_json: JsonOption = False) -> None:
    """Give a person a new password that is good for one login."""
    with opened(directory) as instance, instance.db.write() as db:
        password = _one_time(db, person(db, email).id)
    show({"email": email, "password": password}, as_json=as_json, text=password)


@user.command()
def disable(email: str, directory: DirOption) -> None:
    """Take an account away: logins, tokens and phones stop working at once."""
    with opened(directory) as instance, instance.db.write() as db:
        staff.disable(db, person(db, email).id, by=operator().actor, now=now())
    print(f"{email} is disabled")


@user.command()
def device(
    email: str,
    directory: DirOption,
    extension: Annotated[str | None, typer.Option(help="The one in practice.toml, unless given.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a person's SIP phone a password; it is shown once."""
    with opened(directory) as instance:
        _, practice = instance.policy()
        number = extension or _extension_of(practice, email)
        with instance.db.write() as db:
            secret = staff.add_device(db, person(db, email).id, number, REALM, now())
        sip = practice.sip.udp
    value = {"extension": number, "realm": REALM, "registrar": f"sip:{sip}", "password": secret}
    show(value, as_json=as_json, text=f"extension {number} at sip:{sip} password {secret}")


@tokens.command()
def create(
    directory: DirOption,
    scopes: Annotated[str, typer.Option(help="Comma-separated, such as calls:read,pops.")],
    email: Annotated[str | None, typer.Option("--for", help="The person it stands for.")] = None,
    days: Annotated[int, typer.Option(min=1, max=366)] = 90,
    as_json: JsonOption = False,
) -> None:
    """Make a token; its secret is shown once."""
    wanted = access.parse(part.strip() for part in scopes.split(","))
    with opened(directory) as instance, instance.db.write() as db:
        owner = person(db, email).id if email else None
        row, secret = token.create(db, scopes=wanted, now=now(), lifetime=timedelta(days=days), staff_id=owner)
    value = {"id": str(row.id), "token": secret, "expires_at": row.expires_at.isoformat()}
    show(value, as_json=as_json, text=secret)


def _roles(names: list[str]) -> list[str]:
    unknown = sorted(set(names) - set(access.ROLES))
    if unknown:
        raise UsageError(f"no such role: {', '.join(unknown)}; there are {', '.join(access.ROLES)}")
    return names


def _one_time(db: Session, staff_id: UUID) -> str:
    password = secrets.token_urlsafe(12)
    staff.set_password(db, staff_id, password, must_change=True)
    return password


def _extension_of(practice: Practice, email: str) -> str:
    for member in practice.staff:
        if member.email.lower() == email.lower() and member.extension:
            return member.extension
    raise NotFoundError("that person has no extension in practice.toml; give --extension")
