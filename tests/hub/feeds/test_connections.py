"""Connections come, change and go with the policy."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import pytest

from connectors.api import (
    Identifier,
    PatientFacts,
)
from hub.demo.ports import free_port
from hub.feeds import read_row
from hub.feeds.running import Connections
from hub.instance import Instance
from hub.record import inbox
from hub.record.inbox import Form, State
from hub.settings import Practice
from tests.connectors.hl7v2.sample import siu
from tests.connectors.stage import listening
from tests.hub.feedhouse import Postbox, writing
from tests.hub.feeds.said import ZONE, Told


def connection(name: str, port: int, **more: str) -> str:
    settings = ", ".join([f'listen = "127.0.0.1:{port}"', *(f'{key} = "{value}"' for key, value in more.items())])
    return f'\n[[connection]]\nname = "{name}"\nconnector = "hl7v2"\nsettings = {{ {settings} }}\n'


async def sent(port: int, raw: bytes) -> bytes:
    """Send one message as soon as somebody listens, and return the answer."""
    async with asyncio.timeout(20):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        writer.write(b"\x0b" + raw + b"\x1c\r")
        answer = await reader.readuntil(b"\x1c\r")
        writer.close()
        await writer.wait_closed()
        return answer


async def unused(port: int) -> None:
    """Return once nobody listens; asks by binding, for asyncio 3.11 leaks a connection that meets a closing server."""
    async with asyncio.timeout(20):
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    return


@asynccontextmanager
async def running(box: Postbox) -> AsyncIterator[asyncio.Event]:
    """Follow the policy; the event is set when a connection that was asked told something new."""
    started, told = asyncio.Event(), asyncio.Event()
    async with writing(box) as writer:
        connections = Connections(box.instance, writer, lambda _: told.set())
        task = asyncio.ensure_future(connections.run(started.set))
        try:
            async with asyncio.timeout(20):
                await started.wait()
            yield told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_connections_come_change_and_go_with_the_policy(box: Postbox) -> None:
    first, second, third = free_port(), free_port(), free_port()
    box.publish(connection("adt", first))
    async with running(box):
        assert b"MSA|AA|M0001" in await sent(first, siu())
        box.publish(connection("adt", first) + connection("lab", second))
        assert b"MSA|AA" in await sent(second, siu())
        box.publish(connection("adt", third) + connection("lab", second))
        assert b"MSA|AA" in await sent(third, siu("S14"))
        await unused(first)
        box.publish(connection("lab", second))
        await unused(third)
        assert b"MSA|AA" in await sent(second, siu("S15"))
    await unused(second)
    assert [(row.connection, row.control_id) for row in box.rows()] == [
        ("adt", "M0001"),
        ("lab", "M0001"),
        ("adt", "M0001"),
        ("lab", "M0001"),
    ]


async def test_a_connection_that_cannot_start_holds_up_no_other(box: Postbox) -> None:
    good, busy = free_port(), free_port()
    with socket.create_server(("127.0.0.1", busy)) as taken:
        box.publish(connection("adt", busy) + connection("lab", good) + connection("odd", 0, charset="EBCDIC"))
        async with running(box):
            assert b"MSA|AA" in await sent(good, siu())
            taken.close()
            assert b"MSA|AA" in await sent(busy, siu())
    assert {row.connection for row in box.rows()} == {"adt", "lab"}


async def test_while_the_policy_cannot_be_read_what_runs_goes_on(box: Postbox, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, policy = threading.Event(), Instance.policy

    def seen_to_fail(instance: Instance) -> tuple[int, Practice]:
        try:
            return policy(instance)
        except Exception:
            failed.set()
            raise

    monkeypatch.setattr(Instance, "policy", seen_to_fail)
    first, second = free_port(), free_port()
    box.publish(connection("adt", first))
    async with running(box):
        assert b"MSA|AA" in await sent(first, siu())
        with box.instance.db.write() as db:
            db.connection().exec_driver_sql("ALTER TABLE policy RENAME TO gone")
        try:
            assert await asyncio.to_thread(failed.wait, 20)
            assert b"MSA|AA" in await sent(first, siu("S14"))
        finally:
            with box.instance.db.write() as db:
                db.connection().exec_driver_sql("ALTER TABLE gone RENAME TO policy")
        box.publish(connection("adt", first) + connection("lab", second))
        assert b"MSA|AA" in await sent(second, siu())


@asynccontextmanager
async def fhir_server() -> AsyncIterator[int]:
    """A FHIR server on loopback with one patient: it answers every search, and echoes the parameters as it must."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
                resource = {
                    "resourceType": "Patient",
                    "id": "p1",
                    "identifier": [{"system": "urn:oid:1.2.3", "value": "77"}],
                    "meta": {"versionId": "1", "lastUpdated": "2026-03-02T12:00:00Z"},
                }
                bundle = {
                    "resourceType": "Bundle",
                    "type": "searchset",
                    "meta": {"lastUpdated": "2026-03-02T16:59:00Z"},
                    "link": [{"relation": "self", "url": f"http://127.0.0.1{target}"}],
                    "entry": [{"resource": resource}] if "/Patient?" in target else [],
                }
                body = orjson.dumps(bundle)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()

    async with listening(answer) as port:
        yield port


async def test_a_connection_that_can_be_asked_is_asked(box: Postbox) -> None:
    async with fhir_server() as port:
        settings = f'{{ base_url = "http://127.0.0.1:{port}/fhir" }}'
        box.publish(f'\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = {settings}\n')
        async with running(box) as told:
            async with asyncio.timeout(20):
                await told.wait()
            assert box.read(inbox.cursor_of, "ehr") is not None
    (row,) = box.rows()
    assert (row.connection, row.form, row.state) == ("ehr", Form.FACT, State.STORED)
    (said,) = read_row(Told([]), row, box.raws()[0], timezone=ZONE, region="US")
    assert isinstance(said, PatientFacts)
    assert Identifier(system="urn:oid:1.2.3", value="77") in said.ids
