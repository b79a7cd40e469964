"""Add a connection to the practice's policy, or take one away, and publish that."""

import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from connectors import host
from connectors.api import AnyConnector, Scope
from hub.cli.connector.written import block, with_connection, without_connection
from hub.cli.instance import DirOption, JsonOption, opened, paths_of, show
from hub.cli.practice import checked, in_force, publish, text_of, told
from hub.errors import ConflictError, NotFoundError
from hub.security.address import literal_loopback
from hub.settings import Connection, Paths, Practice, load

NameArgument = Annotated[str, typer.Argument(metavar="CONNECTION", help="The connection's name in practice.toml.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Validate and show the difference only.")]

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class PolicyUnappliedError(ConflictError):
    """practice.toml says something else than the policy in force, which would be published along."""

    code = "policy-unapplied"


def register(app: typer.Typer) -> None:
    """Add the verbs to the group."""
    app.command()(add)
    app.command()(remove)


def add(
    connection: NameArgument,
    directory: DirOption,
    connector: Annotated[str, typer.Option("--connector", metavar="NAME", help="One of `connector list`.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting; a secret as env:NAME or file:PATH."),
    ] = None,
    scopes: Annotated[
        list[Scope] | None, typer.Option("--scope", metavar="SCOPE", help="Grant this, and no more than is named.")
    ] = None,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add a connection to practice.toml and publish that; comments and layout of the file stay."""
    paths = paths_of(directory)
    kind = host.load(connector)
    table: dict[str, Any] = {"name": connection, "connector": connector}
    if scopes:
        table["scopes"] = [scope.value for scope in scopes]
    if written := written_of(kind, settings or []):
        table["settings"] = written
    _named(table)
    host.settings_of(kind, written, host.secrets(paths.root, os.environ))

    def edited(text: str, practice: Practice) -> str:
        if practice.find_connection(connection):
            raise ConflictError(f"there is a connection {connection} already; remove it first, or edit practice.toml")
        return with_connection(text, table)

    said, wanted = _changed(paths, edited, dry_run=dry_run)
    said |= {"written": block(table), "advice": list(_advice(wanted, connection))}
    lines = [*told(said, dry_run=dry_run), *(["", block(table)] if dry_run else []), *said["advice"]]
    show(said, as_json=as_json, text="\n".join(lines))


def remove(
    connection: NameArgument, directory: DirOption, dry_run: DryOption = False, as_json: JsonOption = False
) -> None:
    """Take a connection out of practice.toml and publish that; what it delivered stays in the record."""

    def edited(text: str, practice: Practice) -> str:
        if practice.find_connection(connection) is None:
            there = ", ".join(each.name for each in practice.connections) or "none"
            raise NotFoundError(f"no connection is called {connection}; there are {there}")
        if any(each.counterparty == connection for each in practice.agreements):
            raise ConflictError(f"an [[agreement]] is about {connection}: take it out of practice.toml and apply first")
        return without_connection(text, connection)

    said, _ = _changed(paths_of(directory), edited, dry_run=dry_run)
    show(said, as_json=as_json, text="\n".join(told(said, dry_run=dry_run)))


def _named(table: dict[str, Any]) -> None:
    try:
        Connection.model_validate(table)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = fault["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(message, param_hint="CONNECTION") from None


def written_of(kind: type[AnyConnector], pairs: Sequence[str]) -> dict[str, Any]:
    """Return `KEY=VALUE` pairs as a table of settings; a dot in a key leads into a table.

    A value is TOML where the connector's setting takes that, and otherwise text as it stands.

    Raises:
        typer.BadParameter: not a pair, or a key twice.
    """
    read: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise typer.BadParameter("write KEY=VALUE", param_hint="--set")
        _put(read, key, _toml(value))
        _put(plain, key, value)
    return {key: read[key] if _fits(kind, key, read[key]) else plain[key] for key in read}


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    *way, last = key.split(".")
    for name in way:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise typer.BadParameter(f"{key} is given twice", param_hint="--set")
    if last in table:
        raise typer.BadParameter(f"{key} is given twice", param_hint="--set")
    table[last] = value


def _toml(value: str) -> Any:
    try:
        read = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return read["value"] if read.keys() == {"value"} else value


def _fits(kind: type[AnyConnector], key: str, value: Any) -> bool:
    field = kind.Settings.model_fields.get(key)
    if field is None or field.annotation is None:
        return True
    try:
        TypeAdapter[Any](field.annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def _changed(paths: Paths, edited: Callable[[str, Practice], str], *, dry_run: bool) -> tuple[dict[str, Any], Practice]:
    """Publish practice.toml as `edited` gives it, and write it; nothing happens where any of it fails.

    Raises:
        PolicyUnappliedError: the file holds changes that nobody published.
        SettingsError: it would not hold together.
    """
    file = paths.practice_toml
    text = text_of(file)
    with opened(paths.root) as instance:
        seen = in_force(instance)
        if text != seen[1]:
            raise PolicyUnappliedError(
                f"{file.name} has changes that are not published: chartline apply, then this again"
            )
        changed = edited(text, load(text, file=file.name))
        wanted = checked(changed, file.name, paths)
        if dry_run:
            return publish(instance, changed, wanted, seen=seen, dry_run=True), wanted
        with _replacing(file, changed):
            return publish(instance, changed, wanted, seen=seen), wanted


@contextmanager
def _replacing(file: Path, text: str) -> Iterator[None]:
    """Have `text` on the disk beside `file`, and in its place if the block ends well."""
    file = file.resolve()
    line = "\r\n" if b"\r\n" in file.read_bytes() else "\n"
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8", newline=line)
        shutil.copymode(file, fresh)
        yield
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


def _advice(practice: Practice, connection: str) -> Iterator[str]:
    """Yield what is still to be done before the connection may be of use."""
    found = practice.find_connection(connection)
    reached = host.addresses(found.connector, found.settings) if found else ()
    if any(not literal_loopback(name) for _, name, _ in reached) and all(
        each.counterparty != connection for each in practice.agreements
    ):
        yield f"no [[agreement]] is about {connection}: nothing about a patient goes there yet"
