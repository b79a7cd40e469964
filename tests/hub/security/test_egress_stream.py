"""Streams through the egress gate, on real sockets: who may be reached, how, and what becomes of faults."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
from pydantic import SecretStr
from sqlmodel import SQLModel, select

from connectors import host
from connectors.api import AuthExpiredError, Connector, Context, RejectedError, Settings, TransientError
from connectors.hl7v2.link import greet
from connectors.hl7v2.sender import Sender
from hub.db import Database
from hub.security.egress import DestinationDeniedError, Egress, EgressDeniedError
from hub.security.intent import Intent
from hub.settings import Practice
from hub.vault import wire
from tests.connectors.stage import ZONE, Clock
from tests.hub.security.certificate import certificate

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


class EngineSettings(Settings):
    send: str = ""
    spare: dict[str, Any] = {}
    base_url: str = ""
    plaintext: bool = False
    client_certificate: SecretStr | None = None
    client_key: SecretStr | None = None
    server_ca: SecretStr | None = None


class Engine(Connector[EngineSettings]):
    name: ClassVar = "engine"
    scopes: ClassVar = frozenset()
    Settings: ClassVar = EngineSettings


class Resolver:
    """Answers in turn, the last answer for ever, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _: str, __: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "chartline.db", os.urandom(32))
    SQLModel.metadata.create_all(made.engine, tables=[SQLModel.metadata.tables["intent"]])
    yield made
    made.close()


def gate(
    database: Database, settings: dict[str, Any], *addresses: Sequence[str], data: Sequence[str] = ("appointments",)
) -> tuple[Egress, Resolver]:
    """Return the gate of a policy with one connection; its host has `addresses`, at each asking the next."""
    practice = Practice.model_validate(
        {
            "practice": {"name": "Harbor", "timezone": "America/New_York"},
            "connection": [{"name": "engine", "connector": "hl7v2", "settings": settings}],
            "agreement": [{"counterparty": "engine", "basis": "treatment", "data": list(data)}] if data else [],
        }
    )
    resolver = Resolver(*(addresses or ([],)))
    return Egress(practice, database, Clock(NOW), resolve=resolver), resolver


@asynccontextmanager
async def lent(egress: Egress, settings: dict[str, Any], data_class: str = "appointments") -> AsyncIterator[Context]:
    """Yield a context as the host makes it for the connection."""
    secret = {"client_certificate", "client_key", "server_ca"}
    written = {key: SecretStr(value) if key in secret else value for key, value in settings.items()}
    async with await egress.open("engine", data_class, "treatment") as http:
        yield host.context(
            Engine(EngineSettings.model_validate(written)),
            "engine",
            http=http,
            clock=Clock(NOW),
            timezone=ZONE,
            region="US",
            connect=await egress.stream("engine", data_class, "treatment"),
        )


