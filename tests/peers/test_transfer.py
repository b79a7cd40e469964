"""Two Debian baresip: one holds, takes back and transfers a caller to the other, through our endpoint."""

import asyncio
import itertools
import json
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.demo.ports import free_port
from media.offer import answer_audio, offer_audio
from media.sdp import Direction, Session
from media.sip import Address, Credentials, Endpoint, Hop, Incoming, Outgoing
from media.sip.transfer import Refer
from tests.peers.sipp import HOST
from tests.peers.test_baresip import MEDIA, MODULES, pytestmark

__all__ = ["pytestmark"]  # the same phone is needed, in the same place

CONFIG = """
sip_listen 0.0.0.0:{port}
module_path {modules}
module g711.so
module aufile.so
module ctrl_tcp.so
module_app account.so
module_app menu.so
audio_source aufile,{voice}
audio_player aufile,{work}/heard.wav
audio_alert aufile,{voice}
ctrl_tcp_listen 127.0.0.1:{control}
"""
FROM = Address.parse("<sip:+12125550123@127.0.0.1>")


@dataclass
class Baresip:
    """One phone, and the wire it is told over what its user does."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def does(self, command: str, params: str = "") -> None:
        """Press something."""
        said = json.dumps({"command": command, "params": params, "token": command}).encode()
        self.writer.write(b"%d:%s," % (len(said), said))
        while True:
            heard = await self._message()
            if heard.get("response"):
                assert heard["ok"], heard.get("data")
                return

    async def happens(self, kind: str) -> None:
        """Wait until the phone tells of an event."""
        while (await self._message()).get("type") != kind:
            continue

    async def _message(self) -> dict[str, Any]:
        size = int((await self.reader.readuntil(b":"))[:-1])
        body = await self.reader.readexactly(size + 1)
        message: dict[str, Any] = json.loads(body[:-1])
        return message


def _furnish(work: Path, extension: str, target: int, control: int) -> None:
    work.mkdir()
    voice = work / "voice.wav"
    with wave.open(str(voice), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(160_000))
    options = "auth_pass=right;regint=60;answermode=auto;audio_codecs=PCMA/8000/1"
    (work / "accounts").write_text(f"<sip:{extension}@{HOST}:{target}>;{options}\n")
    settings = {"port": free_port(), "modules": MODULES, "voice": voice, "work": work, "control": control}
    (work / "config").write_text(CONFIG.format(**settings))


@asynccontextmanager
async def baresip(work: Path, extension: str, target: int) -> AsyncIterator[Baresip]:
    """Run the phone of an extension, which answers by itself."""
    control = free_port()
    _furnish(work, extension, target, control)
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        "baresip", "-f", str(work), stdin=nowhere, stdout=nowhere, stderr=nowhere
    )
    writer: asyncio.StreamWriter | None = None
    try:
        for _ in itertools.count():
            try:
                reader, writer = await asyncio.open_connection(HOST, control)
                break
            except OSError:
                await asyncio.sleep(0.05)
        assert writer is not None
        yield Baresip(reader, writer)
    finally:
        if writer is not None:
            writer.close()
        if process.returncode is None:
            process.terminate()
        await process.wait()


class Desk:
    """An endpoint with two extensions that carries transfers out itself."""

    def __init__(self) -> None:
        secrets = {name: Credentials.of(name, "chartline", "right") for name in ("101", "102")}
        self.endpoint = Endpoint([Hop(HOST, 0)], credentials=secrets.get, trunks=lambda _address: None)
        self.endpoint.on_registered = lambda extension, _: self.registered.put_nowait(extension)
        self.endpoint.on_invite = self.take
        self.registered: asyncio.Queue[str] = asyncio.Queue()
        self.held: asyncio.Queue[bool] = asyncio.Queue()
        self.offers: list[Session] = []
        self.passed_to: asyncio.Queue[Outgoing] = asyncio.Queue()

    async def take(self, call: Incoming) -> None:
        call.reject(486)

    async def answers(self, offer: Session) -> Session:
        self.offers.append(offer)
        return answer_audio(offer, MEDIA)[0]

    async def call(self, extension: str) -> Outgoing:
        (binding,) = self.endpoint.registrar.contacts(extension)
        leg = self.endpoint.call(binding, offer_audio(MEDIA), from_=FROM)
        leg.on_offer, leg.on_held, leg.on_refer = self.answers, self.held.put_nowait, self.transfers
        assert await leg.answered is not None
        return leg

    async def transfers(self, wish: Refer) -> None:
        wish.progress(180)
        self.passed_to.put_nowait(await self.call(wish.target.user))
        wish.progress(200)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


async def test_a_phone_holds_and_takes_back(desk: Desk, tmp_path: Path) -> None:
    async with asyncio.timeout(25), baresip(tmp_path / "101", "101", desk.endpoint.local.port) as phone:
        assert await desk.registered.get() == "101"
        leg = await desk.call("101")
        await phone.happens("CALL_ESTABLISHED")
        await phone.does("hold")
        assert await desk.held.get() is True
        await phone.does("resume")
        assert await desk.held.get() is False
        assert [offer.media[0].direction for offer in desk.offers][-1] is Direction.SENDRECV
        hold = offer_audio(MEDIA, origin=_next(leg), direction=Direction.SENDONLY)
        assert (await leg.reinvite(hold)).media[0].direction is Direction.RECVONLY
        await leg.refresh()
        assert not leg.ended.done()
        leg.bye()
        await leg.gone


async def test_a_phone_transfers_to_another(desk: Desk, tmp_path: Path) -> None:
    async with asyncio.timeout(25), AsyncExitStack() as phones:
        port = desk.endpoint.local.port
        first = await phones.enter_async_context(baresip(tmp_path / "101", "101", port))
        await phones.enter_async_context(baresip(tmp_path / "102", "102", port))
        assert {await desk.registered.get(), await desk.registered.get()} == {"101", "102"}
        leg = await desk.call("101")
        await first.happens("CALL_ESTABLISHED")
        await first.does("transfer", f"sip:102@{HOST}:{port}")
        second = await desk.passed_to.get()
        await leg.ended
        assert not second.ended.done()
        second.bye()
        await second.gone


async def test_a_phone_is_asked_to_transfer_and_tells_how_it_went(desk: Desk, tmp_path: Path) -> None:
    async with asyncio.timeout(25), baresip(tmp_path / "101", "101", desk.endpoint.local.port):
        assert await desk.registered.get() == "101"
        leg = await desk.call("101")
        target = Address.parse(f"<sip:102@{HOST}:{desk.endpoint.local.port}>").uri
        assert await leg.refer(target) == 486
        leg.bye()
        await leg.gone


def _next(leg: Outgoing) -> Any:
    assert leg.local is not None
    return leg.local.origin.next()
