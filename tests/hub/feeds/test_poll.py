"""Asking a connection for what changed: facts and cursor together, anew where the cursor is void, at once on a hint."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta

import httpx
import pytest

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Callback,
    Change,
    Checkpoint,
    Context,
    Identifier,
    PatientFacts,
    ResetError,
    TransientError,
    UnreadFacts,
)
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.settings import Hl7v2Settings
from hub.feeds import read_row
from hub.feeds.poll import Poller
from hub.record import appointment, change, inbox
from hub.record.absence import AbsenceFacts
from hub.record.identity import keys_for
from hub.record.inbox import Form
from tests.hub.feedhouse import NOON, Postbox
from tests.hub.feeds.said import PATIENT, VERSION, ZONE, Round, Told

Asked = tuple[Poller, Context, Told, list[set[str]]]
"What is asked, and the connections that were said to have new rows."


def patient(number: int) -> PatientFacts:
    return PatientFacts(ids=(Identifier(system="H", value=str(number)),), version=VERSION)


def poller_of(box: Postbox, told: Told, stored: Callable[[set[str]], None], **how: float) -> Poller:
    instance = box.instance
    return Poller(
        "ehr",
        told,
        instance.inbox,
        instance.db,
        seal=instance.sealer,
        index=instance.index,
        clock=instance.clock,
        stored=stored,
        **how,
    )


@asynccontextmanager
async def asking(box: Postbox, *rounds: Round) -> AsyncIterator[Asked]:
    told, stored = Told(list(rounds)), list[set[str]]()
    poller = poller_of(box, told, stored.append, every_s=0)
    async with httpx.AsyncClient() as http:
        yield poller, Context("ehr", http, box.instance.clock, ZONE, "US"), told, stored


def checkpoint(text: str) -> Checkpoint:
    return Checkpoint(cursor=text.encode())


async def test_what_was_told_and_the_cursor_are_committed_together(box: Postbox) -> None:
    rounds: list[Round] = [
        [patient(1), patient(2), checkpoint("a"), patient(3), TransientError("gone")],
        [patient(3), checkpoint("b")],
        [checkpoint("c")],
    ]
    async with asking(box, *rounds) as (poller, ctx, told, stored):
        with pytest.raises(TransientError):
            await poller.round(ctx)
        assert (len(box.rows()), box.read(inbox.cursor_of, "ehr"), stored) == (2, b"a", [{"ehr"}])
        await poller.round(ctx)
        assert (len(box.rows()), box.read(inbox.cursor_of, "ehr")) == (3, b"b")
        await poller.round(ctx)
        assert (len(stored), told.cursors) == (2, [None, b"a", b"b"])
    connector = Hl7v2(Hl7v2Settings(listen="127.0.0.1:0"))
    said = [
        read_row(connector, row, raw, timezone=ZONE, region="US")[0]
        for row, raw in zip(box.rows(), box.raws(), strict=True)
    ]
    assert said == [patient(1), patient(2), patient(3)]


async def test_when_the_commit_fails_the_cursor_stays(box: Postbox) -> None:
    async with asking(box, [patient(1), checkpoint("a")]) as (poller, ctx, _, stored):
        box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE feed_cursor RENAME TO gone"))
        try:
            with pytest.raises(Exception, match="feed_cursor"):
                await poller.round(ctx)
        finally:
            box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE gone RENAME TO feed_cursor"))
        assert (box.rows(), stored) == ([], [])


async def test_without_a_checkpoint_facts_are_kept_all_the_same(box: Postbox) -> None:
    async with asking(box, [patient(number) for number in range(1200)]) as (poller, ctx, _, stored):
        await poller.round(ctx)
    assert (len(box.rows()), len(stored), box.read(inbox.cursor_of, "ehr")) == (1200, 3, None)


async def test_a_cursor_that_is_no_longer_valid_begins_anew(box: Postbox) -> None:
    box.write(inbox.keep_cursor, "ehr", b"old", NOON)
    async with asking(box, [ResetError("old")], [patient(1), checkpoint("new")], [TransientError("x")]) as asked:
        poller, ctx, told, _ = asked
        with pytest.raises(TransientError):
            await poller.run(lambda: nullcontext(ctx))
    assert told.cursors == [b"old", None, b"new"]
    assert box.read(inbox.cursor_of, "ehr") == b"new"


class CallingBack(Told):
    """One that can say by itself that something changed."""

    def __init__(self, rounds: list[Round]) -> None:
        super().__init__(rounds)
        self.asked = asyncio.Event()

    def verify(self, callback: Callback) -> str:
        return callback.path

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        self.asked.set()
        async for said in super().changes(ctx, cursor):
            yield said


async def test_a_hint_ends_the_wait_and_one_that_came_during_a_round_is_not_lost(box: Postbox) -> None:
    rounds: list[Round] = [[checkpoint(name)] for name in "abc"]
    told, instance = CallingBack(rounds), box.instance
    poller = poller_of(box, told, lambda _: None, every_s=60, look_s=0.01)
    async with httpx.AsyncClient() as http, asyncio.timeout(20):
        asking = asyncio.create_task(poller.run(lambda: nullcontext(Context("ehr", http, instance.clock, ZONE, "US"))))
        for number in (1, 2, 3):
            await told.asked.wait()
            told.asked.clear()
            assert len(told.cursors) == number
            box.write(inbox.hint, "ehr", NOON)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def visit(number: int, hours: float = 24) -> AppointmentFacts:
    return AppointmentFacts(
        ids=(Identifier(system="H", value=f"A{number}"),),
        version=VERSION,
        status=AppointmentStatus.BOOKED,
        starts_at=NOON + timedelta(hours=hours),
        patient=PATIENT,
    )


def whole(text: str, days: int = 30) -> Checkpoint:
    return Checkpoint(cursor=text.encode(), whole=(NOON, NOON + timedelta(days=days)))


def known(box: Postbox, *visits: AppointmentFacts) -> None:
    """Have visits in the record, as the connection told them before."""
    instance = box.instance
    with instance.db.write() as db:
        for said in visits:
            change.apply(db, said, connection="ehr", seal=instance.sealer, index=instance.index, now=NOON)


def absent(box: Postbox) -> list[AbsenceFacts]:
    """Return what stands in the inbox of visits that are gone."""
    rows = zip(box.rows(), box.raws(), strict=True)
    told = [read_row(Told([]), row, raw, timezone=ZONE, region="US")[0] for row, raw in rows]
    return [said for said in told if isinstance(said, AbsenceFacts)]


async def test_what_a_feed_that_began_anew_leaves_out_is_gone(box: Postbox) -> None:
    known(box, visit(1), visit(2), visit(3, hours=24 * 60))
    box.write(inbox.keep_cursor, "ehr", b"old", NOON)
    async with asking(box, [ResetError("old")], [visit(1), whole("new")], [TransientError("x")]) as (poller, ctx, _, _):
        with pytest.raises(TransientError):
            await poller.run(lambda: nullcontext(ctx))
    (gone,) = absent(box)
    with box.instance.db.read() as db:
        keys = keys_for(visit(2).ids, "ehr", box.instance.index)
        assert [gone.appointment] == [row.id for row in [appointment.find(db, keys)] if row is not None]


async def test_a_feed_that_goes_on_says_nothing_of_what_it_leaves_out(box: Postbox) -> None:
    known(box, visit(1), visit(2))
    box.write(inbox.keep_cursor, "ehr", b"old", NOON)
    async with asking(box, [visit(1), whole("new")]) as (poller, ctx, _, _):
        await poller.round(ctx)
    assert absent(box) == []


async def test_an_answer_that_leaves_out_too_much_is_not_believed(box: Postbox) -> None:
    visits = [visit(number) for number in range(40)]
    known(box, *visits)
    async with asking(box, [*visits[:20], whole("new")]) as (poller, ctx, _, _):
        await poller.round(ctx)
    assert absent(box) == []
    assert box.read(inbox.cursor_of, "ehr") == b"new"


async def test_what_a_feed_cannot_read_is_stored_as_a_message(box: Postbox) -> None:
    async with asking(box, [UnreadFacts(raw=b'{"odd": 1}'), checkpoint("a"), UnreadFacts(raw=b'{"odd": 1}')]) as asked:
        await asked[0].round(asked[1])
    (row,) = box.rows()
    assert (row.form, box.raws()) == (Form.MESSAGE, [b'{"odd": 1}'])