@asynccontextmanager
async def echoing(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Send every line back, on a free port of loopback."""
    talks: list[asyncio.Task[None]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(
        lambda reader, writer: talks.append(asyncio.create_task(talk(reader, writer))), "127.0.0.1", 0, ssl=context
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*talks, return_exceptions=True)


async def echoed(ctx: Context, url: str) -> bytes:
    """Return what comes back of a line."""
    assert ctx.connect is not None
    reader, writer = await ctx.connect(url)
    try:
        writer.write(b"ping\n")
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def said(database: Database) -> list[tuple[Any, ...]]:
    with database.read() as db:
        bodies = [msgspec.msgpack.decode(row.body, type=wire.Intent) for row in db.exec(select(Intent).order_by("id"))]
    return [(one.act, *(one.detail[name] for name in ("counterparty", "data", "basis"))) for one in bodies]


async def test_a_stream_reaches_the_address_of_the_settings_and_is_in_the_audit_log_once(database: Database) -> None:
    async with echoing() as port:
        settings = {"send": f"mllp://127.0.0.1:{port}"}
        egress, _ = gate(database, settings, data=())
        async with lent(egress, settings) as ctx:
            for _ in range(2):
                assert await echoed(ctx, settings["send"]) == b"ping\n"
    assert said(database) == [("egress.open", "engine", "appointments", "loopback")]


@pytest.mark.parametrize(
    "url",
    [
        "mllp://127.0.0.1:1",
        "mllps://127.0.0.1:{port}",
        "mllp://localhost:{port}",
        "http://127.0.0.1:{port}",
        "ftp://127.0.0.1:{port}",
        "mllp://[",
        "",
    ],
)
async def test_what_does_not_stand_in_the_settings_is_not_reached(database: Database, url: str) -> None:
    async with echoing() as port:
        settings = {"send": f"mllp://127.0.0.1:{port}", "base_url": f"http://127.0.0.1:{port}"}
        egress, _ = gate(database, settings)
        async with lent(egress, settings) as ctx:
            with pytest.raises(RejectedError, match="host-not-in-settings"):
                await echoed(ctx, url.format(port=port))


async def test_the_gate_itself_knows_only_the_policys_addresses(database: Database) -> None:
    """A connector could change its settings; the gate has its own copy."""
    async with echoing() as port:
        egress, _ = gate(database, {"send": "mllp://127.0.0.1:1"})
        async with lent(egress, {"send": f"mllp://127.0.0.1:{port}"}) as ctx:
            with pytest.raises(RejectedError, match="host-not-in-settings"):
                await echoed(ctx, f"mllp://127.0.0.1:{port}")


@pytest.mark.parametrize("data_class", ["chart", "message-body", "everything"])
async def test_without_an_agreement_there_is_no_stream(database: Database, data_class: str) -> None:
    egress, _ = gate(database, {"send": "mllps://engine.example.org:2576"})
    with pytest.raises(EgressDeniedError):
        await egress.stream("engine", data_class, "treatment")
    with pytest.raises(EgressDeniedError):
        await egress.stream("stranger", "appointments", "treatment")
    assert [note[0] for note in said(database)] == ["egress.refused", "egress.refused"]


async def test_a_connection_that_is_only_listened_for_has_no_way_out(database: Database) -> None:
    egress, _ = gate(database, {"listen": "127.0.0.1:2575"})
    with pytest.raises(EgressDeniedError):
        await egress.stream("engine", "appointments", "treatment")


@pytest.mark.parametrize(
    "settings",
    [
        {"send": "mllp://engine.example.org:2575"},
        {"send": "mllp://engine.example.org:2575", "plaintext": False},
        {"send": "mllp://engine.example.org:2575", "plaintext": "true"},
        {"send": "mllp://engine.example.org:2575", "spare": {"plaintext": True, "send": "mllp://spare.example.org:1"}},
    ],
)
async def test_beyond_this_machine_a_stream_in_clear_is_refused(database: Database, settings: dict[str, Any]) -> None:
    egress, resolver = gate(database, settings, ["10.0.0.1"])
    async with lent(egress, {"send": settings["send"]}) as ctx:
        with pytest.raises(RejectedError, match="plaintext-not-allowed"):
            await echoed(ctx, "mllp://engine.example.org:2575")
    assert resolver.asked == 0


async def test_the_operator_may_let_a_protected_network_be_in_clear(database: Database) -> None:
    """The name is judged: were it refused for being in clear, its address would not be asked for."""
    url = "mllp://engine.example.org:2575"
    settings = {"send": url, "plaintext": True}
    egress, resolver = gate(database, settings, ["127.0.0.1"])
    async with lent(egress, settings) as ctx:
        with pytest.raises(RejectedError, match="address-denied"):
            await echoed(ctx, url)
    assert resolver.asked == 1


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["169.254.169.254"], ["::1"], ["10.0.0.1", "127.0.0.1"]])
async def test_a_name_that_leads_to_this_machine_or_to_nobody_is_not_reached(
    database: Database, addresses: list[str]
) -> None:
    settings = {"send": "mllps://engine.example.org:2576"}
    egress, _ = gate(database, settings, addresses)
    async with lent(egress, settings) as ctx:
        with pytest.raises(RejectedError, match="address-denied"):
            await echoed(ctx, settings["send"])


async def test_a_name_is_resolved_once_and_the_next_address_tried(database: Database) -> None:
    async with echoing() as port:
        settings = {"send": f"mllp://localhost:{port}"}
        egress, resolver = gate(database, settings, ["127.0.0.77", "127.0.0.1"], ["169.254.169.254"])
        async with lent(egress, settings) as ctx:
            for _ in range(3):
                assert await echoed(ctx, settings["send"]) == b"ping\n"
    assert resolver.asked == 1


async def test_a_connection_that_does_not_come_about_is_no_connection_and_names_no_address(database: Database) -> None:
    async with echoing() as port:
        pass
    settings = {"send": f"mllp://localhost:{port}"}
    for addresses in ([], ["127.0.0.1"]):
        egress, _ = gate(database, settings, addresses)
        async with lent(egress, settings) as ctx:
            with pytest.raises(TransientError) as caught:
                await echoed(ctx, settings["send"])
        assert str(caught.value) == "no connection"
        assert caught.value.__context__ is None or "127.0.0.1" not in str(caught.value.__context__)


def serving(pem: Path, key: Path, *, client: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    if client is not None:
        context.load_verify_locations(client)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_tls_shows_our_certificate_and_checks_theirs_against_the_name(database: Database, tmp_path: Path) -> None:
    pem, key = certificate("localhost", tmp_path)
    ours, our_key = certificate("chartline.test", tmp_path)
    async with echoing(serving(pem, key, client=ours)) as port:
        settings = {
            "send": f"mllps://localhost:{port}",
            "client_certificate": ours.read_text(),
            "client_key": our_key.read_text(),
            "server_ca": pem.read_text(),
        }
        egress, _ = gate(database, settings, ["127.0.0.1"])
        async with lent(egress, settings) as ctx:
            assert await echoed(ctx, settings["send"]) == b"ping\n"


def refused_once(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Take one connection as OpenSSL's own servers do: the refusal is told, where asyncio's just hang up."""
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as talk:
        with suppress(ssl.SSLError):
            talk.do_handshake()
        talk.settimeout(10)
        # What is left unread would reset the connection, and take the refusal along.
        while socket.socket.recv(talk, 4096):
            continue


@pytest.mark.parametrize("how", ["greeted", "sent to"])
async def test_a_server_that_wants_a_certificate_refuses_who_has_none(
    database: Database, tmp_path: Path, how: str
) -> None:
    pem, key = certificate("localhost", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"mllps://localhost:{listener.getsockname()[1]}"
        settings = {"send": url, "server_ca": pem.read_text()}
        egress, _ = gate(database, settings, ["127.0.0.1"])
        refusing = asyncio.create_task(asyncio.to_thread(refused_once, listener, serving(pem, key, client=pem)))
        async with lent(egress, settings) as ctx:
            assert ctx.connect is not None
            message = b"MSH|^~\\&|||||||ACK|A1|P|2.5.1\r"
            sending = Sender(url).send(ctx.connect, message, control_id="A1")
            with pytest.raises(AuthExpiredError):
                await (greet(ctx.connect, url, quiet_s=20) if how == "greeted" else sending)
            sending.close()
        await refusing


@pytest.mark.parametrize(("name", "trusted"), [("other.test", True), ("localhost", False)])
async def test_a_server_that_is_not_who_it_should_be_gets_no_connection(
    database: Database, tmp_path: Path, name: str, trusted: bool
) -> None:
    pem, key = certificate(name, tmp_path)
    async with echoing(serving(pem, key)) as port:
        settings = {"send": f"mllps://localhost:{port}"} | ({"server_ca": pem.read_text()} if trusted else {})
        egress, _ = gate(database, settings, ["127.0.0.1"])
        async with lent(egress, settings) as ctx:
            with pytest.raises(TransientError):
                await echoed(ctx, settings["send"])


async def test_old_tls_is_not_spoken(database: Database, tmp_path: Path) -> None:
    pem, key = certificate("localhost", tmp_path)
    context = serving(pem, key)
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with echoing(context) as port:
        settings = {"send": f"mllps://localhost:{port}", "server_ca": pem.read_text()}
        egress, _ = gate(database, settings, ["127.0.0.1"])
        async with lent(egress, settings) as ctx:
            with pytest.raises(TransientError):
                await echoed(ctx, settings["send"])


@pytest.mark.parametrize(
    "broken",
    [
        {"server_ca": "no certificate"},
        {"client_certificate": "no certificate", "client_key": "no key"},
        {"server_ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
    ],
)
async def test_certificates_that_cannot_be_used_are_said_to_be_so(database: Database, broken: dict[str, str]) -> None:
    settings = {"send": "mllps://localhost:1"} | broken
    egress, _ = gate(database, settings, ["127.0.0.1"])
    async with lent(egress, settings) as ctx:
        with pytest.raises(RejectedError, match="certificate-invalid"):
            await echoed(ctx, settings["send"])


async def test_a_stream_in_the_settings_does_not_open_or_close_the_way_of_http(database: Database) -> None:
    settings = {"base_url": "https://ehr.example.org/fhir", "send": "mllp://127.0.0.1:2575"}
    egress, _ = gate(database, settings)
    async with lent(egress, settings) as ctx:
        with pytest.raises(TransientError):
            await ctx.http.get("https://ehr.example.org/fhir/metadata")
        with pytest.raises(DestinationDeniedError):
            await ctx.http.get("mllp://127.0.0.1:2575")


async def test_the_host_lends_no_stream_where_it_was_given_none() -> None:
    async with httpx.AsyncClient() as http:
        ctx = host.context(Engine(EngineSettings()), "engine", http=http, clock=Clock(NOW), timezone=ZONE, region="US")
        assert ctx.connect is None
