"""The audit log, checked by itself."""

import base64
import binascii
from pathlib import Path
from typing import Annotated

import sqlcipher3.dbapi2 as sqlcipher
import typer

from hub.cli.instance import DirOption, JsonOption, paths_of, show
from hub.errors import ChartlineError
from hub.vault import verify as log

audit = typer.Typer(help="Who saw what.", no_args_is_help=True)


class AuditBrokenError(ChartlineError):
    """The audit log does not verify."""

    code = "audit-broken"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(audit, name="audit")


@audit.command()
def verify(
    directory: DirOption,
    seen: Annotated[str | None, typer.Option(metavar="SIZE:ROOT", help="What an earlier run printed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read every record again, and check chain, tree and signatures; names the first bad record.

    Keep what it prints somewhere else: given back as --seen, it shows that nothing was cut off or written anew since.
    """
    verdict = _checked(paths_of(directory).root, _witness(seen))
    root = base64.b64encode(verdict.root).decode()
    said = {"records": verdict.records, "root": root, "first_bad": verdict.first_bad, "reason": verdict.reason}
    if not verdict.good:
        if as_json:
            show(said, as_json=True, text="")
        raise AuditBrokenError(f"record {verdict.first_bad} is bad: {verdict.reason}")
    show(said, as_json=as_json, text=f"{verdict.records} records verify; seen {verdict.records}:{root}")


def _checked(root: Path, seen: tuple[int, bytes] | None) -> log.Verdict:
    database, key, public = log.instance(root)
    try:
        return log.verify(log.read(database, key), public, seen=seen)
    except sqlcipher.Error as error:
        raise AuditBrokenError(f"the audit log cannot be read: {type(error).__name__}") from None


def _witness(seen: str | None) -> tuple[int, bytes] | None:
    if seen is None:
        return None
    size, _, root = seen.partition(":")
    try:
        return int(size), base64.b64decode(root, validate=True)
    except (ValueError, binascii.Error):
        raise typer.BadParameter("write SIZE:ROOT as an earlier run printed it", param_hint="--seen") from None
