"""Sending to receivers that are silent, late, gone or mad; no time passes but what the test lets."""

import asyncio
import random
import time

import pytest

from connectors.api import RejectedError, TransientError, UnknownOutcomeError
from connectors.hl7v2.sender import ANSWER_S, FORGOTTEN_S, LONGEST_PAUSE_S, PATIENCE_S, WAITING, Sender
from tests.connectors.hl7v2.peer import Pace, Talk, line, numbered, receiving, way


async def test_a_silent_receiver_sees_the_same_message_again_and_no_other() -> None:
    async with line() as way:
        first, second = way.call("A1"), way.call("A2")
        talk = await way.receiver.accept()
        sent = await talk.next()
        await way.pace.elapse(ANSWER_S)
        await way.pace.elapse(1.0)
        again = await talk.next()
        assert again.raw == sent.raw
        assert not second.done()
        await talk.answer("A1")
        assert (await first).code == "AA"
        assert (await talk.next()).control_id == "A2"
        await talk.answer("A2")
        assert (await second).code == "AA"
    assert way.receiver.connections == 1
    assert way.sender.counts == {"sent": 2, "resent": 1, "late": 1, "answered": 2}


@pytest.mark.parametrize("late_by", ["in the pause", "after the repeat"])
async def test_a_late_answer_is_still_the_answer(late_by: str) -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.next()
        await way.pace.elapse(ANSWER_S)
        if late_by == "after the repeat":
            await way.pace.elapse(1.0)
            await talk.next()
        await talk.answer("A1")
        assert (await call).code == "AA"
        await talk.parted()


async def test_the_doubled_answer_to_a_repeat_is_not_the_next_messages() -> None:
    async with line() as way:
        first, second = way.call("A1"), way.call("A2")
        talk = await way.receiver.accept()
        await talk.next()
        await way.pace.elapse(ANSWER_S)
        await way.pace.elapse(1.0)
        await talk.next()
        await talk.answer("A1")
        await talk.answer("A1", "AR")  # it has seen it before
        await talk.next()
        await talk.answer("A2")
        await asyncio.gather(first, second)
    assert way.sender.counts["mismatched"] == 1


async def test_pauses_grow_and_the_connection_is_given_up_after_two_silences() -> None:
    async with line(patience_s=10_000.0) as way:
        way.call("A1")
        for round_, pause in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S)):
            if round_ % 2 == 0:
                assert way.receiver.connections == round_ // 2 + (not way.receiver.idle())
                talk = await way.receiver.accept()
            assert (await talk.next()).control_id == "A1"
            await way.pace.elapse(ANSWER_S)
            await way.pace.elapse(pause)
    assert way.sender.counts["late"] == 8


async def test_a_call_gives_up_and_the_next_goes_on_with_its_message() -> None:
    async with line(answer_s=50.0) as way:
        first = way.call("A1")
        talk = await way.receiver.accept()
        await talk.next()
        await way.pace.elapse(PATIENCE_S)
        with pytest.raises(UnknownOutcomeError):
            await first
        await talk.parted()
        second = way.call("A2")
        talk = await way.receiver.accept()
        assert (await talk.next()).control_id == "A1"  # nobody waits for it, and it comes first
        await talk.answer("A1")
        assert (await talk.next()).control_id == "A2"
        await talk.answer("A2")
        assert (await second).control_id == "A2"
        assert (await way.call("A1")).code == "AA"  # what was heard meanwhile
    assert way.sender.counts["sent"] == 2
    assert way.sender.counts["resent"] == 1


async def test_a_refusal_that_nobody_waited_for_is_told_once() -> None:
    async with line(answer_s=50.0) as way:
        first = way.call("A1")
        talk = await way.receiver.accept()
        await talk.next()
        await way.pace.elapse(PATIENCE_S)
        with pytest.raises(UnknownOutcomeError):
            await first
        second = way.call("A2")
        talk = await way.receiver.accept()
        await talk.answer(await talk.next(), "AR")
        await talk.answer(await talk.next())
        await second
        with pytest.raises(RejectedError):
            await way.call("A1")


async def test_what_was_never_sent_leaves_the_line_with_its_call() -> None:
    async with line() as way:
        first, second, third = (way.call(f"A{number}") for number in (1, 2, 3))
        talk = await way.receiver.accept()
        await talk.next()
        second.cancel()
        await way.settle()
        await talk.answer("A1")
        assert (await talk.next()).control_id == "A3"
        await talk.answer("A3")
        await asyncio.gather(first, third)


