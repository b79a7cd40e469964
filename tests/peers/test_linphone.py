"""Linphone (Debian `linphone-cli`) asks a colleague, and passes its caller on to them: an attended transfer."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from media.offer import answer_audio, offer_audio
from media.sdp import Session
from media.sip import Address, Credentials, Endpoint, Hop, Incoming
from media.sip.transfer import Refer
from tests.peers.sipp import HOST
from tests.peers.test_baresip import MEDIA

pytestmark = pytest.mark.peer("linphonec")

SETTINGS = "[sip]\nsip_port=-1\nsip_tcp_port=0\nguess_hostname=1\nuse_ipv6=0\n[rtp]\naudio_rtp_port=-1\n"


class Linphone:
    """The phone, and its keyboard."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def types(self, line: str) -> None:
        """Type a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()


def _furnish(work: Path) -> None:
    for place in (".local/share/linphone", ".config/linphone"):
        (work / place).mkdir(parents=True)
    (work / "rc").write_text(SETTINGS)


@asynccontextmanager
async def linphone(work: Path, target: int) -> AsyncIterator[Linphone]:
    """Run a phone of extension 101 that answers by itself."""
    _furnish(work)
    process = await asyncio.create_subprocess_exec(
        "linphonec",
        *("-a", "-c", str(work / "rc")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(work)},
    )
    phone = Linphone(process)
    try:
        await phone.types("soundcard use files")
        await phone.types(f"register sip:101@{HOST} sip:{HOST}:{target} right")
        yield phone
        await phone.types("quit")
        async with asyncio.timeout(20):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_caller_is_passed_on_to_a_colleague_who_was_asked_first(tmp_path: Path) -> None:
    secret = Credentials.of("101", "chartline", "right")
    endpoint = Endpoint([Hop(HOST, 0)], credentials={"101": secret}.get, trunks=lambda _address: None)
    registered: asyncio.Queue[str] = asyncio.Queue()
    asked: asyncio.Queue[Incoming] = asyncio.Queue()
    held: asyncio.Queue[bool] = asyncio.Queue()
    wishes: asyncio.Queue[Refer] = asyncio.Queue()

    async def answers(offer: Session) -> Session:
        return answer_audio(offer, MEDIA)[0]

    async def take(call: Incoming) -> None:
        assert call.offer is not None
        call.on_offer = answers
        call.answer(await answers(call.offer))
        asked.put_nowait(call)

    async def transfers(wish: Refer) -> None:
        wish.progress(200)
        wishes.put_nowait(wish)

    endpoint.on_invite = take
    endpoint.on_registered = lambda extension, _: registered.put_nowait(extension)
    await endpoint.start()
    port = endpoint.local.port
    async with asyncio.timeout(30), linphone(tmp_path, port) as phone:
        assert await registered.get() == "101"
        (binding,) = endpoint.registrar.contacts("101")
        first = endpoint.call(binding, offer_audio(MEDIA), from_=Address.parse("<sip:+12125550123@127.0.0.1>"))
        first.on_offer, first.on_held, first.on_refer = answers, held.put_nowait, transfers
        assert await first.answered is not None
        await phone.types("pause")
        assert await held.get() is True
        await phone.types(f"call sip:102@{HOST}:{port}")
        second = await asked.get()
        assert await second.acked
        await phone.types("transfer 1 --to-call 2")
        wish = await wishes.get()
        assert wish.target.user == "102"
        assert wish.replaces is not None
        assert endpoint.find_leg(wish.replaces) is second
        await first.ended  # it hangs up once it hears that the transfer went well
        second.bye()
        await second.gone
    await endpoint.close()
