"""`python -m connectors.sandbox` as a person starts it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from connectors.sandbox.feed import END, START
from tests.connectors.stage import listening


@asynccontextmanager
async def program(*arguments: str, **env: str) -> AsyncIterator[str]:
    """Run the program and yield the address it says; it must end well when it is told to."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "connectors.sandbox", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | env,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        yield line.decode().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            _, errors = await process.communicate()
    assert errors.decode() == ""


async def test_the_ehr_answers_and_feeds_a_listener() -> None:
    frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while frame := await reader.readuntil(END):
            await frames.put(frame)
            control_id = frame.split(b"|")[9]
            writer.write(START + b"MSH|^~\\&|\rMSA|AA|" + control_id + b"\r" + END)

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await listen(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async with listening(quietly) as port:
        arguments = ("--bind", "127.0.0.1:0", "--feed", f"127.0.0.1:{port}", "--changes-every", "0.05", "--seed", "3")
        async with program("ehr", *arguments) as base, httpx.AsyncClient(base_url=base) as client:
            assert (await client.get("/fhir/metadata")).json()["fhirVersion"] == "4.0.1"
            assert (await client.get("/fhir/Patient?_summary=count")).json()["total"] == 40
            async with asyncio.timeout(60):
                heard = [await frames.get() for _ in range(80)]
    kinds = {frame.split(b"|")[8] for frame in heard}
    assert kinds >= {b"ADT^A28^ADT_A05", b"SIU^S12^SIU_S12"}


async def test_the_ehr_wants_its_token() -> None:
    arguments = ("--bind", "127.0.0.1:0", "--token", "env:EHR")
    async with program("ehr", *arguments, EHR="tick") as base, httpx.AsyncClient(base_url=base) as client:
        assert (await client.get("/fhir/Patient")).status_code == 401
        answer = await client.get("/fhir/Patient", headers={"Authorization": "Bearer tick"})
        assert answer.status_code == 200


async def test_the_ehr_is_as_difficult_as_it_is_told_to_be(tmp_path: Path) -> None:
    arguments = ("--bind", "127.0.0.1:0", "--ignore", "_lastUpdated", "--needs", "location", "--no-patch")
    async with program("ehr", *arguments) as base, httpx.AsyncClient(base_url=f"{base}/fhir") as client:
        assert (await client.get("Appointment?date=ge2020-01-01")).status_code == 400
        assert (await client.get("Patient?_lastUpdated=ge2090-01-01&_summary=count")).json()["total"] == 40
        assert (await client.get("metadata")).json()["patchFormat"] == []
        begun = await client.get("$export", headers={"Prefer": "respond-async"})
        assert begun.status_code == 202
    key = tmp_path / "public.pem"
    key.write_text("no key")
    registered = ("--bind", "127.0.0.1:0", "--client", f"hub={key}", "--answers-only")
    async with program("ehr", *registered) as base, httpx.AsyncClient(base_url=f"{base}/fhir") as client:
        assert (await client.get("Patient")).status_code == 401
        found = (await client.get(".well-known/smart-configuration")).json()
        refused = await client.post(found["token_endpoint"], data={"grant_type": "client_credentials"})
        assert (refused.status_code, refused.json()) == (400, {"error": "invalid_request"})


async def test_the_carrier_takes_a_text() -> None:
    arguments = ("--bind", "127.0.0.1:0", "--token", "env:TICK", "--secret", "env:TOCK")
    who = {"Authorization": "Bearer tick"}
    async with (
        program("carrier", *arguments, TICK="tick", TOCK="tock") as base,
        httpx.AsyncClient(base_url=base, headers=who) as client,
    ):
        said = {"to": "+12125550111", "from": "+12125550100", "text": "Hello"}
        assert (await client.post("/messages", json=said)).status_code == 201
        assert [one["text"] for one in (await client.get("/inbox.json")).json()["items"]] == ["Hello"]


@pytest.mark.parametrize("arguments", [[], ["zoo"], ["carrier"], ["ehr", "--now", "soon"]])
async def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "connectors.sandbox", *arguments, stderr=asyncio.subprocess.PIPE
    )
    await process.communicate()
    assert process.returncode == 2
