"""Our listener with clients that are not ours: python-hl7's two, and two from npm (tests/peers/hl7)."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import hl7
import pytest
from hl7.client import MLLPClient
from hl7.mllp import open_hl7_connection

from tests.connectors.hl7v2.sample import adt, siu
from tests.connectors.hl7v2.talk import Inbox, listening
from tests.peers import npm

PEER = Path(__file__).with_name("hl7")

MESSAGES = [
    siu().replace(b"M0001", b"P1"),
    adt().replace(b"M0002", b"P2"),
    siu("S15").replace(b"M0001", b"P3").replace(b"Rivera", "Müller-Łukasz".encode()),
    adt("A40", MRG="MRG|MRN12^^^HARBOR^MR").replace(b"M0002", b"P4").replace(b"|P|2.5.1", b"|P|2.5.1|||AL|NE"),
]

ANSWERS = [["AA", "P1"], ["AA", "P2"], ["AA", "P3"], ["CA", "P4"]]
"The last asks for an accept acknowledgment."


def answer_of(frame: bytes) -> list[str]:
    """Return MSA-1 and MSA-2 as python-hl7 reads them."""
    message = hl7.parse(frame.strip(b"\x0b\x1c\r").decode())
    msa = message.segment("MSA")
    return [str(msa[1]), str(msa[2])]


async def test_python_hl7_s_client_is_answered() -> None:
    inbox = Inbox()
    async with listening(inbox) as listener:

        def talk() -> Iterator[list[str]]:
            with MLLPClient("127.0.0.1", listener.port) as client:
                for raw in MESSAGES:
                    yield answer_of(client.send_message(raw))

        assert await asyncio.to_thread(lambda: list(talk())) == ANSWERS
    assert [raw.rstrip(b"\r") for raw in inbox.raws] == [raw.rstrip(b"\r") for raw in MESSAGES]


async def test_python_hl7_s_asyncio_client_is_answered() -> None:
    inbox = Inbox()
    async with listening(inbox) as listener:
        reader, writer = await open_hl7_connection("127.0.0.1", listener.port, encoding="utf-8")
        answers = []
        for raw in MESSAGES:
            writer.writemessage(hl7.parse(raw.decode()))
            await writer.drain()
            msa = (await reader.readmessage()).segment("MSA")
            answers.append([str(msa[1]), str(msa[2])])
        writer.close()
        await writer.wait_closed()
    assert answers == ANSWERS
    assert inbox.keys == ["P1", "P2", "P3", "P4"]


@pytest.mark.peer("node")
@pytest.mark.parametrize("client", ["node-hl7-client", "simple-hl7"])
async def test_clients_from_npm_are_answered(client: str) -> None:
    script = shutil.copy(PEER / "send.mjs", npm.require("hl7") / f"send-{client}.mjs")
    inbox = Inbox()
    async with listening(inbox) as listener:
        running = await asyncio.create_subprocess_exec(
            "node",
            str(script),
            client,
            str(listener.port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, errors = await running.communicate(json.dumps([raw.decode() for raw in MESSAGES]).encode())
        assert running.returncode == 0, errors.decode()
    assert json.loads(out) == ANSWERS
    assert inbox.keys == ["P1", "P2", "P3", "P4"]
    assert "Müller-Łukasz".encode() in inbox.raws[2]
