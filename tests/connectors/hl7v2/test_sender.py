"""Sending on real sockets: order, answers and what they mean; no time passes but what the test lets."""

import asyncio
from typing import Any

import pytest

from connectors.api import RateLimitedError, RejectedError, TransientError
from connectors.hl7v2.sender import ANSWER_S, WAITING
from tests.connectors.hl7v2.peer import line, numbered


async def test_a_message_is_done_when_it_is_acknowledged_and_the_connection_goes_with_the_last_call() -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        message = await talk.next()
        assert (message.control_id, message.raw) == ("A1", numbered("A1"))
        assert not call.done()
        await talk.answer(message)
        assert (await call).code == "AA"
        await talk.parted()
    assert way.sender.counts == {"sent": 1, "answered": 1}


async def test_messages_go_one_by_one_in_order_over_one_connection() -> None:
    async with line() as way:
        calls = [way.call(f"A{number}") for number in range(10)]
        talk = await way.receiver.accept()
        for number in range(10):
            message = await talk.next()
            assert message.control_id == f"A{number}"
            await way.settle()
            assert [call.done() for call in calls] == [True] * number + [False] * (10 - number)
            await talk.answer(message)
        await asyncio.gather(*calls)
        await talk.parted()
    assert way.receiver.connections == 1


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.next()
        answer = b"\x0bMSH|^~\\&|EHR||C||20261123100000||ACK|R1|P|2.5.1\rMSA|AA|A1\r\x1c\r"
        for byte in range(len(answer)):
            talk.writer.write(answer[byte : byte + 1])
            await talk.writer.drain()
            await way.settle()
        assert (await call).control_id == "A1"


@pytest.mark.parametrize(
    "noise",
    [
        "MSA|AA|B7",  # another's
        "MSA|AA|",
        "MSA|AA|A1X",
        "MSA|XX|A1",
        "ZZ1|no acknowledgment",
    ],
)
async def test_an_answer_that_is_not_for_the_message_is_dropped_and_counted(noise: str) -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.next()
        await talk.say(b"MSH|^~\\&|EHR||C||20261123100000||ACK|R1|P|2.5.1\r" + noise.encode() + b"\r")
        await talk.say(b"no HL7 at all")
        await talk.answer("A1")
        assert (await call).control_id == "A1"
    assert way.sender.counts["mismatched"] + way.sender.counts["unreadable"] == 2


async def test_a_doubled_answer_is_not_taken_for_the_next_messages() -> None:
    async with line() as way:
        first, second = way.call("A1"), way.call("A2")
        talk = await way.receiver.accept()
        await talk.next()
        await talk.answer("A1")
        await talk.answer("A1")
        assert (await talk.next()).control_id == "A2"
        await talk.answer("A2", "AR")
        assert (await first).code == "AA"
        with pytest.raises(RejectedError):
            await second
    assert way.sender.counts["mismatched"] == 1


@pytest.mark.parametrize(
    ("code", "more", "kind", "reason", "place"),
    [
        ("AE", (), TransientError, "", ""),
        ("CE", (), TransientError, "", ""),
        ("AR", (), RejectedError, "refused-by-receiver", ""),
        ("CR", (), RejectedError, "refused-by-receiver", ""),
        (
            "AE",
            ("ERR||ARQ^1^2|204^Unknown key^HL70357|E|||Rivera, Ana",),
            RejectedError,
            "unknown-key-identifier",
            "ARQ-2",
        ),
        ("AR", ("ERR|ARQ^1^2^204&Unknown key",), RejectedError, "unknown-key-identifier", "ARQ-2"),
        ("AR", ("ERR||Rivera^1^2|101|E",), RejectedError, "required-field-missing", ""),
        ("AE", ("ERR||MSH^1^9|201|E",), RejectedError, "unsupported-event-code", "MSH-9"),
        ("AR", ("ERR|||207|E",), TransientError, "", ""),
        ("AR", ("ERR|||206|E",), TransientError, "", ""),
    ],
)
async def test_what_is_not_taken_is_told_by_code_alone(
    code: str, more: tuple[str, ...], kind: type[Exception], reason: str, place: str
) -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.answer(await talk.next(), code, *more)
        with pytest.raises(kind) as caught:
            await call
        assert "Rivera" not in str(caught.value)
        if isinstance(caught.value, RejectedError):
            assert (caught.value.reason, caught.value.field) == (reason, place)
        again = way.call("A1")  # after a mending, say
        talk = await way.receiver.accept()
        await talk.answer(await talk.next())
        assert (await again).code == "AA"


async def test_an_error_lets_the_next_message_go() -> None:
    async with line() as way:
        first, second = way.call("A1"), way.call("A2")
        talk = await way.receiver.accept()
        await talk.answer(await talk.next(), "AE")
        with pytest.raises(TransientError):
            await first
        await talk.answer(await talk.next())
        assert (await second).control_id == "A2"


async def test_a_repeated_call_sends_nothing_again() -> None:
    async with line() as way:
        first, twin = way.call("A1"), way.call("A1")
        talk = await way.receiver.accept()
        await talk.answer(await talk.next())
        assert (await first) == (await twin) == (await way.call("A1"))
        await talk.parted()
    assert way.sender.counts == {"sent": 1, "answered": 1}


async def test_a_full_line_says_when_to_come_again() -> None:
    async with line() as way:
        for number in range(WAITING):
            way.call(f"A{number}")
        await way.settle()
        with pytest.raises(RateLimitedError) as caught:
            await way.call("B1")
        assert caught.value.retry_after == ANSWER_S
        way.call("A3")  # it has its place
        await way.settle()
        assert not way.calls[-1].done()


async def test_a_call_that_may_not_go_out_fails_alone() -> None:
    async def refused(url: str) -> Any:  # noqa: ARG001 - wherever it leads
        raise RejectedError("host-not-in-settings")

    async with line() as way:
        first, second = way.call("A1", refused), way.call("A2")
        with pytest.raises(RejectedError, match="host-not-in-settings"):
            await first
        talk = await way.receiver.accept()
        assert (await talk.next()).control_id == "A2"
        await talk.answer("A2")
        await second


async def test_in_enhanced_mode_the_commit_comes_first_and_the_answer_counts() -> None:
    async with line(application=True) as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.next()
        await talk.answer("A1", "CA")
        await way.settle()
        assert not call.done()
        await talk.answer("A1", "AR")
        with pytest.raises(RejectedError):
            await call


@pytest.mark.parametrize(("code", "kind"), [("CR", RejectedError), ("CE", TransientError)])
async def test_in_enhanced_mode_a_message_that_is_not_committed_is_not_waited_for(
    code: str, kind: type[Exception]
) -> None:
    async with line(application=True) as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.answer(await talk.next(), code)
        with pytest.raises(kind):
            await call


async def test_where_only_the_commit_was_asked_for_it_is_the_answer() -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.answer(await talk.next(), "CA")
        assert (await call).code == "CA"
