"""The `chartline` command: one module for each group of verbs.

Exit codes: 0 done, 1 failed with a one-line reason, 2 wrong usage.
"""

import sys

import typer
from click.exceptions import ClickException, Exit

from connectors.api import ConnectorError
from hub.cli import audit, demo, feed, practice, run, setup, staff
from hub.errors import ChartlineError

app = typer.Typer(
    name="chartline",
    help="The phone line that reads the chart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
setup.register(app)
practice.register(app)
run.register(app)
staff.register(app)
audit.register(app)
feed.register(app)
demo.register(app)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except Exit as leaving:
        sys.exit(leaving.exit_code)
    except ClickException as wrong:
        wrong.show()
        sys.exit(2)
    except (ChartlineError, ConnectorError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
