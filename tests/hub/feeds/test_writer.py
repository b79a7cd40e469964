"""The one writer of raw messages: many share a commit, and nobody is told too early."""

import asyncio

import pytest

from hub.feeds import NotStoredError
from hub.record.inbox import Arrival
from tests.hub.feedhouse import Postbox, writing


def arrival(number: int, connection: str = "adt") -> Arrival:
    return Arrival(connection, f"M{number}", b"MSH|%d" % number)


async def test_what_was_stored_is_in_the_file(box: Postbox) -> None:
    told: list[set[str]] = []
    async with writing(box, told.append) as writer:
        await writer.store(arrival(1))
        assert [row.control_id for row in box.rows()] == ["M1"]
        await writer.store(arrival(1))
    assert told == [{"adt"}]


async def test_many_that_wait_share_a_commit_and_keep_their_order(box: Postbox) -> None:
    told: list[set[str]] = []
    async with writing(box, told.append) as writer:
        await asyncio.gather(*(writer.store(arrival(number, ("adt", "lab")[number % 2])) for number in range(300)))
    assert [row.control_id for row in box.rows()] == [f"M{number}" for number in range(300)]
    assert 1 <= len(told) < 20
    assert set().union(*told) == {"adt", "lab"}


async def test_when_the_file_fails_nobody_is_told_that_it_is_stored(box: Postbox) -> None:
    async with writing(box) as writer:
        box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE inbox_message RENAME TO gone"))
        try:
            said = await asyncio.gather(*(writer.store(arrival(number)) for number in range(3)), return_exceptions=True)
        finally:
            box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE gone RENAME TO inbox_message"))
        assert [type(error) for error in said] == [NotStoredError] * 3
        assert NotStoredError.retry
        await writer.store(arrival(1))
    assert [row.control_id for row in box.rows()] == ["M1"]


async def test_one_that_cannot_be_stored_holds_up_no_other(box: Postbox) -> None:
    impossible = Arrival("adt", "M9", "no bytes")  # type: ignore[arg-type]
    async with writing(box) as writer:
        said = await asyncio.gather(
            *(writer.store(one) for one in (arrival(1), impossible, arrival(2))), return_exceptions=True
        )
    assert [type(error) for error in said] == [type(None), NotStoredError, type(None)]
    assert [row.control_id for row in box.rows()] == ["M1", "M2"]


async def test_a_caller_that_goes_away_is_no_trouble(box: Postbox) -> None:
    async with writing(box) as writer:
        leaving = asyncio.ensure_future(writer.store(arrival(1)))
        await asyncio.sleep(0)
        leaving.cancel()
        await writer.store(arrival(2))
    assert [row.control_id for row in box.rows()] == ["M1", "M2"]


async def test_closing_commits_what_waits_and_takes_no_more(box: Postbox) -> None:
    async with writing(box) as writer:
        waiting = [asyncio.ensure_future(writer.store(arrival(number))) for number in range(50)]
        await asyncio.sleep(0)
        await writer.close()
        await asyncio.gather(*waiting)
        with pytest.raises(NotStoredError):
            await writer.store(arrival(99))
    assert len(box.rows()) == 50
