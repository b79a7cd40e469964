"""Try a connection of the policy against the system that it leads to; nothing is changed there."""

import asyncio
import os
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx
import phonenumbers
import typer
from pydantic import SecretStr

from connectors import host, kit
from connectors.api import AnyConnector, Feeds, Settings
from connectors.kit.live import names
from connectors.kit.record import Recorder
from hub.cli.connector.proof import CaseUnusableError, JunitOption, OnlyOption, tell
from hub.cli.instance import DirOption, JsonOption, opened, operator
from hub.errors import NotFoundError
from hub.finder import GOES_OUT
from hub.instance import Instance
from hub.security.egress import NOTHING, Egress, EgressDeniedError
from hub.settings import Connection, Practice

FEED = ("appointments", "treatment")
"The class of data and the purpose of a feed, as agreements name them."

FEEDING = ("feed", "resume")
"Checks that ask for what a feed tells."

HARMLESS = frozenset({"check", "bad-key"})
"Checks that are about nobody, so that they need no agreement."


def register(app: typer.Typer) -> None:
    """Add the verb to the group."""
    app.command("test")(probe)


def probe(
    connection: Annotated[str, typer.Argument(metavar="CONNECTION", help="The connection's name in practice.toml.")],
    directory: DirOption,
    phone: Annotated[str | None, typer.Option("--phone", metavar="NUMBER", help="Look this number up, too.")] = None,
    only: OnlyOption = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="DIR", help="Keep what it answers; of test systems only.")
    ] = None,
    junit: JunitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a connection against its live system, through the egress gate; nothing is changed there."""
    if unknown := [name for name in only or () if name not in names()]:
        raise typer.BadParameter(f"no check of a live system is called {unknown[0]}", param_hint="--only")
    with opened(directory) as instance:
        _, practice = instance.policy()
        found = practice.find_connection(connection)
        if found is None:
            there = ", ".join(each.name for each in practice.connections) or "none"
            raise NotFoundError(f"no connection is called {connection}; there are {there}")
        number = _e164(phone, practice.practice.region) if phone else ""
        if record is not None:
            record.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(_tried(instance, practice, found, number, only or (), record))
    tell(report, junit=junit, as_json=as_json)


async def _tried(
    instance: Instance,
    practice: Practice,
    connection: Connection,
    number: str,
    only: Collection[str],
    record: Path | None,
) -> kit.Report:
    kind = host.load(connection.connector)
    settings = host.settings_of(kind, connection.settings, host.secrets(instance.paths.root, os.environ))
    egress = Egress(practice, instance.db, instance.clock, actor=operator().actor)
    for data_class, purpose in _needed(kind(settings), number, only):
        try:
            await egress.permit(connection.name, data_class, purpose)
        except EgressDeniedError:
            raise EgressDeniedError(
                f"no agreement lets {data_class} out to {connection.name}; --only check needs none"
            ) from None
    async with AsyncExitStack() as opening:
        http = await opening.enter_async_context(await egress.open(connection.name, NOTHING, "operations"))
        if record is not None:
            recorder = Recorder(http, record, list(_secrets(settings)))
            http = await opening.enter_async_context(httpx.AsyncClient(transport=recorder, trust_env=False))
        try:
            return await kit.live(
                kind,
                settings,
                http,
                clock=instance.clock,
                timezone=practice.practice.zone,
                region=practice.practice.region,
                connect=await egress.stream(connection.name, NOTHING, "operations"),
                phone=number,
                only=only,
            )
        except kit.CaseError as error:
            raise CaseUnusableError(str(error)) from None


def _needed(connector: AnyConnector, number: str, only: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the classes of data that go out with the checks, each with its purpose."""
    asked = set(only) - HARMLESS
    judged = not only or bool(asked - set(FEEDING) - {"find"})  # a check that judges the others runs them all
    if isinstance(connector, Feeds) and (judged or asked & set(FEEDING)):
        yield FEED
    if number and connector.kind in GOES_OUT and (judged or "find" in asked):
        yield GOES_OUT[connector.kind]


def _secrets(settings: Settings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()


def _e164(written: str, region: str) -> str:
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise typer.BadParameter("that is no phone number", param_hint="--phone")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
