"""Every process is killed with -9 fifty times while a feed, a carrier, callers and reminders go on."""

from pathlib import Path

import pytest

from tests.journeys import books, kills
from tests.journeys.house import working
from tests.journeys.stand import until

ROUNDS = 5
"Each with a practice of its own and ten kills of every process: the books of a shorter day are read sooner."


@pytest.mark.chaos
@pytest.mark.peer("sipp")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(ROUNDS))
async def test_what_was_acknowledged_survives_ten_more_kills_of_every_process(tmp_path: Path, part: int) -> None:
    async with working(tmp_path / "i") as house:
        found = await kills.run(house, kills.seed_of_this_run() + part, times=10)
        await until(lambda: not books.told(house), seconds=180)
        assert found == []
