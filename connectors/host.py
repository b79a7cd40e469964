"""Find the installed connectors, build one for a connection, and lend it a context: the only way to any of them.

kind = host.load("fhir")
connector = host.build("fhir", connection.settings, host.secrets(paths.root, os.environ))
ctx = host.context(connector, connection.name, http=await egress.open(...), clock=now, timezone=zone, region="US")
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import httpx
import structlog
from pydantic import SecretStr, ValidationError

from connectors.api import API, AnyConnector, Connector, ConnectorError, Context, Deliver, Scope, Settings
from connectors.scoping import guarded
from connectors.stream import Dial, lent
from connectors.transport import DEADLINE, TIMEOUT, ConnectorTransport, Origin, origins

GROUP = "chartline.connectors"
"The entry point group that a connector's package names itself in."

OWN = "chartline"
"The package that brings the built-in connectors."

Resolve = Callable[[str], str]
"Returns the secret that `env:NAME` or `file:PATH` stands for; raises LookupError or OSError where there is none."

logger = structlog.get_logger()


class UnknownConnectorError(ConnectorError):
    """No installed package brings a connector of that name."""

    code = "connector-unknown"
    status = 422


class UnfitConnectorError(ConnectorError):
    """The connector is installed, but it does not fit this version."""

    code = "connector-unfit"
    status = 422


class ConnectionSettingsError(ConnectorError):
    """The `settings` of a connection are not what its connector takes; `problems` has (path, text) of each fault."""

    code = "connection-settings-invalid"
    status = 422

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, path)) or 'settings'}: {text}" for path, text in problems))
        self.problems = problems


def names() -> tuple[str, ...]:
    """Return the names of the installed connectors, without importing any."""
    return tuple(sorted(point.name for point in entry_points(group=GROUP)))


def points() -> list[EntryPoint]:
    """Return what is installed, by name; of one name Chartline's own first, so that no package stands in for it."""
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, not _own(point)))


