"""What the class itself says, and what all its calls together showed of it."""

import re

from connectors.api import Feeds, FindsPatients, Logs, Reads, ReadsCharts, Sends, SetsStatus, Verifies
from connectors.kit.bench import Bench
from connectors.kit.case import names_in
from connectors.kit.checks.check import Check, has
from connectors.kit.error import Failed

SECRET = re.compile(r"(^|_)(token|secret|password|passphrase|key|credential)s?$")
"Names of settings that can only be secrets."

CAPABILITIES = {
    "changes": Feeds,
    "find_patients": FindsPatients,
    "chart": ReadsCharts,
    "set_status": SetsStatus,
    "log": Logs,
    "send": Sends,
    "read": Reads,
    "verify": Verifies,
}
"Methods that a case must expect something of."


async def covered(bench: Bench) -> None:
    """The case expects something of every method."""
    expected = bench.case.plan.expect
    bare = [name for name, one in CAPABILITIES.items() if has(bench, one) and not getattr(expected, name)]
    if bare:
        raise Failed("nothing-expected", ", ".join(f"[[expect.{name}]]" for name in bare))


async def secret_settings(bench: Bench) -> None:
    """Every setting that is a secret by its name, or that the server is shown, is a SecretStr."""
    auth = bench.case.plan.auth
    shown = set()
    if auth is not None:
        template = auth.assertion.key if auth.assertion else auth.value
        shown = {name for name in names_in(template) if not name.startswith("basic:")}
    open_ = [
        name
        for name in bench.kind.Settings.model_fields
        if (SECRET.search(name) or name in shown) and name not in bench.secret_names
    ]
    if open_:
        raise Failed("secret-in-clear", ", ".join(open_))


async def undeclared_field(bench: Bench) -> None:
    """No fact held a field of a scope that the connector does not declare."""
    if bench.watch.undeclared:
        raise Failed("scope-not-declared", ", ".join(sorted(bench.watch.undeclared)))


async def undeclared_host(bench: Bench) -> None:
    """Every request went to a host of the settings."""
    if bench.watch.strangers:
        raise Failed("host-not-in-settings", ", ".join(sorted(bench.watch.strangers)))


async def own_socket(bench: Bench) -> None:
    """The connector opened nothing by itself."""
    if bench.watch.opened:
        raise Failed("opened-by-itself", ", ".join(sorted(bench.watch.opened)))


DECLARED = (Check("covered", covered), Check("secret-settings", secret_settings))

SEEN = (
    Check("undeclared-field", undeclared_field, judges=True),
    Check("undeclared-host", undeclared_host, judges=True),
    Check("own-socket", own_socket, judges=True),
)
