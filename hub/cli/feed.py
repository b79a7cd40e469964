"""What feeds delivered: run quarantined messages again, or feed files by hand."""

import asyncio
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors import host
from connectors.api import Reads, RejectedError
from connectors.hl7v2.ack import control_id_of
from connectors.hl7v2.mllp import Framer
from hub.cli.instance import DirOption, JsonOption, opened, operator, show
from hub.errors import NotFoundError, UsageError
from hub.instance import Instance
from hub.record import inbox
from hub.record.inbox import Arrival
from hub.settings import Connection
from hub.temporal import TemporalUnavailableError, connect, wake_feed

feed = typer.Typer(help="What connections delivered.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(feed, name="feed")


@feed.command()
def replay(
    directory: DirOption,
    connection: Annotated[str, typer.Option(help="Name of the connection.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Messages; without any, what is in quarantine.")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Say what would be understood; store nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run messages through a connection again: those in quarantine, or those in files."""
    with opened(directory) as instance:
        found = _connection(instance, connection)
        if not files:
            said = _released(instance, connection, dry=dry)
        else:
            messages = [message for file in files for message in _messages(file.read_bytes())]
            said = _tried(instance, found, messages) if dry else _stored(instance, connection, messages)
        if not dry:
            said["woken"] = asyncio.run(_wake(instance, connection))
    show(said, as_json=as_json, text=", ".join(f"{name} {value}" for name, value in said.items()))


def _connection(instance: Instance, name: str) -> Connection:
    _, practice = instance.policy()
    found = practice.find_connection(name)
    if found is None:
        raise NotFoundError(f"no connection is called {name}")
    return found


def _released(instance: Instance, connection: str, *, dry: bool) -> dict[str, Any]:
    if dry:
        with instance.inbox.read() as db:
            return {"quarantined": sum(inbox.reasons(db, connection).values())}
    with instance.inbox.write() as db:
        return {"released": inbox.release(db, connection)}


def _tried(instance: Instance, connection: Connection, messages: list[bytes]) -> dict[str, Any]:
    _, practice = instance.policy()
    connector = host.build(connection.connector, connection.settings, host.secrets(instance.paths.root, os.environ))
    if not isinstance(connector, Reads):
        raise UsageError(f"{connection.connector} reads no messages")
    said: dict[str, Any] = {"messages": len(messages), "understood": 0}
    for raw in messages:
        try:
            connector.read(raw, timezone=practice.practice.zone, region=practice.practice.region)
            said["understood"] += 1
        except RejectedError as error:
            said[error.reason] = said.get(error.reason, 0) + 1
    return said


def _stored(instance: Instance, connection: str, messages: list[bytes]) -> dict[str, Any]:
    arrivals = [Arrival(connection, control_id_of(raw), raw) for raw in messages]
    with instance.inbox.write() as db:
        new = inbox.store(
            db, arrivals, seal=instance.sealer, index=instance.index, now=instance.clock(), by=operator().actor
        )
    return {"messages": len(messages), "new": sum(new)}


def _messages(data: bytes) -> list[bytes]:
    """Return the messages of a file: MLLP frames, or HL7 v2 messages one after the other."""
    if b"\x0b" in data:
        return [frame.body for frame in Framer().feed(data)]
    starts = [found.start() for found in re.finditer(rb"(?m)^MSH", data.replace(b"\r", b"\n"))]
    return [data[start:end] for start, end in pairwise([*starts, len(data)])]


async def _wake(instance: Instance, connection: str) -> bool:
    try:
        client = await connect(instance.paths, instance.keys, os.environ)
        await wake_feed(client, connection)
    except TemporalUnavailableError:
        return False  # the rows are the truth; the flow looks by itself
    return True
