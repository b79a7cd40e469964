"""The `chartline` command: one module for each group of verbs.

Exit codes: 0 done, 1 failed with a one-line reason, 2 wrong usage.
"""

import os
import sys
from collections.abc import Sequence

import structlog
import typer
from sqlalchemy.exc import DBAPIError

from connectors.api import ConnectorError
from hub.cli import audit, connector, demo, feed, practice, run, setup, staff, status, token
from hub.errors import ChartlineError

app = typer.Typer(
    name="chartline",
    help="The phone line that reads the chart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for group in (setup, practice, connector, run, status, staff, token, audit, feed, demo):
    group.register(app)


def main() -> None:
    """Run the command line and exit with its code; what it makes is its owner's alone."""
    os.umask(0o077)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what is printed may be read as JSON
    sys.exit(run_command())


def run_command(words: Sequence[str] | None = None) -> int:
    """Run one command, that of the process by default, and return its exit code."""
    try:
        app(args=words)
    except SystemExit as leaving:  # typer's way to end, also for wrong usage
        return leaving.code if isinstance(leaving.code, int) else 0
    except (ChartlineError, ConnectorError) as error:
        return _failed(str(error))
    except DBAPIError as error:  # its text would quote the statement
        return _failed(f"a database cannot be used: {type(error.orig).__name__}")
    except OSError as error:
        return _failed(": ".join(filter(None, [str(error.filename or ""), os.strerror(error.errno or 0)])))
    return 0


def _failed(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1
