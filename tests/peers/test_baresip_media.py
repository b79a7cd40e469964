"""A phone's leg against baresip over TLS: plain, SDES and DTLS-SRTP, each proven by a tone there and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.audio import frequencies, tone
from hub.demo.ports import free_port
from hub.g711 import Codec, decode
from media.phone import PhoneLeg
from media.relay import BuiltinRelay, Wanted
from media.sip import Address, Hop, Incoming
from media.sound import SILENCE, Sound
from tests.media.farend import Ear, relay
from tests.peers.test_baresip import HOST, MODULES, Desk, pytestmark

__all__ = ["pytestmark"]  # the same phone is needed, in the same place

CONFIG = """
sip_listen 0.0.0.0:{port}
module_path {modules}
module g711.so
module g722.so
module opus.so
module aubridge.so
module srtp.so
module dtls_srtp.so
module_app account.so
module_app menu.so
audio_source aubridge,echo
audio_player aubridge,echo
sip_cafile {work}/office.pem
rtcp_mux {mux}
"""

ENCRYPTED = [("srtp", "sdes-srtp"), ("srtp-mand", "sdes-srtp"), ("dtls_srtp", "dtls-srtp"), ("", "rtp")]
"What baresip calls it, and what it is."

ASKED = [
    ("srtp", Wanted(secure=True), "sdes-srtp"),
    ("srtp-mand", Wanted(secure=True, least="sdes-srtp"), "sdes-srtp"),
    ("dtls_srtp", Wanted(secure=True, least="dtls-srtp"), "dtls-srtp"),
    ("", Wanted(secure=True), "rtp"),
]
PROMPT = Sound.of(tone(620, seconds=1.0))


@asynccontextmanager
async def baresip(
    work: Path, target: Hop, encrypted: str, *arguments: str, codec: str = "PCMU/8000/1"
) -> AsyncIterator[None]:
    """Run a phone that answers by itself and says whatever it hears."""
    options = f"auth_pass=right;regint=60;answermode=auto;audio_codecs={codec}"
    options += f";mediaenc={encrypted}" if encrypted else ""
    # A handshake for RTCP alone, on a port of its own, is what we do not do.
    mux = "yes" if encrypted.startswith("dtls") else "no"
    (work / "accounts").write_text(f"<sip:101@{HOST}:{target.port};transport=tls>;{options}\n")
    (work / "config").write_text(CONFIG.format(port=free_port(), modules=MODULES, work=work, mux=mux))
    process = await asyncio.create_subprocess_exec(
        "baresip",
        *("-f", str(work), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def echo(leg: PhoneLeg) -> list[int]:
    """Say the prompt until it comes back, and return its tones: the phone could open it, and we its echo."""
    ear = Ear()
    leg.tap(ear)
    leg.loop(PROMPT)
    while len(voiced := [each for each in ear.payloads if each != SILENCE[Codec.PCMU]]) < 25:
        ear.one_more.clear()
        await ear.one_more.wait()
    leg.tap(None)
    leg.quiet()
    return [round(peak.hz / 10) * 10 for peak in frequencies(decode(Codec.PCMU, b"".join(voiced[-15:])))]


async def phone_leg(engine: BuiltinRelay, wanted: Wanted) -> PhoneLeg:
    leg = await engine.allocate(wanted)
    assert isinstance(leg, PhoneLeg)
    return leg


class Switchboard(Desk):
    """An endpoint that leaves the answer to the test."""

    async def take(self, call: Incoming) -> None:
        # No ringing: the phone's ringback would hold the device that its echo needs.
        self.calls.put_nowait(call)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Switchboard]:
    made = Switchboard(tmp_path)
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


@pytest.mark.parametrize(("encrypted", "protection"), ENCRYPTED)
async def test_a_phone_that_calls_is_heard_and_hears(
    desk: Switchboard, encrypted: str, protection: str, tmp_path: Path
) -> None:
    target = desk.endpoint.listening["tls"]
    dial = "-e", f"/dial sip:102@{HOST}:{target.port};transport=tls"
    async with asyncio.timeout(30), relay() as engine, baresip(tmp_path, target, encrypted, *dial):
        call = await desk.calls.get()
        assert call.offer is not None
        leg = await phone_leg(engine, Wanted(secure=True))
        call.answer(await leg.answer(call.offer, via=call.source.host))
        assert await call.acked
        assert leg.protection == protection
        assert await echo(leg) == [620]
        assert (leg.stats.forged, leg.stats.refused) == (0, 0)
        call.bye()
        await call.ended


@pytest.mark.parametrize("codec", ["G722/16000/1", "opus/48000/2"])
async def test_a_phone_without_g711_is_heard_and_hears(desk: Switchboard, codec: str, tmp_path: Path) -> None:
    target = desk.endpoint.listening["tls"]
    dial = "-e", f"/dial sip:102@{HOST}:{target.port};transport=tls"
    async with asyncio.timeout(30), relay() as engine, baresip(tmp_path, target, "srtp", *dial, codec=codec):
        call = await desk.calls.get()
        assert call.offer is not None
        leg = await phone_leg(engine, Wanted(secure=True))
        call.answer(await leg.answer(call.offer, via=call.source.host))
        assert await call.acked
        assert leg.encoding.partition("/")[0] == codec.partition("/")[0].upper()
        assert await echo(leg) == [620]
        call.bye()
        await call.ended


@pytest.mark.parametrize(("encrypted", "wanted", "protection"), ASKED)
async def test_a_phone_that_is_called_is_heard_and_hears(
    desk: Switchboard, encrypted: str, wanted: Wanted, protection: str, tmp_path: Path
) -> None:
    target = desk.endpoint.listening["tls"]
    async with asyncio.timeout(30), relay() as engine, baresip(tmp_path, target, encrypted):
        assert await desk.registered.get() == ("101", 60)
        (binding,) = desk.endpoint.registrar.contacts("101")
        leg = await phone_leg(engine, wanted)
        call = desk.endpoint.call(binding, await leg.offer(), from_=Address.parse("<sip:+12125550123@127.0.0.1>"))
        session = await call.answered
        assert session is not None
        await leg.settle(session, via=HOST)
        assert leg.protection == protection
        assert await echo(leg) == [620]
        leg.send_report(asyncio.get_running_loop().time())
        while leg.stats.rtt_ms is None:
            await leg.play(PROMPT)
        assert leg.stats.remote_loss is not None
        assert leg.stats.remote_loss < 0.05
        call.bye()
        await call.gone


async def test_a_phone_without_keys_is_refused_where_they_are_wanted(desk: Switchboard, tmp_path: Path) -> None:
    target = desk.endpoint.listening["tls"]
    async with asyncio.timeout(30), relay() as engine, baresip(tmp_path, target, ""):
        assert await desk.registered.get() == ("101", 60)
        (binding,) = desk.endpoint.registrar.contacts("101")
        leg = await phone_leg(engine, Wanted(secure=True, least="sdes-srtp"))
        call = desk.endpoint.call(binding, await leg.offer(), from_=Address.parse("<sip:+12125550123@127.0.0.1>"))
        assert await call.answered is None
