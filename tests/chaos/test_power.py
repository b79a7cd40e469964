"""All processes are killed with -9 at the same moment, ten times, each time upon a text that the carrier has taken."""

from pathlib import Path

import pytest

from tests.journeys import books, kills, power
from tests.journeys.house import working
from tests.journeys.stand import until


@pytest.mark.chaos
@pytest.mark.peer("sipp")
@pytest.mark.timeout(900)
async def test_what_was_acknowledged_survives_that_everything_dies_ten_times(tmp_path: Path) -> None:
    async with working(tmp_path / "i") as house:
        found = await power.run(house, kills.seed_of_this_run(), times=10, unanswered=True)
        await until(lambda: not books.told(house), seconds=180)
        assert found == []
