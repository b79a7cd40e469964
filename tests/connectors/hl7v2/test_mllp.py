"""MLLP on real sockets: framing, order, acknowledgment after delivery, limits, TLS, stopping."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from connectors.api import ConnectorError, Context, RejectedError, TransientError
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.mllp import IN_FLIGHT, IN_FLIGHT_BYTES, Listener
from connectors.hl7v2.settings import Hl7v2Settings
from tests.connectors.hl7v2.sample import connector, siu

NOW = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)

Deliver = Callable[[bytes, str], Awaitable[None]]


def framed(body: bytes) -> bytes:
    return b"\x0b" + body + b"\x1c\r"


def numbered(number: int, size: int = 0) -> bytes:
    raw = siu().replace(b"M0001", b"N%d" % number)
    return raw + b"NTE|1|" + b"x" * size + b"\r" if size else raw


@dataclass
class Inbox:
    """Whoever is delivered to."""

    raws: list[bytes] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    "Deliveries under these keys wait."

    errors: dict[str, Exception] = field(default_factory=dict)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, raw: bytes, *, key: str) -> None:
        self.raws.append(raw)
        self.keys.append(key)
        async with self.arrived:
            self.arrived.notify_all()
        if key in self.gates:
            await self.gates[key].wait()
        if key in self.errors:
            raise self.errors[key]

    async def until(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.raws) >= count)


@dataclass
class Sender:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[str, str]:
        """Return MSA-1 and MSA-2 of the next answer."""
        frame = await self.reader.readuntil(b"\x1c\r")
        msa = Message.parse(frame[1:-2]).segment("MSA")
        assert msa is not None
        return msa.value(1), msa.value(2)


@asynccontextmanager
async def listening(inbox: Inbox, **settings: object) -> AsyncIterator[Listener]:
    made = Hl7v2Settings.model_validate({"listen": "127.0.0.1:0", **settings})
    listener = Listener(made, inbox, name="adt", clock=lambda: NOW)
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()


@asynccontextmanager
async def sending(listener: Listener, context: ssl.SSLContext | None = None) -> AsyncIterator[Sender]:
    name = "localhost" if context else None
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context, server_hostname=name)
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            assert writer.is_closing()


async def test_a_message_is_acknowledged_after_it_is_delivered() -> None:
    inbox = Inbox(gates={"M0001": asyncio.Event()})
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(framed(siu()))
        await inbox.until(1)
        answer = asyncio.ensure_future(sender.answer())
        await asyncio.sleep(0)
        assert not answer.done()
        inbox.gates["M0001"].set()
        assert await answer == ("AA", "M0001")
    assert (inbox.raws, inbox.keys) == ([siu()], ["M0001"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TransientError("disk"), "AE"),
        (RejectedError("never"), "AR"),
        (ConnectorError("broken"), "AR"),
        (RuntimeError("a defect"), "AE"),
    ],
)
async def test_what_is_not_stored_is_not_accepted(error: Exception, code: str) -> None:
    inbox = Inbox(errors={"M0001": error})
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(framed(siu()))
        assert await sender.answer() == (code, "M0001")
        await sender.send(framed(numbered(2)))
        assert await sender.answer() == ("AA", "N2")


async def test_answers_come_in_the_order_of_the_messages() -> None:
    inbox = Inbox(gates={"N0": asyncio.Event(), "N2": asyncio.Event()})
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(b"".join(framed(numbered(number)) for number in range(3)) + framed(b"not HL7"))
        await inbox.until(3)
        inbox.gates["N2"].set()
        inbox.gates["N0"].set()
        assert [await sender.answer() for _ in range(4)] == [("AA", "N0"), ("AA", "N1"), ("AA", "N2"), ("AR", "")]
    assert inbox.keys == ["N0", "N1", "N2"]


async def test_a_message_may_come_byte_by_byte() -> None:
    inbox = Inbox()
    async with listening(inbox) as listener, sending(listener) as sender:
        for byte in framed(siu()):
            await sender.send(bytes([byte]))
        assert await sender.answer() == ("AA", "M0001")
    assert inbox.raws == [siu()]


async def test_a_message_over_the_limit_is_refused_and_the_connection_lives_on() -> None:
    inbox = Inbox()
    async with listening(inbox, max_frame=65536) as listener, sending(listener) as sender:
        await sender.send(framed(numbered(1, 70_000)) + framed(numbered(2)))
        assert [await sender.answer(), await sender.answer()] == [("AR", "N1"), ("AA", "N2")]
    assert inbox.keys == ["N2"]


async def test_eight_mebibytes_are_taken() -> None:
    inbox = Inbox()
    raw = siu() + b"OBX|1|ED|||" + b"A" * (8 * 1024 * 1024 - len(siu()) - 12) + b"\r"
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(framed(raw))
        assert await sender.answer() == ("AA", "M0001")
        await sender.send(framed(raw + b"\r"))
        assert await sender.answer() == ("AR", "M0001")
    assert (len(raw), inbox.raws == [raw]) == (8 * 1024 * 1024, True)


@pytest.mark.parametrize("body", [b"", b"x", b"MSH", b"MSHA^~\\&", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02"])
async def test_what_is_not_hl7_is_rejected_and_not_delivered(body: bytes) -> None:
    inbox = Inbox()
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(framed(body))
        assert await sender.answer() == ("AR", "")
    assert inbox.raws == []


async def test_a_sender_far_ahead_of_its_answers_has_to_wait() -> None:
    inbox = Inbox(gates={"N0": asyncio.Event()})
    count = IN_FLIGHT * 3
    async with listening(inbox) as listener, sending(listener) as sender:
        everything = b"".join(framed(numbered(number, 3000)) for number in range(count))
        writing = asyncio.ensure_future(sender.send(everything))
        await inbox.until(IN_FLIGHT)
        inbox.gates["N0"].set()
        answers = [await sender.answer() for _ in range(count)]
        await writing
    assert answers == [("AA", f"N{number}") for number in range(count)]
    assert inbox.keys == [f"N{number}" for number in range(count)]


async def test_a_sender_of_large_messages_has_to_wait_sooner() -> None:
    size, disk = 1024 * 1024, asyncio.Event()
    inbox = Inbox(gates={f"N{number}": disk for number in range(80)})
    async with listening(inbox) as listener, sending(listener) as sender:
        everything = b"".join(framed(numbered(number, size)) for number in range(80))
        writing = asyncio.ensure_future(sender.send(everything))
        await inbox.until(IN_FLIGHT_BYTES // size)
        (connection,) = listener.connections
        assert connection.held
        assert len(inbox.raws) < 40
        disk.set()
        assert [await sender.answer() for _ in range(80)] == [("AA", f"N{number}") for number in range(80)]
        await writing
        assert not connection.held


async def test_a_sender_that_goes_away_takes_nothing_with_it() -> None:
    inbox = Inbox(gates={"M0001": asyncio.Event()})
    async with listening(inbox) as listener:
        async with sending(listener) as sender:
            await sender.send(framed(siu()) + framed(numbered(2))[:40])
            await inbox.until(1)
        inbox.gates["M0001"].set()
        async with sending(listener) as sender:
            await sender.send(framed(numbered(3)))
            assert await sender.answer() == ("AA", "N3")
    assert inbox.keys == ["M0001", "N3"]


async def test_what_is_under_way_is_answered_before_the_listener_stops() -> None:
    inbox = Inbox(gates={"M0001": asyncio.Event()})
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(framed(siu()))
        await inbox.until(1)
        closing = asyncio.ensure_future(listener.close())
        await asyncio.sleep(0)
        await sender.send(framed(numbered(2)))
        inbox.gates["M0001"].set()
        await closing
        assert await sender.answer() == ("AA", "M0001")
        assert await sender.reader.read() == b""
    assert inbox.keys == ["M0001"]


async def test_a_sender_that_has_said_all_still_gets_its_answers() -> None:
    inbox = Inbox(gates={"N2": asyncio.Event()})
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(framed(numbered(1)) + framed(numbered(2)))
        sender.writer.write_eof()
        assert await sender.answer() == ("AA", "N1")
        inbox.gates["N2"].set()
        assert await sender.answer() == ("AA", "N2")
        assert await sender.reader.read() == b""


async def test_a_sender_that_does_not_close_is_closed() -> None:
    async with listening(Inbox()) as listener, sending(listener) as sender:
        await sender.send(framed(numbered(1))[:20])
        await listener.close()
        assert listener.connections == set()
        assert await sender.reader.read() == b""


async def test_the_connector_listens_until_it_is_cancelled() -> None:
    inbox = Inbox()
    async with httpx.AsyncClient() as http, listening(Inbox()) as other:
        port = other.port
        ctx = Context("adt", http, lambda: NOW, ZoneInfo("UTC"), "US", inbox)
        with pytest.raises(OSError, match="in use"):
            await connector(listen=f"127.0.0.1:{port}").listen(ctx)
        await other.close()
        task = asyncio.ensure_future(connector(listen=f"127.0.0.1:{port}").listen(ctx))
        sender = await _connected(port)
        await sender.send(framed(siu()))
        assert await sender.answer() == ("AA", "M0001")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await sender.reader.read() == b""
        sender.writer.close()
        with pytest.raises(RejectedError):
            await connector().listen(Context("adt", http, lambda: NOW, ZoneInfo("UTC"), "US"))


async def _connected(port: int) -> Sender:
    async with asyncio.timeout(5):
        while True:
            try:
                return Sender(*await asyncio.open_connection("127.0.0.1", port))
            except ConnectionRefusedError:
                await asyncio.sleep(0)


# Settings, and TLS.


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": "0.0.0.0:2575"},
        {"listen": "hl7.example.org:2575"},
        {"listen": "2575"},
        {"listen": "127.0.0.1:x"},
        {"listen": "127.0.0.1:70000"},
        {"listen": "127.0.0.1:2575", "timezone": "Eastern"},
        {"listen": "127.0.0.1:2575", "charset": "EBCDIC"},
        {"listen": "127.0.0.1:2575", "certificate": "x"},
        {"listen": "127.0.0.1:2575", "client_ca": "x"},
        {"listen": "127.0.0.1:2575", "events": {"cancel": "S15"}},
        {"listen": "127.0.0.1:2575", "statuses": {"CONF": "confirmed"}},
        {"listen": "127.0.0.1:2575", "max_frame": 10},
        {"listen": "127.0.0.1:2575", "lisen": ""},
        {},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Hl7v2Settings.model_validate(settings)


@pytest.mark.parametrize("listen", ["127.0.0.1:2575", "127.8.8.8:1", "localhost:2575", "[::1]:2575"])
def test_this_machine_alone_may_be_listened_to_without_tls(listen: str) -> None:
    settings = Hl7v2Settings(listen=listen)
    assert settings.port in (1, 2575)
    assert "[" not in settings.host


def test_other_machines_may_be_listened_to_without_tls_where_the_operator_says_so() -> None:
    assert Hl7v2Settings(listen="0.0.0.0:2575", plaintext=True).host == "0.0.0.0"


def certificate(name: str, by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None) -> tuple[
    x509.Certificate, ec.EllipticCurvePrivateKey
]:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (by[0].subject, by[1]) if by else (subject, key)
    start = datetime.now(UTC) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    return builder.sign(signer, hashes.SHA256()), key


def pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[str, str]:
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding).decode(), private.decode()


async def _exchange(listener: Listener, context: ssl.SSLContext) -> None:
    async with sending(listener, context) as sender:
        await sender.send(framed(numbered(2)))
        await sender.answer()


async def test_a_sender_shows_its_certificate_where_that_is_asked_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = certificate("authority")
    root, _ = pem(*authority)
    chain, key = pem(*certificate("server", authority))
    mine, my_key = pem(*certificate("sender", authority))
    file = tmp_path_factory.mktemp("tls") / "sender.pem"
    file.write_text(mine + my_key)
    inbox = Inbox()
    async with listening(inbox, certificate=chain, key=key, client_ca=root) as listener:
        known = ssl.create_default_context(cadata=root)
        known.load_cert_chain(file)
        async with sending(listener, known) as sender:
            await sender.send(framed(siu()))
            assert await sender.answer() == ("AA", "M0001")
        unknown = ssl.create_default_context(cadata=root)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await _exchange(listener, unknown)
    assert inbox.keys == ["M0001"]
