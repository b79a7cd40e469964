"""MLLP on real sockets: framing, order, acknowledgment after delivery, limits, stopping."""

import asyncio
from zoneinfo import ZoneInfo

import httpx
import pytest

from connectors.api import ConnectorError, Context, RejectedError, TransientError
from connectors.hl7v2.mllp import IN_FLIGHT, IN_FLIGHT_BYTES
from hub.demo.ports import free_port
from tests.connectors.hl7v2.sample import connector, siu
from tests.connectors.hl7v2.talk import NOW, Inbox, Sender, framed, listening, numbered, sending


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
        await sender.send(framed(numbered(1)) + framed(numbered(2))[:20])
        assert await sender.answer() == ("AA", "N1")
        await listener.close()
        assert listener.connections == set()
        assert await sender.reader.read() == b""


async def test_the_connector_listens_until_it_is_cancelled() -> None:
    inbox = Inbox()
    port = free_port()
    async with httpx.AsyncClient() as http, listening(Inbox(), listen=f"127.0.0.1:{port}") as other:
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
    async with asyncio.timeout(20):
        while True:
            try:
                return Sender(*await asyncio.open_connection("127.0.0.1", port))
            except ConnectionRefusedError:
                await asyncio.sleep(0)


# Enhanced mode.


def asking(number: int, accept: str, application: str) -> bytes:
    return numbered(number).replace(b"|P|2.5.1", f"|P|2.5.1|||{accept}|{application}".encode())


async def test_a_sender_is_answered_as_it_asks_and_not_at_all_where_it_does_not() -> None:
    inbox = Inbox(errors={"N5": TransientError("disk"), "N6": TransientError("disk")})
    wishes = ["AL NE", "NE NE", "NE AL", "ER NE", "AL NE", "ER NE", "SU NE"]
    frames = [framed(asking(number, *wish.split())) for number, wish in enumerate(wishes, 1)]
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(b"".join(frames) + framed(numbered(8)))
        assert [await sender.answer() for _ in range(6)] == [
            ("CA", "N1"), ("AA", "N3"), ("CE", "N5"), ("CE", "N6"), ("CA", "N7"), ("AA", "N8"),
        ]  # fmt: skip
        sender.writer.write_eof()
        assert await sender.reader.read() == b""
    assert len(inbox.raws) == 8


async def test_a_connection_whose_sender_wants_no_answers_is_closed_when_it_has_said_all() -> None:
    inbox = Inbox(gates={"N1": asyncio.Event()})
    async with listening(inbox) as listener, sending(listener) as sender:
        await sender.send(framed(asking(1, "NE", "NE")))
        sender.writer.write_eof()
        await inbox.until(1)
        inbox.gates["N1"].set()
        assert await sender.reader.read() == b""
    assert inbox.keys == ["N1"]


async def test_the_operator_may_have_every_message_answered_in_original_mode() -> None:
    async with listening(Inbox(), acknowledgment="original") as listener, sending(listener) as sender:
        await sender.send(framed(asking(1, "AL", "NE")) + framed(asking(2, "NE", "NE")))
        assert [await sender.answer() for _ in range(2)] == [("AA", "N1"), ("AA", "N2")]


async def test_a_message_sent_again_after_a_lost_answer_is_answered_again() -> None:
    inbox = Inbox()
    async with listening(inbox) as listener:
        async with sending(listener) as sender:
            await sender.send(framed(numbered(1)))
            await inbox.until(1)
        async with sending(listener) as sender:
            await sender.send(framed(numbered(1)))
            assert await sender.answer() == ("AA", "N1")
    assert inbox.keys == ["N1", "N1"]
