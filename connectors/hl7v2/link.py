"""The sending side of one MLLP connection: messages out, acknowledgments in (HL7 v2.5.1 sections 2.9.2 and 2.9.3)."""

import asyncio
import re
import ssl
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from connectors.api import AuthExpiredError, Connect, ConnectorError, RejectedError, TransientError
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.mllp import TAIL, Framer

CODES = frozenset({"AA", "AE", "AR", "CA", "CE", "CR"})
"MSA-1 (HL7 table 0008): application and commit, each accept, error and reject."

CONDITIONS = {
    "100": "segment-sequence-error",
    "101": "required-field-missing",
    "102": "data-type-error",
    "103": "table-value-not-found",
    "200": "unsupported-message-type",
    "201": "unsupported-event-code",
    "202": "unsupported-processing-id",
    "203": "unsupported-version-id",
    "204": "unknown-key-identifier",
    "205": "duplicate-key-identifier",
}
"Message error conditions (HL7 table 0357) that the same message always meets, whether they come with AE or with AR."

PASSING = frozenset({"206", "207"})
"Record locked and internal error: another time it may be taken, even where it comes with AR."

REFUSED = "refused-by-receiver"
"The reason of a refusal that names no condition."

CLOSE_S = 1.0
"How long the other side may take to part."

QUIET_S = 0.5
"How long a receiver that was only greeted has for hanging up: with TLS 1.3 it refuses a certificate afterwards."

_REFUSALS = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }
)
"What OpenSSL calls the alerts about our certificate (RFC 8446 section 6.2), which come after the handshake in TLS 1.3."

_READ_BYTES = 65536

_PLACE = re.compile(r"[A-Z][A-Z0-9]{2}-[0-9]{1,2}")
"What may be told of a fault's place: anything else could be from a record."


class Reply(NamedTuple):
    """An acknowledgment."""

    code: str
    "MSA-1."

    control_id: str
    "MSA-2: MSH-10 of what it answers."

    condition: str
    "HL7 table 0357; empty where the receiver names none."

    field: str
    "Where the receiver sees the fault, such as SCH-2."

    message: Message
    "All of it."


def reply_of(raw: bytes, charset: str = "") -> Reply | None:
    """Return what a receiver said, or None if it is no acknowledgment that one can read.

    `charset` (HL7 table 0211) stands in where MSH-18 is empty.
    """
    try:
        message = Message.parse(raw, charset=charset)
    except RejectedError:
        return None
    msa = message.segment("MSA")
    if msa is None or msa.value(1).strip().upper() not in CODES:
        return None
    condition, field = _fault(message)
    return Reply(msa.value(1).strip().upper(), msa.value(2).strip(), condition or msa.value(6), field, message)


def _fault(message: Message) -> tuple[str, str]:
    """Return condition and place of the ERR segment: ERR-3 and ERR-2 (ERL), or before v2.5 both in ERR-1 (ELD)."""
    err = message.segment("ERR")
    if err is None:
        return "", ""
    old = err.composite(1)
    location = err.composite(2) if err.field(2) else old
    place = f"{location[1]}-{location[3]}"
    return err.value(3) or old[4], place if _PLACE.fullmatch(place) else ""


def error_of(reply: Reply) -> ConnectorError | None:
    """Return what a reply means for the message, or None where it was taken.

    By the standard AE is about the message and AR about the receiver's state (section 2.9.2); many receivers mean it
    the other way round. The condition says which, where there is one.
    """
    if reply.code in ("AA", "CA"):
        return None
    if reply.condition in CONDITIONS:
        return RejectedError(CONDITIONS[reply.condition], field=reply.field)
    if reply.condition in PASSING or reply.code in ("AE", "CE"):
        return TransientError(f"answered {reply.code}")
    return RejectedError(REFUSED, field=reply.field)


class Link:
    """One connection to a receiver."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._framer = Framer()
        self._frames: deque[bytes] = deque()
        self.answered = False
        "Whether anything was ever answered on it."

        self.silences = 0
        "How often in a row an answer did not come in time."

    @classmethod
    async def open(cls, connect: Connect, url: str) -> "Link":
        """Return a connection to `url`.

        Raises:
            ConnectorError: there is none.
        """
        return cls(*await connect(url))

    @property
    def ended(self) -> bool:
        """Whether the receiver has closed it, with nothing left to read."""
        return not self._frames and (self._reader.at_eof() or self._writer.is_closing())

    async def send(self, message: bytes) -> None:
        """Send one message.

        Raises:
            OSError: the connection is broken.
        """
        self._writer.write(b"\x0b" + message + TAIL)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """Return the next frame; a cancelled call has read nothing away.

        Raises:
            OSError: the connection is broken, or the receiver closed it.
            AuthExpiredError: the receiver does not take our certificate; it took no message, either.
        """
        while not self._frames:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ssl.SSLError as error:
                if error.reason in _REFUSALS:
                    raise AuthExpiredError("the certificate is refused") from None
                raise
            if not data:
                raise ConnectionResetError
            self._frames += [frame.body for frame in self._framer.feed(data) if not frame.oversize]
        return self._frames.popleft()

    async def close(self) -> None:
        """Part from the receiver."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
                return
        self._writer.transport.abort()


async def greet(connect: Connect, url: str, *, quiet_s: float = QUIET_S) -> None:
    """Prove that the receiver at `url` takes our connection; MLLP has no question that is without effect.

    Raises:
        AuthExpiredError: it does not take our certificate.
        TransientError: no connection, or it hangs up.
    """
    link = await Link.open(connect, url)
    try:
        async with asyncio.timeout(quiet_s):
            await link.receive()
    except TimeoutError:
        return
    except OSError:
        raise TransientError("the receiver hung up") from None
    finally:
        await link.close()
