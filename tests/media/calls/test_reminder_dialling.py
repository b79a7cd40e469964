"""Which reminders are dialled, how many at once, and what becomes of a call that reaches nobody."""

from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlmodel import Session

from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now
from hub.instance import Instance
from hub.record import appointment, voice
from hub.record.voice import CallStage, Outcome, ReminderCall
from hub.settings import Paths
from tests.media.calls import reminding
from tests.media.calls.reminding import PATIENT, VOICE, ask, asked, over, row_of, row_of_each, telephone
from tests.media.office import Office, opened_office, policy
from tests.media.sip.peer import saying, silent, speaking_early

pytestmark = pytest.mark.xdist_group("gateway")

instance = reminding.instance

LIMITS = "concurrent_each = 5\nper_minute = 2"


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (486, Outcome.BUSY, ""),
        (480, Outcome.NO_ANSWER, ""),
        (503, Outcome.UNREACHABLE, ""),
        (404, Outcome.REFUSED, "number-unknown"),
    ],
)
async def test_who_is_not_reached(office: Office, status: int, outcome: Outcome, reason: str) -> None:
    async with telephone(office, saying(status)):
        row = await over(office, await ask(office))
    assert (row.outcome, row.reason, row.answered_by) == (outcome, reason, "")


@pytest.mark.parametrize(
    ("number", "reason"), [("+19005550123", "range-not-allowed"), ("+442079460958", "country-not-allowed")]
)
async def test_what_may_not_be_dialled_is_not(office: Office, number: str, reason: str) -> None:
    async with telephone(office, silent) as (carrier, _):
        before = await office.count()
        row = await over(office, await ask(office, number))
        assert carrier.requests == []
    assert (row.outcome, row.reason) == (Outcome.REFUSED, reason)
    assert await office.count() == before


async def test_a_visit_that_moved_is_not_called_about(office: Office) -> None:
    def moved(db: Session) -> UUID:
        row = db.get_one(ReminderCall, asked(office.instance, PATIENT, "en", db))
        appointment.confirm(db, row.appointment_id, by="system:test", now=now())
        return row.id

    async with telephone(office, silent) as (carrier, _):
        row = await over(office, await office.instance.db.run(moved, write=True))
        assert carrier.requests == []
    assert row.stage is CallStage.WITHDRAWN


async def test_one_call_at_a_time_where_the_policy_says_so(office: Office) -> None:
    async with telephone(office, silent) as (carrier, _):
        first, second = await ask(office), await ask(office)
        await carrier.until(1, "INVITE")
        rows = await row_of_each(office, [first, second])
        assert sorted(row.stage for row in rows) == ["dialled", "waiting"]
        (waits,) = [row.id for row in rows if row.stage is CallStage.WAITING]
        left = await office.instance.db.run(lambda db: voice.withdraw(db, waits, now()).stage, write=True)
        assert left is CallStage.WITHDRAWN


async def test_no_more_calls_are_begun_at_once_than_every_limit_allows(tmp_path: Path) -> None:
    setup.make(Paths(tmp_path / "i"), policy(VOICE).replace("concurrent_each = 1\nper_minute = 100", LIMITS))
    with opened(tmp_path / "i") as instance:
        ids = [await instance.db.run(partial(asked, instance, PATIENT, "en"), write=True) for _ in range(6)]
        async with opened_office(instance) as office, telephone(office, silent) as (carrier, _):
            await office.rows(lambda rows: len(rows) >= 2)
            rows = await row_of_each(office, ids)
            assert sorted(row.stage for row in rows) == ["dialled"] * 2 + ["waiting"] * 4
            assert await office.count() == 2
        rows = await row_of_each(office, ids)
        assert sum(row.dialled_at is not None for row in rows) == 2
        assert len({invite.call_id for invite in carrier.of("INVITE")}) == 2


async def test_a_call_that_died_with_its_process_is_not_made_again(instance: Instance) -> None:
    async with opened_office(instance) as office, telephone(office, silent):
        asked = await ask(office)
        await row_of(office, asked, lambda row: row.stage is CallStage.DIALLED)
        with instance.db.write() as db:
            left = voice.lost(db, "media-test", now())
    assert left == 1
    row = await office.instance.db.run(lambda db: db.get_one(ReminderCall, asked))
    assert (row.stage, row.outcome) == (CallStage.OVER, Outcome.LOST)
    async with opened_office(instance) as office, telephone(office, silent) as (carrier, _):
        other = await ask(office)
        await row_of(office, other, lambda row: row.stage is CallStage.DIALLED)
        await carrier.until(1, "INVITE")
        assert len({invite.call_id for invite in carrier.of("INVITE")}) == 1


async def test_a_carrier_that_speaks_early_and_then_refuses_has_put_nobody_through(office: Office) -> None:
    async with telephone(office, speaking_early) as (carrier, _):
        asked = await ask(office)
        (invite,) = await carrier.until(1, "INVITE")
        carrier.say(invite.respond(486, to_tag="peer"))
        row = await over(office, asked)
    assert (row.outcome, row.answered_by) == (Outcome.BUSY, "")
