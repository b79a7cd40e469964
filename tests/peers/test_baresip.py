"""The SIP endpoint against baresip: a desk phone of another make registers, calls, and is called."""

import asyncio
import socket
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.demo.ports import free_port
from media.offer import answer_audio, offer_audio, settle
from media.sip import Address, Cause, Credentials, Endpoint, Hop, Incoming
from tests.media.sip.certificate import Office

HOST = "127.0.0.1"
MEDIA = (HOST, 9)
"Where nobody hears the phone: another port may be that of a relay in a test beside, which takes its sound for noise."
MODULES = Path("/usr/lib/baresip/modules")

CONFIG = """
sip_listen 0.0.0.0:{port}
module_path {modules}
module g711.so
module aufile.so
module_app account.so
module_app menu.so
audio_source aufile,{voice}
audio_player aufile,{work}/heard.wav
audio_alert aufile,{voice}
sip_cafile {work}/office.pem
"""

TRANSPORTS = ["udp", "tcp", "tls"]


def outward_address() -> str:
    """Return this machine's address towards other machines; empty where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))  # sends nothing: the kernel only chooses a route
        except OSError:
            return ""
        return str(probe.getsockname()[0])


pytestmark = [
    pytest.mark.peer("baresip"),
    pytest.mark.skipif(not outward_address(), reason="baresip does not speak over the loopback interface alone"),
]


@asynccontextmanager
async def baresip(work: Path, target: Hop, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a phone with extension 101 at the endpoint's address `target`, which answers by itself."""
    voice = work / "voice.wav"
    with wave.open(str(voice), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    options = "auth_pass=right;regint=60;answermode=auto;audio_codecs=PCMA/8000/1"
    account = f"<sip:101@{HOST}:{target.port};transport={target.transport}>;{options}\n"
    (work / "accounts").write_text(account)
    (work / "config").write_text(CONFIG.format(port=free_port(), modules=MODULES, voice=voice, work=work))
    process = await asyncio.create_subprocess_exec(
        "baresip",
        *("-f", str(work), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class Desk:
    """An endpoint that answers calls and tells when a phone comes and goes."""

    def __init__(self, work: Path) -> None:
        secret = Credentials.of("101", "chartline", "right")
        self.endpoint = Endpoint(
            [Hop(HOST, 0, transport) for transport in TRANSPORTS],
            identity=Office(work).identity(HOST),
            credentials={"101": secret}.get,
            trunks=lambda _address: None,
        )
        self.endpoint.on_invite = self.take
        self.endpoint.on_registered = lambda extension, seconds: self.registered.put_nowait((extension, seconds))
        self.registered: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.calls: asyncio.Queue[Incoming] = asyncio.Queue()

    async def take(self, call: Incoming) -> None:
        call.ring()
        assert call.offer is not None
        call.answer(answer_audio(call.offer, MEDIA)[0])
        self.calls.put_nowait(call)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_phone_registers_is_called_and_signs_off(desk: Desk, transport: str, tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        async with baresip(tmp_path, desk.endpoint.listening[transport]):
            assert await desk.registered.get() == ("101", 60)
            (binding,) = desk.endpoint.registrar.contacts("101")
            assert binding.hop().transport == transport
            assert bool(binding.hop().flow) == (transport != "udp")
            offer = offer_audio(MEDIA)
            leg = desk.endpoint.call(binding, offer, from_=Address.parse("<sip:+12125550123@127.0.0.1>"))
            session = await leg.answered
            assert session is not None
            agreed = settle(offer, session)
            assert (agreed.codec.name, agreed.sends, agreed.receives) == ("PCMA", True, True)
            leg.bye()
            await leg.gone
        assert await desk.registered.get() == ("101", 0)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_phone_calls_with_its_password_and_hangs_up(desk: Desk, transport: str, tmp_path: Path) -> None:
    target = desk.endpoint.listening[transport]
    async with asyncio.timeout(20):
        async with baresip(
            tmp_path, target, "-e", f"/dial sip:102@{HOST}:{target.port};transport={transport}"
        ) as phone:
            call = await desk.calls.get()
            assert (call.extension, call.to_number, call.trunk) == ("101", "102", "")
            assert call.source.transport == transport
            assert await call.acked
            phone.terminate()
            assert await call.ended is Cause.HANGUP
