"""What we use of aioice and aiortc that they do not promise to keep: here, and nowhere else.

aioice does ICE, aiortc the DTLS handshake; neither gets the packets of sound, nor a socket of its own. Our leg reads
its socket itself, and gives aioice what is STUN and aiortc what is DTLS. tests/media/browser/test_hooks.py fails by
name when another version of either has changed what is used.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pylibsrtp
from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol
from aiortc import RTCCertificate, RTCDtlsTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters

from media.latch import Address

PROFILES = {
    b"SRTP_AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
    b"SRTP_AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
    b"SRTP_AES128_CM_SHA1_80": "AES_CM_128_HMAC_SHA1_80",
}
"Names of protection profiles: OpenSSL's, and those of RFC 4568 and RFC 7714."

RENEWED_BEFORE = timedelta(days=7)

Sender = Callable[[bytes, Address], None]


class _Wire(asyncio.DatagramTransport):
    """The transport that aioice believes it has: what it sends goes out of the leg's socket."""

    def __init__(self, send: Sender, local: Address) -> None:
        super().__init__({"sockname": local})
        self._send = send
        self.protocol: StunProtocol | None = None

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._send(data, addr)

    def close(self) -> None:
        # aioice waits until it hears of it; the socket itself is the leg's to close.
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(None)


class Ice(Connection):
    """One ICE session over a socket of ours: one host candidate, and whatever place of the browser's proves itself.

    The browser's own candidates are not looked at: we can be reached, so its checks come to us, and each that knows our
    password tells us where it is from (a peer-reflexive candidate, RFC 8445 section 7.3.1.3). Nobody can make us send
    checks to a place of his choice either.
    """

    def __init__(
        self, local: Address, send: Sender, *, controlling: bool, nominated: Callable[[Address], None]
    ) -> None:
        """Take the local address, how to send from it, and who hears where the browser is each time that changes."""
        super().__init__(ice_controlling=controlling)
        self._heard_nominated = nominated
        wire = _Wire(send, local)
        protocol = StunProtocol(self)
        wire.protocol = protocol
        protocol.connection_made(wire)
        self.candidate = Candidate(
            candidate_foundation("host", "udp", local[0]), 1, "udp", candidate_priority(1, "host"), *local, "host"
        )
        protocol.local_candidate = self.candidate
        self._protocol = protocol
        self._protocols.append(protocol)
        self._local_candidates.append(self.candidate)
        # Gathering is over: aioice's own would bind sockets of its own, and leave loopback out.
        self._local_candidates_start = self._local_candidates_end = True

    def know(self, ufrag: str, password: str) -> None:
        """Take the browser's credentials; checks of anybody else are refused from now on."""
        self.remote_username, self.remote_password = ufrag, password

    def heard(self, datagram: bytes, source: Address) -> None:
        """Take a STUN message."""
        self._protocol.datagram_received(datagram, source)

    def check_complete(self, pair: CandidatePair) -> None:
        """Do what aioice does when a check ends, and tell where packets go now."""
        super().check_complete(pair)
        chosen = self._nominated.get(1)
        if chosen is not None:
            self._heard_nominated(chosen.remote_addr)

    async def lost(self) -> None:
        """Wait until consent has expired (RFC 7675), or the session was closed."""
        await self.get_event()


class _Below:
    """The ICE transport that aiortc's DTLS believes it has."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(64)
        self.role = "controlled"
        self._out = send

    async def _recv(self) -> bytes:
        datagram = await self.queue.get()
        if datagram is None:
            raise ConnectionError
        return datagram

    async def _send(self, data: bytes) -> None:
        self._out(data)


class Dtls(RTCDtlsTransport):
    """One DTLS association, and the SRTP keys that come of it (RFC 5764)."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        below, own = _Below(send), certificate()
        super().__init__(below, [own])  # type: ignore[arg-type] # all that is used of it
        self._below = below
        self.fingerprint = next(
            f"{each.algorithm} {each.value}" for each in own.getFingerprints() if each.algorithm == "sha-256"
        )
        "Of our certificate, as a= fingerprint writes it (RFC 8122 section 5)."

    @property
    def role(self) -> str:
        """`auto`, or how a= setup names what we are: active or passive (RFC 8842 section 5.2)."""
        return {"client": "active", "server": "passive"}.get(self._role, "auto")

    async def establish(self, *, active: bool, fingerprints: list[tuple[str, str]]) -> None:
        """Shake hands with whoever owns the certificate of these fingerprints (hash function, value).

        Raises:
            ConnectionError: the handshake failed, or it was somebody else.
        """
        self._set_role("client" if active else "server")
        said = [RTCDtlsFingerprint(algorithm, value) for algorithm, value in fingerprints]
        await self.start(RTCDtlsParameters(said))
        if self.state != "connected":
            raise ConnectionError(f"DTLS {self.state}")

    @property
    def keys(self) -> tuple[pylibsrtp.Session, pylibsrtp.Session]:
        """Return the SRTP sessions that read and write, once the handshake is over."""
        return self._rx_srtp, self._tx_srtp

    @property
    def profile(self) -> str:
        """Return the name of the protection profile that was agreed on."""
        chosen = None if self._ssl is None else self._ssl.get_selected_srtp_profile()
        return PROFILES.get(chosen or b"", "")

    def heard(self, datagram: bytes) -> None:
        """Take a DTLS record; more than anybody sends at once are dropped."""
        if not self._below.queue.full():
            self._below.queue.put_nowait(datagram)

    def cut(self) -> None:
        """Let it know that the way is lost."""
        if self._below.queue.full():
            self._below.queue.get_nowait()
        self._below.queue.put_nowait(None)


_certificates: list[RTCCertificate] = []


def certificate() -> RTCCertificate:
    """Return this process's certificate, made anew long before it runs out; an association keeps the one it began with.

    Browsers know it by its fingerprint, which each description tells.
    """
    if not _certificates or _certificates[0].expires - datetime.now(UTC) < RENEWED_BEFORE:
        _certificates[:] = [RTCCertificate.generateCertificate()]
    return _certificates[0]
