"""What descriptions say of keys and of RTCP, each with its inverse: SDES, DTLS-SRTP, and where reports go.

RFC 4568 (crypto), RFC 8122 (fingerprint), RFC 4145 and RFC 5763 (setup), RFC 3605 (rtcp), RFC 5761 (rtcp-mux).
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from media.errors import ProtocolError
from media.latch import Address
from media.sdp import Media, Session
from media.srtp import SUITES, Key

MUX = "rtcp-mux"
ROLES = ("active", "passive", "actpass", "holdconn")
"Of a=setup (RFC 4145 section 4)."

HASHES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
"Functions that a fingerprint may be made with, and the bytes they give; SHA-1 and MD5 prove nothing any more."

T = TypeVar("T")

_SUITES = {suite.name: suite for suite in SUITES}
_IGNORED = ("WSH=", "-")
"Session parameters that change nothing for us; all others do, and the line is refused (RFC 4568 section 6.3)."


@dataclass(frozen=True, slots=True)
class Crypto:
    """One a=crypto line: a key for what its writer sends (RFC 4568 section 4)."""

    tag: int
    key: Key

    @classmethod
    def parse(cls, text: str) -> "Crypto":
        """Read what stands behind `crypto:`.

        Raises:
            ProtocolError: it cannot be read, or asks for what we do not do: another suite, a master key identifier,
                several keys, parameters that change the packets.
        """
        words = text.split()
        if len(words) < 3 or not (words[0].isascii() and words[0].isdigit() and len(words[0]) <= 9):
            raise ProtocolError("a=crypto cannot be read", spec="RFC 4568 section 9.1")
        suite = _SUITES.get(words[1])
        method, _, info = words[2].partition(":")
        said, *rest = info.split("|")
        if suite is None or method != "inline" or any(not word.startswith(_IGNORED) for word in words[3:]):
            raise ProtocolError("a=crypto asks for what we do not do", spec="RFC 4568 section 6")
        if ";" in info or any(":" in each for each in rest):
            raise ProtocolError("a=crypto with a master key identifier", spec="RFC 4568 section 6.1")
        try:
            # Some leave the padding out.
            material = b64decode(said.rstrip("=") + "=" * (-len(said.rstrip("=")) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ProtocolError("a=crypto with a key that is none", spec="RFC 4568 section 6.1") from None
        return cls(int(words[0]), Key(suite, material))

    def __str__(self) -> str:
        return f"{self.tag} {self.key.suite.name} inline:{b64encode(self.key.material).decode()}"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash of a certificate (RFC 8122 section 5)."""

    function: str
    "In lower case, as `HASHES` has it."

    value: bytes

    @classmethod
    def parse(cls, text: str) -> "Fingerprint":
        """Read what stands behind `fingerprint:`.

        Raises:
            ProtocolError: no hash that we trust, or not as long as it should be.
        """
        function, _, said = text.strip().partition(" ")
        try:
            value = bytes.fromhex(said.strip().replace(":", "")) if said.isascii() else b""
        except ValueError:
            value = b""
        if HASHES.get(function.lower()) != len(value):
            raise ProtocolError("a=fingerprint cannot be read", spec="RFC 8122 section 5")
        return cls(function.lower(), value)

    def __str__(self) -> str:
        return f"{self.function} {self.value.hex(':').upper()}"


def values_of(name: str, *attributes: Iterable[str]) -> Iterator[str]:
    """Yield what stands behind each attribute of that name."""
    for each in attributes:
        for text in each:
            said, _, value = text.partition(":")
            if said == name:
                yield value


def cryptos_of(media: Media) -> list[Crypto]:
    """Return the lines of a section that we can follow, in their order; what we cannot is as good as absent."""
    return list(_readable(Crypto.parse, values_of("crypto", media.attributes)))


def fingerprints_of(session: Session, media: Media) -> tuple[Fingerprint, ...]:
    """Return those that hold for a section: its own, or else the session's (RFC 8122 section 5)."""
    own = tuple(_readable(Fingerprint.parse, values_of("fingerprint", media.attributes)))
    return own or tuple(_readable(Fingerprint.parse, values_of("fingerprint", session.attributes)))


def setup_of(session: Session, media: Media) -> str:
    """Return the role that a description names for its writer: of `ROLES`, or empty where it names none."""
    said = [value.strip() for value in values_of("setup", media.attributes, session.attributes)]
    return said[0] if said and said[0] in ROLES else ""


def muxed(media: Media) -> bool:
    """Tell whether its writer sends RTCP to the port of RTP, where we do as well."""
    return MUX in media.attributes


def rtcp_of(media: Media) -> Address:
    """Return where its writer wants RTCP (RFC 3605 section 2.1): by default one port above RTP."""
    for value in values_of("rtcp", media.attributes):
        words = value.split()
        if words and words[0].isascii() and words[0].isdigit() and 0 < int(words[0][:6]) <= 65535:
            return (words[3] if len(words) == 4 and words[1] == "IN" else media.address), int(words[0])
    return media.address, media.port + 1


def _readable(parse: Callable[[str], T], values: Iterable[str]) -> Iterator[T]:
    for value in values:
        try:
            yield parse(value)
        except ProtocolError:
            continue