async def test_another_call_goes_on_where_the_one_that_drove_was_cancelled() -> None:
    async with line() as way:
        first, second = way.call("A1"), way.call("A2")
        talk = await way.receiver.accept()
        await talk.next()
        first.cancel()
        await way.settle()
        await talk.answer("A1")  # on the same connection, without a repeat
        assert (await talk.next()).control_id == "A2"
        await talk.answer("A2")
        assert (await second).code == "AA"
    assert way.sender.counts == {"sent": 2, "answered": 2}


async def test_a_message_that_everybody_gave_up_is_forgotten_in_time() -> None:
    async with line() as way:
        first = way.call("A1")
        await (await way.receiver.accept()).next()
        first.cancel()
        await way.settle()
        way.pace.now += FORGOTTEN_S + 1
        second = way.call("A2")
        talk = await way.receiver.accept()
        assert (await talk.next()).control_id == "A2"
        await talk.answer("A2")
        await second


async def test_a_connection_that_breaks_before_the_answer_is_made_anew_after_a_pause() -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        sent = await talk.next()
        talk.writer.transport.abort()
        await way.pace.elapse(1.0)
        talk = await way.receiver.accept()
        assert (await talk.next()).raw == sent.raw
        talk.writer.close()
        await way.pace.elapse(2.0)
        talk = await way.receiver.accept()
        await talk.answer(await talk.next())
        assert (await call).code == "AA"
    assert way.sender.counts == {"sent": 1, "resent": 2, "broken": 2, "answered": 1}


async def test_a_receiver_that_parts_after_each_answer_is_met_again_at_once() -> None:
    async def once(talk: Talk) -> None:
        await talk.answer(await talk.next())

    async with line(once) as way:
        calls = [way.call(f"A{number}") for number in range(5)]
        assert [reply.control_id for reply in await asyncio.gather(*calls)] == [f"A{number}" for number in range(5)]
    assert way.receiver.connections == 5
    assert not {1.0, 2.0} & set(way.pace.asked)


async def test_a_receiver_that_is_not_there_is_tried_at_growing_pauses_and_nothing_was_sent() -> None:
    async with receiving() as receiver:
        connect, url = way(receiver.port)
    pace = Pace()
    sender = Sender(url, time=pace.time, sleep=pace.sleep)
    call = asyncio.create_task(sender.send(connect, numbered("A1"), control_id="A1"))
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0):
        await pace.elapse(pause)
    with pytest.raises(TransientError):  # the next try would come after the call's time
        await call
    assert sender.counts == {"unreachable": 6}


async def test_a_receiver_that_talks_without_end_is_late_like_one_that_says_nothing() -> None:
    async with line() as way:
        call = way.call("A1")
        talk = await way.receiver.accept()
        await talk.next()
        for _ in range(100):
            await talk.answer("B7")
        await way.pace.elapse(ANSWER_S)
        await way.settle()
        assert not call.done()
        assert way.sender.counts["late"] == 1


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_receiver_does_it_sees_one_message_at_a_time_in_order(seed: int) -> None:
    """Time passes two hundred times as fast here; the receiver loses, doubles, mixes up, delays and hangs up."""
    whim = random.Random(seed)
    seen: list[str] = []
    answered: set[str] = set()
    overtaken: list[str] = []

    async def treat(talk: Talk) -> None:
        while True:
            control_id = (await talk.next()).control_id
            if not seen or seen[-1] != control_id:
                overtaken.extend(name for name in seen if name not in answered)
                seen.append(control_id)
            what = whim.randrange(8)
            if what == 0:
                continue  # lost
            if what == 1:
                talk.writer.transport.abort()
                return
            if what == 2:
                await talk.answer("B7")
            answered.add(control_id)
            await talk.answer(control_id)
            if what == 3:
                await talk.answer(control_id)
            if what == 4:
                return

    names = [f"A{number}" for number in range(WAITING)]
    async with receiving(treat) as receiver:
        connect, url = way(receiver.port)
        sender = Sender(
            url,
            patience_s=10_000.0,
            time=lambda: time.monotonic() * 200,
            sleep=lambda seconds: asyncio.sleep(seconds / 200),
        )
        calls = [sender.send(connect, numbered(name), control_id=name) for name in names]
        replies = await asyncio.gather(*calls)
    assert [reply.control_id for reply in replies] == names
    assert (seen, overtaken) == (names, [])
    assert sender.counts["sent"] == sender.counts["answered"] == len(names)
    assert sender.counts["resent"] > 0