def _own(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == OWN


def load(name: str) -> type[AnyConnector]:
    """Return the connector class of that name.

    Raises:
        UnknownConnectorError: not installed.
        UnfitConnectorError: it does not import, is no connector, or speaks another version of the interface.
    """
    for point in points():
        if point.name == name:
            return _loaded(point)
    close = get_close_matches(name, names(), n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    raise UnknownConnectorError(f'no connector "{name}" is installed{hint}')


def _loaded(point: EntryPoint) -> type[AnyConnector]:
    try:
        found = point.load()
    except Exception as error:
        # Whatever a foreign package raises while it is imported is one thing here: it cannot be used.
        raise UnfitConnectorError(f'connector "{point.name}" does not import: {type(error).__name__}') from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise UnfitConnectorError(f'connector "{point.name}" is not a subclass of Connector')
    if found.api != API:
        raise UnfitConnectorError(f'connector "{point.name}" speaks version {found.api} of the interface, not {API}')
    for needed in ("name", "scopes", "Settings"):
        if not hasattr(found, needed):
            raise UnfitConnectorError(f'connector "{point.name}" does not say its {needed}')
    return found


def installed() -> dict[str, type[AnyConnector]]:
    """Return every connector that fits, by name; one that does not is left out and logged."""
    found: dict[str, type[AnyConnector]] = {}
    for connector in names():
        try:
            found[connector] = load(connector)
        except UnfitConnectorError as error:
            logger.warning("connector left out", connector=connector, code=error.code)
    return found


def secrets(root: Path, env: Mapping[str, str]) -> Resolve:
    """Return the resolution of `env:NAME` by `env` and `file:PATH` by files, relative ones under `root`."""

    def resolve(reference: str) -> str:
        kind, _, rest = reference.partition(":")
        if kind == "env":
            return env[rest]
        if kind == "file":
            return (root / rest).read_text(encoding="utf-8").rstrip("\n")
        raise LookupError("not a reference")

    return resolve


def settings_of(kind: type[AnyConnector], written: Mapping[str, Any], resolve: Resolve | None) -> Settings:
    """Return `written` as the connector's settings, with each secret in the place of its reference.

    Without `resolve` the references are checked by their form only, and stay as they are: enough to validate
    practice.toml on a machine that does not have the secrets.

    Raises:
        ConnectionSettingsError: unknown keys, wrong values, secrets written out or not to be had. It repeats no value.
    """
    problems: list[tuple[tuple[str | int, ...], str]] = []
    given = dict(written)
    for name in _secret_fields(kind.Settings) & given.keys():
        try:
            given[name] = _secret(given[name], resolve)
        except (LookupError, OSError, ValueError):
            problems.append(((name,), 'a secret is "env:NAME" or "file:PATH", and it must be there'))
    try:
        settings = kind.Settings.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        faulty = {path for path, _ in problems}
        problems += [(fault["loc"], _sentence(kind, fault)) for fault in faults if fault["loc"] not in faulty]
    if problems:
        raise ConnectionSettingsError(problems)
    return settings


def _secret(reference: Any, resolve: Resolve | None) -> str:
    if not isinstance(reference, str) or not reference.startswith(("env:", "file:")):
        raise ValueError("not a reference")
    return resolve(reference) if resolve else reference


def _secret_fields(model: type[Settings]) -> set[str]:
    return {
        name
        for name, field in model.model_fields.items()
        if field.annotation is SecretStr or SecretStr in get_args(field.annotation)
    }


def _sentence(kind: type[AnyConnector], fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        close = get_close_matches(str(fault["loc"][-1]), kind.Settings.model_fields, n=1)
        return "unknown key" + (f'; did you mean "{close[0]}"?' if close else "")
    return str(fault["msg"]).removeprefix("Value error, ")


def addresses(name: str, written: Mapping[str, Any]) -> frozenset[Origin]:
    """Return every address that a connection may reach: those that stand in its settings, and its connector's own.

    Where the connector is not there, or refuses the settings, those that stand there.
    """
    try:
        return reachable(settings_of(load(name), written, None))
    except ConnectorError:
        return origins(written)


def reachable(settings: Settings) -> frozenset[Origin]:
    """Return the addresses in settings, without those that are for people's browsers."""
    kept = {
        name
        for name, field in type(settings).model_fields.items()
        if not (isinstance(field.json_schema_extra, dict) and "for_browsers" in field.json_schema_extra)
    }
    return origins(settings.model_dump(mode="json", include=kept))


def build(
    name: str,
    written: Mapping[str, Any],
    resolve: Resolve,
    *,
    granted: Iterable[Scope] | None = None,
    fields: Iterable[str] = (),
) -> AnyConnector:
    """Return the connector of a connection, held to its declared scopes and to what the practice grants of them.

    `fields` is what agreements let a CRM be told; None for `granted` grants all that is declared.

    Raises:
        UnknownConnectorError, UnfitConnectorError, ConnectionSettingsError: see `load` and `settings_of`.
    """
    kind = load(name)
    return guarded(
        kind(settings_of(kind, written, resolve)),
        granted=None if granted is None else frozenset(granted),
        fields=frozenset(fields),
    )


def context(
    connector: AnyConnector,
    connection: str,
    *,
    http: httpx.AsyncClient,
    clock: Callable[[], datetime],
    timezone: ZoneInfo,
    region: str,
    deliver: Deliver | None = None,
    connect: Dial | None = None,
    deadline: float = DEADLINE,
) -> Context:
    """Return what `connector` works with for one call.

    `http` is what the egress gate opened, and stays its opener's to close, and `connect` is its way to what is not
    HTTP; `deadline` in seconds bounds each request.
    """
    for library in ("httpx", "httpcore"):  # they log addresses with their queries, and a query holds a phone number
        log = logging.getLogger(library)
        log.setLevel(max(log.level, logging.WARNING))
    allowed = reachable(connector.settings)
    client = httpx.AsyncClient(
        transport=ConnectorTransport(http, allowed, deadline=deadline),
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=False,
    )
    return Context(
        connection=connection,
        http=client,
        clock=clock,
        timezone=timezone,
        region=region,
        deliver=deliver,
        connect=None if connect is None else lent(connect, connector.settings),
    )


__all__ = [
    "GROUP",
    "ConnectionSettingsError",
    "Resolve",
    "UnfitConnectorError",
    "UnknownConnectorError",
    "addresses",
    "build",
    "context",
    "installed",
    "load",
    "names",
    "points",
    "reachable",
    "secrets",
    "settings_of",
]
