"""The audit log, checked by itself."""

from dataclasses import asdict

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
def verify(directory: DirOption, as_json: JsonOption = False) -> None:
    """Read every record again, and check chain, tree and signatures; names the first bad record."""
    database, key, public = log.instance(paths_of(directory).root)
    verdict = log.verify(log.read(database, key), public)
    said = {"records": verdict.records, "first_bad": verdict.first_bad, "reason": verdict.reason}
    said["root"] = asdict(verdict)["root"].hex()
    if verdict.first_bad is not None:
        if as_json:
            show(said, as_json=True, text="")
        raise AuditBrokenError(f"record {verdict.first_bad} is bad: {verdict.reason}")
    show(said, as_json=as_json, text=f"{verdict.records} records verify")
