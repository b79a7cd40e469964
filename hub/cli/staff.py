"""People, and their phones."""

import secrets
from typing import Annotated
from uuid import UUID

import typer
from sqlmodel import Session

from hub.cli.instance import DirOption, JsonOption, opened, operator, show
from hub.db import now
from hub.errors import NotFoundError
from hub.record import staff
from hub.record.staff import Staff
from hub.security import access, intent
from hub.settings import Practice

REALM = "chartline"
"What phones' passwords are bound to (RFC 7616 section 3.3)."

PASSWORD_BYTES = 12
"Random, of a password that is good for one login."

user = typer.Typer(help="The people who work here and their phones.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(user, name="user")


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
    roles, password = _roles(role), secrets.token_urlsafe(PASSWORD_BYTES)
    with opened(directory) as instance, instance.db.write() as db:
        row = staff.add(db, email=email, roles=roles, now=now(), password=password)
        _note(db, "staff.add", row.id)
    show({"email": row.email, "password": password}, as_json=as_json, text=f"{row.email} {password}")


@user.command()
def reset(email: str, directory: DirOption, as_json: JsonOption = False) -> None:
    """Give a person a new password that is good for one login."""
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with opened(directory) as instance, instance.db.write() as db:
        row = person(db, email)
        staff.set_password(db, row.id, password, must_change=True)
        _note(db, "staff.reset", row.id)
    show({"email": row.email, "password": password}, as_json=as_json, text=password)


@user.command()
def disable(email: str, directory: DirOption, as_json: JsonOption = False) -> None:
    """Take an account away: logins, tokens and phones stop working at once."""
    with opened(directory) as instance, instance.db.write() as db:
        row = staff.disable(db, person(db, email).id, by=operator().actor, now=now())
        _note(db, "staff.disable", row.id)
    said = {"email": row.email, "disabled_at": row.disabled_at}
    show(said, as_json=as_json, text=f"{row.email} is disabled")


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
        if not number.isascii() or not number.isdigit():
            raise typer.BadParameter("an extension is digits", param_hint="--extension")
        with instance.db.write() as db:
            row = person(db, email)
            secret = staff.add_device(db, row.id, number, REALM, now())
            _note(db, "staff.device", row.id)
        sip = practice.sip.udp
    value = {"extension": number, "realm": REALM, "registrar": f"sip:{sip}", "password": secret}
    show(value, as_json=as_json, text=f"extension {number} at sip:{sip} password {secret}")


def _roles(names: list[str]) -> list[str]:
    unknown = sorted(set(names) - set(access.ROLES))
    if unknown:
        known = ", ".join(access.ROLES)
        raise typer.BadParameter(f"no such role: {', '.join(unknown)}; there are {known}", param_hint="--role")
    return list(dict.fromkeys(names))


def _note(db: Session, act: str, staff_id: UUID) -> None:
    intent.note(db, operator(), act, (), {"staff": str(staff_id)})


def _extension_of(practice: Practice, email: str) -> str:
    for member in practice.staff:
        if member.email.lower() == email.strip().lower() and member.extension:
            return member.extension
    raise NotFoundError("that person has no extension in practice.toml; give --extension")
