"""The practice's policy: validate, show what changes, publish."""

from pathlib import Path
from typing import Annotated

import typer

from connectors import host
from hub.cli.instance import DirOption, JsonOption, opened, operator, show
from hub.db import now
from hub.record import policy, staff
from hub.settings import diff, load


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(apply)


def apply(
    file: Annotated[Path, typer.Argument(help="A practice.toml.", exists=True, dir_okay=False)],
    directory: DirOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and show the difference only.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Validate a policy, show what it changes, and publish it as the next version; nothing is half applied."""
    text = file.read_text()
    wanted = load(text, file=file.name, connectors=host.installed())
    with opened(directory) as instance:
        base, present = instance.policy()
        changes = diff(present, wanted)
        version = base
        if not dry_run:
            with instance.db.write() as db:
                version = policy.publish(db, text, base, by=operator().actor, now=now())
                staff.follow(db, wanted, now())
    verb = "would change" if dry_run else "published"
    lines = [f"{verb}: version {version}", *changes] if changes else ["no change"]
    show({"version": version, "published": not dry_run, "changes": changes}, as_json=as_json, text="\n".join(lines))
