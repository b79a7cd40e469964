"""What a receiver says: read from bytes as they come, whole or not, and what it means."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import Checks, RejectedError, TransientError
from connectors.hl7v2.link import CONDITIONS, Link, error_of, greet, reply_of
from tests.connectors.hl7v2.peer import Talk, acknowledgment, context_of, receiving, way
from tests.connectors.hl7v2.sample import connector

HAPI = (
    b"MSH|^~\\&|EHR|HARBOR|CHARTLINE|PIER|20261123100000.123-0500||ACK^S14^ACK|40821|P|2.5.1\r"
    b"MSA|AE|A1\r"
    b"ERR||SCH^1^2|204^Unknown key identifier^HL70357|E||||No appointment of Rivera, Ana\r"
)


def test_an_acknowledgment_is_read_with_its_condition_and_place() -> None:
    reply = reply_of(HAPI)
    assert reply is not None
    assert (reply.code, reply.control_id, reply.condition, reply.field) == ("AE", "A1", "204", "SCH-2")


@pytest.mark.parametrize(
    ("segments", "condition", "place"),
    [
        (("MSA|AE|A1||||204^Unknown key identifier",), "204", ""),  # v2.3 to v2.4: MSA-6
        (("MSA|AE|A1", "ERR|PID^1^3^101&Required field missing&HL70357"), "101", "PID-3"),  # up to v2.4: ELD
        (("MSA|AE|A1", "ERR|^^^207"), "207", ""),
        (("MSA|AE|A1", "ERR||PID^1^5|102"), "102", "PID-5"),
        (("MSA|AE|A1", "ERR||RIVERA^1^5|102"), "102", ""),
        (("MSA|AE|A1", "ERR||PID^1^2075550142|102"), "102", ""),
        (("MSA|AE|A1", "ERR|||nonsense"), "nonsense", ""),
        ((" MSA", "MSA| ae | A1 "), "", ""),
    ],
)
def test_every_version_has_its_own_place_for_what_is_wrong(
    segments: tuple[str, ...], condition: str, place: str
) -> None:
    raw = b"MSH|^~\\&|EHR||||20261123||ACK|1|P|2.4\r" + "\r".join(segments).encode()
    reply = reply_of(raw)
    assert reply is not None
    assert (reply.code, reply.control_id, reply.condition, reply.field) == ("AE", "A1", condition, place)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_any_line_ending_will_do(ending: bytes) -> None:
    reply = reply_of(HAPI.replace(b"\r", ending))
    assert reply is not None
    assert reply.control_id == "A1"


def test_what_is_cut_off_anywhere_is_read_or_dropped() -> None:
    for end in range(len(HAPI)):
        reply = reply_of(HAPI[:end])
        assert reply is None or reply.code == "AE"


@given(st.binary(max_size=200))
def test_no_bytes_are_too_bad(noise: bytes) -> None:
    assert reply_of(noise) is None
    reply = reply_of(b"MSH|^~\\&|" + noise + b"\rMSA|AA|A1\r")
    assert reply is None or reply.code in {"AA", "AE", "AR", "CA", "CE", "CR"}


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
@pytest.mark.parametrize("condition", ["", "0", "206", "207", *CONDITIONS, "Rivera"])
def test_the_condition_says_whether_another_time_is_of_use(code: str, condition: str) -> None:
    reply = reply_of(acknowledgment("A1", code, f"ERR|||{condition}"))
    assert reply is not None
    error = error_of(reply)
    if condition in CONDITIONS:
        assert isinstance(error, RejectedError)
        assert error.reason == CONDITIONS[condition]
    elif condition in {"206", "207"} or code in {"AE", "CE"}:
        assert isinstance(error, TransientError)
    else:
        assert isinstance(error, RejectedError)
        assert error.reason == "refused-by-receiver"
    assert "Rivera" not in str(error)


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_what_was_taken_is_no_error_whatever_else_is_said(code: str) -> None:
    reply = reply_of(acknowledgment("A1", code, "ERR|||0^Message accepted"))
    assert reply is not None
    assert error_of(reply) is None


async def test_a_cancelled_reading_has_read_nothing_away() -> None:
    async with receiving() as receiver:
        connect, url = way(receiver.port)
        link = await Link.open(connect, url)
        talk = await receiver.accept()
        reading = asyncio.create_task(link.receive())
        await asyncio.sleep(0)
        talk.writer.write(b"\x0bMSH|first hal")
        await talk.writer.drain()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        talk.writer.write(b"f\x1c\r\x0bMSH|second\x1c\r")
        assert [await link.receive(), await link.receive()] == [b"MSH|first half", b"MSH|second"]
        ended = [link.ended]
        talk.writer.close()
        with pytest.raises(ConnectionResetError):
            await link.receive()
        assert [*ended, link.ended] == [False, True]
        await link.close()


async def test_a_receiver_that_takes_the_connection_and_is_quiet_is_there() -> None:
    async with receiving() as receiver:
        connect, url = way(receiver.port)
        await greet(connect, url, quiet_s=0.01)
        await (await receiver.accept()).parted()


async def test_a_receiver_that_hangs_up_or_is_gone_is_not() -> None:
    async def treat(_: Talk) -> None:
        return

    async with receiving(treat) as receiver:
        connect, url = way(receiver.port)
        with pytest.raises(TransientError, match="hung up"):
            await greet(connect, url, quiet_s=20)
    with pytest.raises(TransientError, match="no connection"):
        await greet(connect, url)


async def test_a_connection_proves_the_addresses_that_it_has() -> None:
    assert not isinstance(connector(), Checks)
    async with receiving() as receiver:
        made = connector(send=f"mllp://127.0.0.1:{receiver.port}", query="mllp://127.0.0.1:1")
        assert isinstance(made, Checks)
        with pytest.raises(TransientError, match="no connection"):
            await made.check(context_of(made))
        assert receiver.connections == 1
