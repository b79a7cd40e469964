"""Making an instance."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from hub.cli.instance import JsonOption, opened, show
from hub.cli.practice import checked, text_of
from hub.db import now
from hub.demo import practice as sandbox_practice
from hub.errors import ConflictError, UsageError
from hub.record import policy, schema, staff
from hub.settings import Paths
from hub.vault import keys

TEMPLATE = Path(__file__).with_name("practice.toml")
ADMIN = "admin@localhost"


class InstanceExistsError(ConflictError):
    """There is an instance in that directory already."""

    code = "instance-exists"


class DirectoryTakenError(UsageError):
    """The directory holds something else than a practice.toml and what it names."""

    code = "directory-taken"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(init)


def init(
    directory: Annotated[Path, typer.Argument(help="Where it is made; may hold a practice.toml already.")],
    sandbox: Annotated[bool, typer.Option("--sandbox", help="A practice to try, on this machine alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an instance: keys, databases, practice.toml, and a login to begin with."""
    paths = Paths(directory.resolve())
    if paths.practice_toml.exists():
        if sandbox:
            raise DirectoryTakenError(f"{directory} has a practice.toml; a sandbox brings its own")
        text = text_of(paths.practice_toml)
    else:
        text = sandbox_practice.practice_toml() if sandbox else TEMPLATE.read_text()
    password = make(paths, text, sandbox=sandbox)
    lines = [
        f"made {directory}",
        f"login {ADMIN} with the one-time password {password}",
        f"next: edit {directory}/practice.toml, then chartline apply --dir {directory}",
        f"      and chartline up --dir {directory}",
    ]
    said = {"directory": str(paths.root), "email": ADMIN, "password": password}
    show(said, as_json=as_json, text="\n".join(lines))


def make(paths: Paths, text: str, *, sandbox: bool = False) -> str:
    """Make an instance whose policy is `text`, and return the admin's one-time password.

    Secrets that the policy names need not be there yet. Where anything fails, nothing is left behind.

    Raises:
        InstanceExistsError: there is one.
        SettingsError: the policy does not hold together; nothing was made.
    """
    if paths.keys.exists() or paths.db.exists():
        raise InstanceExistsError(f"{paths.root} holds an instance already")
    practice = checked(text, paths.practice_toml.name)
    password = secrets.token_urlsafe(12)
    with _all_or_nothing(paths):
        for directory in (paths.root, paths.keys, paths.audit, paths.media, paths.backups, paths.run, paths.log):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sandbox:
            sandbox_practice.make_secrets(paths)
        keys.init(paths, uuid4())
        if not paths.practice_toml.exists():
            paths.practice_toml.write_text(text)
        with opened(paths.root) as instance:
            schema.create(instance.db)
            schema.create(instance.inbox)
            instance.vault.settle(timeout=60)  # the vault puts keys for new patients into the databases
            with instance.db.write() as db:
                policy.publish(db, text, None, by="system:init", now=now())
                staff.follow(db, practice, now())
                staff.add(db, email=ADMIN, roles=["admin"], now=now(), password=password)
    return password


@contextmanager
def _all_or_nothing(paths: Paths) -> Iterator[None]:
    """Take away what was made in the directory, if the block fails; what was there before stays."""
    existed = paths.root.exists()
    before = set(os.listdir(paths.root)) if existed else set()
    try:
        yield
    except BaseException:
        for name in set(os.listdir(paths.root)) - before if paths.root.exists() else ():
            made = paths.root / name
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        if not existed:
            shutil.rmtree(paths.root, ignore_errors=True)
        raise
