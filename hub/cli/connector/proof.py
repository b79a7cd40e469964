"""Prove a connector by the kit: from its recording, or against the live system of a connection."""

import asyncio
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors import host, kit
from connectors.api import API, AnyConnector, Connector
from hub.cli.instance import JsonOption
from hub.errors import ChartlineError, UsageError

OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="CHECK", help="Run this check alone; may be given several times.")
]
JunitOption = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML there, too.")]


class ChecksFailedError(ChartlineError):
    """A connector does not hold what the kit asks."""

    code = "connector-checks-failed"


class CaseUnusableError(UsageError):
    """The recording of a connector cannot be used."""

    code = "kit-case-invalid"


def register(app: typer.Typer) -> None:
    """Add the verbs to the group."""
    app.command()(check)


def check(
    connector: Annotated[str, typer.Argument(metavar="NAME|MODULE:CLASS", help="Installed, or in this directory.")],
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="DIR", help="The case; `kit` beside the module by default.")
    ] = None,
    only: OnlyOption = None,
    junit: JunitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove a connector from its recording, in a few seconds and without a network; fails if any check does."""
    if unknown := [name for name in only or () if name not in kit.names()]:
        raise typer.BadParameter(f"no check is called {unknown[0]}", param_hint="--only")
    with _here():
        kind = kind_of(connector)
        directory = replay or Path(inspect.getfile(kind)).parent / "kit"
        if not directory.is_dir():
            raise CaseUnusableError(f"there is no case: {directory} is no directory")
        try:
            report = asyncio.run(kit.run(kind, kit.Case.load(directory), only=only or ()))
        except kit.CaseError as error:
            raise CaseUnusableError(str(error)) from None
    tell(report, junit=junit, as_json=as_json)


def tell(report: kit.Report, *, junit: Path | None, as_json: bool) -> None:
    """Show a report, and write it as JUnit XML where that is asked for.

    Raises:
        ChecksFailedError: a check failed.
    """
    if junit is not None:
        junit.write_text(report.junit(), encoding="utf-8")
    print(report.as_json() if as_json else report.table().rstrip())
    failed = [result.check for result in report.results if result.verdict == "failed"]
    if failed:
        raise ChecksFailedError(f"{len(failed)} of {len(report.results)} checks failed: {', '.join(failed)}")


def kind_of(named: str) -> type[AnyConnector]:
    """Return the connector of that name, or the class at `module:Class`.

    Raises:
        UnknownConnectorError, UnfitConnectorError: see `host.load`.
    """
    if ":" not in named:
        return host.load(named)
    found: Any
    try:
        found = pkgutil.resolve_name(named)
    except Exception as error:
        # Whatever a foreign module raises while it is imported is one thing here: it cannot be used.
        raise host.UnfitConnectorError(f"{named} does not import: {type(error).__name__}") from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise host.UnfitConnectorError(f"{named} is not a subclass of Connector")
    if found.api != API:
        raise host.UnfitConnectorError(f"{named} speaks version {found.api} of the interface, not {API}")
    return found


@contextmanager
def _here() -> Iterator[None]:
    """Find modules in the working directory, too: the package that somebody works on need not be installed."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
