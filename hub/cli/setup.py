"""Making an instance, and what state it is in."""

import json
import secrets
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from connectors import host
from hub.cli.instance import DirOption, JsonOption, opened, paths_of, show
from hub.db import now
from hub.demo import practice as sandbox_practice
from hub.errors import ConflictError
from hub.instance import Instance
from hub.record import inbox, policy, schema, staff
from hub.settings import Paths, load
from hub.vault import keys
from hub.vault.client import Vault, VaultUnavailableError

TEMPLATE = Path(__file__).with_name("practice.toml")
ADMIN = "admin@localhost"


class InstanceExistsError(ConflictError):
    """There is an instance in that directory already."""

    code = "instance-exists"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(init)
    app.command()(status)


def init(
    directory: Annotated[Path, typer.Argument(help="A directory that does not exist yet.")],
    sandbox: Annotated[bool, typer.Option("--sandbox", help="A practice to try, on this machine alone.")] = False,
) -> None:
    """Make an instance: keys, databases, practice.toml, and a login to begin with."""
    text = sandbox_practice.practice_toml() if sandbox else TEMPLATE.read_text()
    password = make(Paths(directory.resolve()), text, sandbox=sandbox)
    print(f"made {directory}")
    print(f"login {ADMIN} with the one-time password {password}")
    print(f"next: edit {directory}/practice.toml, then chartline apply and chartline up --dir {directory}")


def make(paths: Paths, text: str, *, sandbox: bool = False) -> str:
    """Make an instance whose policy is `text`, and return the admin's one-time password.

    Raises:
        InstanceExistsError: there is one.
        SettingsError: the policy does not hold together; nothing was made.
    """
    if paths.keys.exists() or paths.db.exists():
        raise InstanceExistsError(f"{paths.root} holds an instance already")
    load(text, connectors=host.installed())
    for directory in (paths.root, paths.keys, paths.audit, paths.media, paths.backups, paths.run, paths.log):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sandbox:
        sandbox_practice.make_secrets(paths)
    keys.init(paths, uuid4())
    if not paths.practice_toml.exists():
        paths.practice_toml.write_text(text)
    password = secrets.token_urlsafe(12)
    with opened(paths.root) as instance:
        schema.create(instance.db)
        schema.create(instance.inbox)
        instance.vault.settle()
        with instance.db.write() as db:
            policy.publish(db, text, None, by="system:init", now=now())
            staff.follow(db, load(text), now())
            staff.add(db, email=ADMIN, roles=["admin"], now=now(), password=password)
    return password


def status(directory: DirOption, as_json: JsonOption = False) -> None:
    """Say which processes run and what waits for a person."""
    paths = paths_of(directory)
    found = _processes(paths)
    if found["vault"]["running"]:
        with opened(directory) as instance:
            found |= _work(instance)
    lines = [f"{name:10} {json.dumps(value)}" for name, value in found.items()]
    show(found, as_json=as_json, text="\n".join(lines))


def _processes(paths: Paths) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in ("temporal", "vault", "hub", "feeds", "worker", "media"):
        found[part] = {"running": (paths.run / f"{part}.pid").exists()}
    vault = Vault(paths.vault_socket, timeout=0.5)
    try:
        found["vault"] = {"running": True, **vault.health()}
    except VaultUnavailableError:
        found["vault"] = {"running": False}
    finally:
        vault.close()
    return found


def _work(instance: Instance) -> dict[str, Any]:
    version, practice = instance.policy()
    with instance.inbox.read() as db:
        feeds = {c.name: inbox.counts(db, c.name) for c in practice.connections}
    return {"policy": version, "feeds": feeds}
