"""What feeds delivered: run quarantined messages again, or feed files by hand."""

import asyncio
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors import host
from connectors.api import Reads, RejectedError
from connectors.hl7v2.ack import control_id_of
from connectors.hl7v2.explain import Finding
from connectors.hl7v2.explain import explain as hl7v2_explain
from connectors.hl7v2.mllp import Framer
from hub.cli.instance import DirOption, JsonOption, opened, operator, show
from hub.errors import NotFoundError, UsageError
from hub.instance import Instance
from hub.outside import connector_of
from hub.record import inbox
from hub.record.inbox import Arrival, Form, InboxMessage
from hub.settings import Connection, Practice
from hub.temporal import TemporalUnavailableError, connect, wake_feed

BATCH = 200
"Messages stored in one transaction: a call may wait for the file meanwhile."

MOST = 10_000
"Messages of a quarantine that are looked through."

EXPLAINED = 20
"Messages that are explained where nobody says how many: each may take a while."

feed = typer.Typer(help="What connections delivered.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(feed, name="feed")


class NoMessageError(UsageError):
    """A file holds no message of that connection's kind."""

    code = "no-message"


@feed.command()
def replay(
    directory: DirOption,
    connection: Annotated[str, typer.Option(help="Name of the connection.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Messages; without any, what is in quarantine.", exists=True, dir_okay=False),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Say what would be understood; store nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run messages through a connection again: those in quarantine, or those in files."""
    with opened(directory) as instance:
        named, connector = _connection(instance, connection)
        arrivals = [arrival for file in files or () for arrival in _arrivals(named, file)]
        if dry:
            raws = [arrival.raw for arrival in arrivals] if files else _quarantined(instance, connection)
            said = _tried(instance, connector, raws)
        else:
            said = _stored(instance, arrivals) if files else _released(instance, connection)
            said["woken"] = asyncio.run(_wake(instance, connection))
    show(said, as_json=as_json, text=", ".join(f"{name} {_plain(value)}" for name, value in said.items()))


@feed.command()
def explain(
    directory: DirOption,
    connection: Annotated[str, typer.Option(help="Name of the connection.")],
    most: Annotated[int, typer.Option(help="Messages that are looked at, oldest first.", min=1)] = EXPLAINED,
    as_json: JsonOption = False,
) -> None:
    """Say why messages are in quarantine and what else is wrong with them by the standard, without a word of theirs."""
    with opened(directory) as instance:
        named, connector = _connection(instance, connection)
        _, practice = instance.policy()
        with instance.inbox.read() as db:
            rows = [row for row in inbox.quarantined(db, connection, most) if row.form is Form.MESSAGE]
            raws = [fields["raw"] for fields in instance.opener.open(db, operator(), [*map(inbox.sealed_of, rows)])]
        said = [_explained(named, connector, practice, row, raw) for row, raw in zip(rows, raws, strict=True)]
    lines = [
        "\n".join([f"{one['row']}  {one['code']}  {one['at']}", *(f"  {fault}" for fault in one["faults"])])
        for one in said
    ]
    show({"messages": said}, as_json=as_json, text="\n".join(lines) or "nothing is in quarantine")


def _explained(
    connection: Connection, connector: Reads, practice: Practice, row: InboxMessage, raw: bytes
) -> dict[str, Any]:
    faults = []
    try:
        connector.read(raw, timezone=practice.practice.zone, region=practice.practice.region)
    except RejectedError as error:
        faults.append(f"reader: {error}")
    if connection.connector == "hl7v2":
        charset = connection.settings.get("charset") or ""
        faults += [f"standard: {_placed(finding)}" for finding in hl7v2_explain(raw, charset=charset)]
    return {"row": str(row.id), "code": row.code, "at": row.received_at.isoformat(timespec="seconds"), "faults": faults}


def _placed(finding: Finding) -> str:
    """Return a fault in a line: "PID (2): PID-3 missing"."""
    place = f"{finding.segment} ({finding.number})" if finding.number > 1 else finding.segment
    what = f"{finding.field} {finding.what}" if finding.field else finding.what
    return f"{place}: {what}" if place else what


def _connection(instance: Instance, name: str) -> tuple[Connection, Reads]:
    _, practice = instance.policy()
    found = practice.find_connection(name)
    if found is None:
        raise NotFoundError(f"no connection is called {name}; there are {', '.join(_names(practice)) or 'none'}")
    connector = connector_of(practice, found, host.secrets(instance.paths.root, os.environ))
    if not isinstance(connector, Reads):
        raise UsageError(f"{name} reads no messages: its connector asks for what changed")
    return found, connector


def _names(practice: Practice) -> list[str]:
    return [each.name for each in practice.connections]


def _released(instance: Instance, connection: str) -> dict[str, Any]:
    with instance.inbox.write() as db:
        return {"released": inbox.release(db, connection)}


def _quarantined(instance: Instance, connection: str) -> list[bytes]:
    """Open what is in quarantine, which is audited."""
    with instance.inbox.read() as db:
        rows = [row for row in inbox.quarantined(db, connection, MOST) if row.form is Form.MESSAGE]
        opened = instance.opener.open(db, operator(), [inbox.sealed_of(row) for row in rows])
    return [fields["raw"] for fields in opened]


def _tried(instance: Instance, connector: Reads, messages: list[bytes]) -> dict[str, Any]:
    """Count what would be understood, and why the rest would not."""
    _, practice = instance.policy()
    refused: Counter[str] = Counter()
    for raw in messages:
        try:
            connector.read(raw, timezone=practice.practice.zone, region=practice.practice.region)
        except RejectedError as error:
            refused[error.reason] += 1
    understood = len(messages) - refused.total()
    return {"messages": len(messages), "understood": understood, "refused": dict(sorted(refused.items()))}


def _stored(instance: Instance, arrivals: list[Arrival]) -> dict[str, Any]:
    by = operator().actor
    new = 0
    for at in range(0, len(arrivals), BATCH):
        with instance.inbox.write() as db:
            part = arrivals[at : at + BATCH]
            stored = inbox.store(db, part, seal=instance.sealer, index=instance.index, now=instance.clock(), by=by)
        new += sum(stored)
    return {"messages": len(arrivals), "new": new}


def _arrivals(connection: Connection, file: Path) -> Iterator[Arrival]:
    """Yield the messages of a file: MLLP frames, or HL7 v2 messages one after the other; one of any other kind.

    Raises:
        NoMessageError: there is none in it.
    """
    data = file.read_bytes()
    if connection.connector != "hl7v2":
        yield Arrival(connection.name, hashlib.sha256(data).hexdigest()[:32], data)
        return
    messages = _messages(data)
    if not messages:
        raise NoMessageError(f"{file} holds no HL7 v2 message")
    for raw in messages:
        yield Arrival(connection.name, control_id_of(raw), raw)


def _messages(data: bytes) -> list[bytes]:
    if b"\x0b" in data:
        return [frame.body for frame in Framer().feed(data)]
    starts = [found.start() for found in re.finditer(rb"(?m)^MSH", data.replace(b"\r", b"\n"))]
    return [data[start:end] for start, end in pairwise([*starts, len(data)])]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


async def _wake(instance: Instance, connection: str) -> bool:
    try:
        client = await connect(instance.paths, instance.keys, os.environ)
        await wake_feed(client, connection)
    except TemporalUnavailableError:
        return False  # the rows are the truth; the flow looks by itself
    return True
