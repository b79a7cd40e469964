"""All processes are killed with -9 at the same moment, twice, while a feed, a carrier, callers and reminders go on."""

from pathlib import Path

import pytest

from tests.journeys import kills, power
from tests.journeys.house import working


@pytest.mark.peer("sipp")
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("instance")
async def test_what_was_acknowledged_survives_that_everything_dies_at_once(tmp_path: Path) -> None:
    async with working(tmp_path / "i") as house:
        assert await power.run(house, kills.seed_of_this_run(), times=2) == []
