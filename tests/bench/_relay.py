"""A relay under load, in a process of its own: `_relay KIND CALLS FAR DIR`.

FAR is what `_rtp_load` prints of itself, the far end of all legs. KIND is `plain`, `recorded`, `srtp` or `browser` (a
plain leg and a page's) for ours, one media core process reached as the gateway reaches it, or `uvloop` for the least
that Python can do: a socket for each leg, read and written from the loop's own callback. It prints one JSON object
about its legs and serves until its input ends.
"""

import asyncio
import base64
import gc
import json
import os
import resource
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

import uvloop

from hub import pace
from hub.settings.practice import Sip
from hub.settings.value import PortRange
from media.browser.description import Way
from media.core.relay import CoreRelay, relay_for
from media.recorder import Place
from media.relay import Wanted
from media.rtp import FRAME
from media.sdp import Session
from media.sound import Sound
from tests.bench.signalling import resident_kb

HOST = "127.0.0.1"
PORTS = "20000-29999"
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": ("SRTP_PROFILE_AES128_CM_SHA1_80", 30),
    "AEAD_AES_128_GCM": ("SRTP_PROFILE_AEAD_AES_128_GCM", 28),
}
"What the far end speaks: its name for pylibsrtp, and the bytes of key and salt (RFC 4568 section 6.2, RFC 7714)."

ANSWER = "v=0\r\no=- 7 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} {profile} 0\r\n{crypto}"
PAGE = """v=0\r
o=- 7 1 IN IP4 127.0.0.1\r
s=-\r
t=0 0\r
m=audio 9 UDP/TLS/RTP/SAVPF 0\r
c=IN IP4 0.0.0.0\r
a=ice-ufrag:{ufrag}\r
a=ice-pwd:{password}\r
a=fingerprint:{fingerprint}\r
a=setup:active\r
a=mid:0\r
a=rtcp-mux\r
"""
"What a page answers."


async def ours(kind: str, calls: int, port: int, page: dict[str, Any], work: Path) -> dict[str, Any]:
    """Bridge so many calls; what is told of them."""
    sip = Sip(rtp_ports=PortRange(PORTS), cores=1)
    relay = relay_for(sip, Sound(b"\xff" * FRAME), work)
    await relay.start()
    if isinstance(relay, CoreRelay):
        await relay.steady()
    wanted = Wanted(secure=True, least="sdes-srtp") if kind == "srtp" else Wanted()
    told: dict[str, Any] = {"ports": [], "pages": [], "keys": {}, "idle_kb": resident_kb(os.getpid())}
    far = Far(port)
    for number in range(calls):
        caller = await relay.allocate(wanted)
        pair = [caller, await relay.allocate(Wanted(kind="browser") if kind == "browser" else wanted, caller)]
        relay.bridge(*pair)
        for leg in pair:
            offer = await leg.offer()
            if leg is not caller and kind == "browser":
                await leg.settle(Session.parse(PAGE.format(**page).encode()))
                told["pages"].append(said_of(offer))
            else:
                await leg.settle(far.answer(offer), via=HOST)
                told["ports"].append(offer.media[0].port)
        if kind == "recorded":
            place = Place(work / f"{number}.clm", secrets.token_bytes(32), b"bench", bytes(16))
            relay.record(place, pair)
    told |= {"keys": far.keys, "key": far.key, "profile": far.profile}
    HELD.append(relay)
    return told


HELD: list[Any] = []
"What must live as long as the process."


def said_of(offer: Session) -> dict[str, Any]:
    """Return what a browser leg's offer says of it."""
    way, media = Way.of(offer), offer.media[0]
    said = {"ufrag": way.ufrag, "password": way.password, "fingerprint": str(way.fingerprints[0])}
    return {"port": media.port, **said}


class Far:
    """The far end's side of each exchange."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.keys: dict[int, str] = {}
        "What each leg sends under, by its port."
        self.key = ""
        self.profile = ""
        self._suite = ""

    def answer(self, offer: Session) -> Session:
        """Return the answer; where the offer has keys, with one for all legs."""
        media = offer.media[0]
        crypto = ""
        for line in bytes(offer).decode().split("\r\n"):
            if not line.startswith("a=crypto:"):
                continue
            tag, suite, given = line.removeprefix("a=crypto:").split()[:3]
            if suite in SUITES and self._suite in ("", suite):
                self._suite = suite
                self.profile, size = SUITES[suite]
                self.key = self.key or base64.b64encode(secrets.token_bytes(size)).decode()
                self.keys[media.port] = given.removeprefix("inline:").partition("|")[0]
                crypto = f"a=crypto:{tag} {suite} inline:{self.key}\r\n"
                break
        text = ANSWER.format(host=HOST, port=self._port, profile=media.protocol, crypto=crypto)
        return Session.parse(text.encode())


def floor(calls: int, port: int) -> dict[str, Any]:
    """Pass packets on between pairs of sockets, and nothing else."""
    loop = asyncio.get_running_loop()
    buffer = bytearray(2048)
    view = memoryview(buffer)
    idle_kb = resident_kb(os.getpid())
    ports = []
    for _ in range(calls):
        pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for line in pair:
            line.setblocking(False)
            line.bind((HOST, 0))
            ports.append(line.getsockname()[1])
            line.connect((HOST, port))
        for line, other in (pair, pair[::-1]):
            loop.add_reader(line.fileno(), passed, line.recv_into, other.send, buffer, view)
        HELD.append(pair)
    return {"ports": ports, "idle_kb": idle_kb}


def passed(receive: Any, send: Any, buffer: bytearray, view: memoryview) -> None:
    """Pass one packet on."""
    send(view[: receive(buffer)])


async def main() -> None:
    """Serve until the input ends."""
    kind, calls, far, work = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), Path(sys.argv[4])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    if kind == "uvloop":
        told = floor(calls, far["port"])
    else:
        told = await ours(kind, calls, far["port"], far["page"], work)
    pace.collect_rarely()
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    if kind != "uvloop":
        await HELD[0].close()


if __name__ == "__main__":
    uvloop.run(main())
