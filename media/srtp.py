"""SRTP and SRTCP: packets protected and opened where they lie in the buffer that all legs share (RFC 3711, RFC 7714).

libsrtp does the work. Its Python binding copies a packet twice and makes three objects of it; `_binding`, below it,
does neither, and costs less than half. tests/media/test_srtp.py fails when another version has changed what is used.
"""

import secrets
from dataclasses import dataclass, field
from typing import Any

import pylibsrtp
from pylibsrtp import Policy
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found] # compiled

from media.errors import ProtocolError

_WINDOW = 256
"Packets behind the newest that are still opened, each once (RFC 3711 section 3.3.2): 5 s of sound."

_LONGEST = 1400


@dataclass(frozen=True, slots=True)
class Suite:
    """A crypto suite, as RFC 4568 section 6.2 and RFC 7714 section 14.2 name it."""

    name: str
    profile: int
    key_bytes: int
    salt_bytes: int
    openssl: bytes = b""
    "What OpenSSL calls it as a protection profile of DTLS (RFC 5764 section 4.1.2)."

    @property
    def size(self) -> int:
        """Bytes of master key and master salt together."""
        return self.key_bytes + self.salt_bytes


SUITES = (
    Suite("AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12, b"SRTP_AEAD_AES_256_GCM"),
    Suite("AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12, b"SRTP_AEAD_AES_128_GCM"),
    Suite("AES_CM_128_HMAC_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14, b"SRTP_AES128_CM_SHA1_80"),
    Suite("AES_CM_128_HMAC_SHA1_32", Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 16, 14, b"SRTP_AES128_CM_SHA1_32"),
)
"The best first."


@dataclass(frozen=True, slots=True)
class Key:
    """Master key and salt of one direction."""

    suite: Suite
    material: bytes = field(repr=False)
    "The key, then the salt (RFC 4568 section 6.1)."

    def __post_init__(self) -> None:
        if len(self.material) != self.suite.size:
            raise ProtocolError("a key of another length than its suite's", spec="RFC 4568 section 6.1")

    @classmethod
    def new(cls, suite: Suite) -> "Key":
        """Return a key that nobody has had before."""
        return cls(suite, secrets.token_bytes(suite.size))


class _Stream:
    def __init__(self, key: Key, kind: int) -> None:
        policy = Policy(key.material, kind, 0, key.suite.profile)
        policy.window_size = _WINDOW
        self.key = key
        self._session: Any = pylibsrtp.Session(policy)
        self._srtp: Any = self._session._srtp[0]
        self._size: Any = ffi.new("int *")


class Writer(_Stream):
    """Protects what one side sends."""

    def __init__(self, key: Key) -> None:
        """Take its key. No two packets of a stream may ever be different under one number, and none are let through."""
        super().__init__(key, Policy.SSRC_ANY_OUTBOUND)

    def protect_at(self, place: "Place", start: int, end: int) -> int:
        """Protect the packet from `start` to `end` where it lies; return its new end, or 0 where it cannot be sent.

        Its number was used before, or is too far behind: a peer that repeats packets under one number does not get them
        protected twice, since two texts under one number would give both away (RFC 3711 section 9.1).
        """
        size = self._size
        size[0] = end - start
        if lib.srtp_protect(self._srtp, place.pointer + start, size):
            return 0
        return start + int(size[0])

    def protect(self, packet: bytes) -> bytes:
        """Return a packet protected.

        Raises:
            ProtocolError: it has no RTP header, or its number was used before.
        """
        return self._done(self._session.protect, packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Return a compound RTCP packet protected.

        Raises:
            ProtocolError: it has no RTCP header.
        """
        return self._done(self._session.protect_rtcp, packet)

    @staticmethod
    def _done(work: Any, packet: bytes) -> bytes:
        try:
            return bytes(work(packet))
        except (pylibsrtp.Error, ValueError):
            raise ProtocolError("a packet cannot be protected", spec="RFC 3711 section 3.3") from None


class Reader(_Stream):
    """Opens what the other side sends, whatever its SSRCs."""

    def __init__(self, key: Key) -> None:
        """Take its key."""
        super().__init__(key, Policy.SSRC_ANY_INBOUND)

    def open_at(self, place: "Place", size: int) -> int:
        """Open the packet in the first `size` bytes where it lies; return its new size, or 0 where it is forged.

        Forged is: not made with the key, changed on the way, or opened before.
        """
        length = self._size
        length[0] = size
        if lib.srtp_unprotect(self._srtp, place.pointer, length):
            return 0
        return int(length[0])

    def open_rtcp(self, packet: bytes) -> bytes:
        """Return a compound RTCP packet in the clear.

        Raises:
            ProtocolError: forged.
        """
        try:
            return bytes(self._session.unprotect_rtcp(packet))
        except (pylibsrtp.Error, ValueError):
            raise ProtocolError("RTCP that is forged", spec="RFC 3711 section 3.4") from None


class Place:
    """The buffer that packets lie in, as libsrtp knows it; the buffer keeps its size as long as this lives."""

    def __init__(self, buffer: bytearray) -> None:
        self.buffer = buffer
        self.pointer: Any = ffi.from_buffer("unsigned char[]", buffer)
