"""Which connectors are installed, what each can do, and why one cannot be used."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any, get_args

import typer
from pydantic import SecretStr

from connectors import host
from connectors.api import (
    AnyConnector,
    Checks,
    Feeds,
    FindsPatients,
    Listens,
    Logs,
    Pages,
    Reads,
    ReadsCharts,
    Sends,
    SetsStatus,
    Verifies,
)
from hub.cli.instance import JsonOption, show

CAPABILITIES: dict[str, type] = {
    "check": Checks,
    "listen": Listens,
    "read": Reads,
    "changes": Feeds,
    "find_patients": FindsPatients,
    "page": Pages,
    "chart": ReadsCharts,
    "set_status": SetsStatus,
    "log": Logs,
    "send": Sends,
    "verify": Verifies,
}
"Each capability by the method whose presence it is."


def register(app: typer.Typer) -> None:
    """Add the verb to the group."""
    app.command("list")(list_)


def list_(as_json: JsonOption = False) -> None:
    """Show the installed connectors, what each can do and may say; one that cannot be used, with its reason."""
    items = list(described())
    show({"items": items}, as_json=as_json, text="\n".join(_lines(items)) or "no connectors are installed")


def described() -> Iterator[dict[str, Any]]:
    """Yield what there is to say of each installed connector, by name; of a name that two packages bring, of both."""
    taken: dict[str, str] = {}
    for point in host.points():
        package, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
        item = {"name": point.name, "package": package, "version": version, "class": point.value}
        if point.name in taken:
            reason = f"the package {taken[point.name]} brings a connector of that name, too"
            yield item | {"fit": False, "reason": reason}
            continue
        taken[point.name] = package
        yield item | _described(point)


def capabilities(kind: type[AnyConnector]) -> list[str]:
    """Return what a connector can do, as the names of its methods."""
    return [name for name, protocol in CAPABILITIES.items() if issubclass(kind, protocol)]


def _described(point: EntryPoint) -> dict[str, Any]:
    try:
        kind = host.load(point.name)
    except host.UnfitConnectorError as error:
        return {"fit": False, "reason": str(error)}
    return {
        "fit": True,
        "kind": kind.kind,
        "api": kind.api,
        "capabilities": capabilities(kind),
        "by_settings": dict(kind.by_settings),
        "scopes": sorted(kind.scopes),
        "settings": dict(_settings(kind)),
    }


def _settings(kind: type[AnyConnector]) -> Iterator[tuple[str, dict[str, bool]]]:
    for name, field in kind.Settings.model_fields.items():
        secret = SecretStr in {field.annotation, *get_args(field.annotation)}
        yield name, {"required": field.is_required(), "secret": secret}


def _lines(items: list[dict[str, Any]]) -> Iterator[str]:
    width = max((len(item["name"]) for item in items), default=0) + 2
    for item in items:
        head = f"{item['name']:{width}}{item['package']} {item['version']}"
        if not item["fit"]:
            yield f"{head}, cannot be used: {item['reason']}"
            continue
        yield f"{head}, {item['kind']}, API version {item['api']}"
        more = [f"{name} (with {setting})" for name, setting in item["by_settings"].items()]
        yield f"{'':{width}}can: {', '.join([*item['capabilities'], *more])}"
        yield f"{'':{width}}scopes: {', '.join(item['scopes'])}"
        settings = (_setting(name, how) for name, how in item["settings"].items())
        yield f"{'':{width}}settings: {', '.join(settings)}"


def _setting(name: str, how: dict[str, bool]) -> str:
    notes = [note for note in ("required", "secret") if how[note]]
    return f"{name} ({', '.join(notes)})" if notes else name
