"""The practice's policy: validate, show what changes, publish, prepare what callers will hear."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from connectors import host
from hub.cli.instance import DirOption, JsonOption, opened, operator, paths_of, show
from hub.db import now
from hub.errors import NotFoundError, SettingsError
from hub.instance import Instance
from hub.record import policy, staff
from hub.security import intent
from hub.settings import Connection, Paths, Practice, diff, load
from hub.settings.draft import Draft
from hub.settings.position import Positions

RESTART = "(needs a restart)"
"Ends the line of a change that running processes do not follow."

_LINE = re.compile(r":(\d+): ")


class NoPolicyFileError(NotFoundError):
    """There is no practice.toml to read."""

    code = "no-policy-file"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(apply)


def apply(
    directory: DirOption,
    file: Annotated[Path | None, typer.Argument(help="A practice.toml; by default the instance's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and show the difference only.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Validate a policy, show what it changes, and publish it as the next version; nothing is half applied.

    Accounts follow [[staff]] in the same transaction. Then prompts are prepared, and it is told what callers will hear.
    """
    paths = paths_of(directory)
    source = file or paths.practice_toml
    text = text_of(source)
    wanted = checked(text, source.name, paths)
    with opened(directory) as instance:
        said = publish(instance, text, wanted, dry_run=dry_run)
    if not dry_run:
        said |= _prompts(paths, source) if _says(wanted) else {"prompts": []}
    show(said, as_json=as_json, text="\n".join(told(said, dry_run=dry_run)))


def publish(
    instance: Instance, text: str, wanted: Practice, *, seen: tuple[int, str] | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Publish `text`, which says `wanted`, on top of what is in force, and return what that changed.

    `seen` is the version and text that the caller took for the ones in force. Shape: `version`, `published`, `changes`
    (lines), `restart`. With `dry_run` nothing is published.

    Raises:
        StalePolicyError: what was seen is not in force any more.
    """
    base, before = seen or in_force(instance)
    changes = _changes(before, wanted)
    version = base
    if not dry_run:
        with instance.db.write() as db:
            version = _published(db, text, base, wanted)
    restart = any(line.endswith(RESTART) for line in changes)
    return {"version": version, "published": version != base, "changes": changes, "restart": restart}


def in_force(instance: Instance) -> tuple[int, str]:
    """Return the version and the text of the policy in force."""
    with instance.db.read() as db:
        return policy.current(db)


def text_of(file: Path) -> str:
    """Read a practice.toml.

    Raises:
        NoPolicyFileError: it is not there, or may not be read.
        SettingsError: it is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError([f"{file.name}:{line}: not UTF-8"]) from None
    except OSError as error:
        raise NoPolicyFileError(f"{file}: {os.strerror(error.errno or 0)}") from None


def checked(text: str, file: str, paths: Paths | None = None) -> Practice:
    """Return the policy that `text` writes down, with the settings of each connection checked by its connector.

    With `paths`, everything that it names must be there: secrets, files, documents.

    Raises:
        SettingsError: with every problem, a line each, in the order of the text.
    """
    found: dict[str, Any] = {} if paths is None else {"env": os.environ, "root": paths.root}
    problems: list[str] = []
    practice: Practice | None = None
    try:
        practice = load(text, file=file, connectors=host.names(), **found)
    except SettingsError as error:
        problems = error.problems
    # What is missing was said already: then only the form of a secret is looked at.
    resolve = host.secrets(paths.root, os.environ) if paths is not None and practice is not None else None
    problems = [*problems, *_of_connections(text, file, resolve)]
    if practice is None or problems:
        raise SettingsError(sorted(dict.fromkeys(problems), key=_line_of))
    return practice


def _of_connections(text: str, file: str, resolve: host.Resolve | None) -> Iterator[str]:
    try:
        draft, positions = Draft(text, file), Positions(text)
    except tomllib.TOMLDecodeError:
        return
    for at, connection in draft.each("connection", Connection):
        try:
            host.settings_of(host.load(connection.connector), connection.settings, resolve)
        except host.UnknownConnectorError:
            continue  # that was said already
        except host.UnfitConnectorError as error:
            yield f"{file}:{positions.line_of(('connection', at, 'connector'))}: {error}"
        except host.ConnectionSettingsError as error:
            for path, what in error.problems:
                line = positions.line_of(("connection", at, "settings", *path))
                key = ".".join(map(str, path)) or "settings"
                yield f'{file}:{line}: "{key}" in [[connection]] "{connection.name}": {what}'


def _line_of(problem: str) -> int:
    found = _LINE.search(problem)
    return int(found[1]) if found else 0


def _changes(before: str, wanted: Practice) -> list[str]:
    try:
        return diff(load(before), wanted)
    except SettingsError:
        return ["~ the policy in force cannot be read any more; all of it is replaced"]


def _published(db: Session, text: str, base: int, wanted: Practice) -> int:
    at = now()
    version = policy.publish(db, text, base, by=operator().actor, now=at)
    if version != base:
        staff.follow(db, wanted, at)
        intent.note(db, operator(), "policy.publish", (), {"version": version}, at=at)
    return version


def _says(practice: Practice) -> bool:
    return any(menu.say for menu in practice.menus) or any(box.say for box in practice.voicemails)


def _prompts(paths: Paths, source: Path) -> dict[str, Any]:
    """Have the texts of the policy made into sound; the policy holds whether or not that can be done here."""
    command = [sys.executable, "-m", "media.prompts", "--dir", str(paths.root), "--json", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        return {"prompts": [], "prompts_fault": lines[-1]}
    return {"prompts": json.loads(done.stdout)}


def told(said: dict[str, Any], *, dry_run: bool) -> Iterator[str]:
    """Yield the lines in which a person is told what was published."""
    if dry_run:
        yield "would change" if said["changes"] else "no change"
    elif said["published"]:
        yield f"published version {said['version']}"
    else:
        yield f"no change: version {said['version']} stays in force"
    yield from said["changes"]
    for prompt in said.get("prompts", ()):
        yield f"{prompt['where']} ({prompt['language']}): {prompt['source']}, {prompt['detail']}"
    if "prompts_fault" in said:
        yield f"prompts not prepared: {said['prompts_fault']}"
    if said["restart"] and not dry_run:
        yield "restart the instance: a listener changed"
