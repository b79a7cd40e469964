"""Every process is killed with -9 five times while a feed, a carrier, callers and reminders go on."""

from pathlib import Path

import pytest

from tests.journeys import kills
from tests.journeys.house import working


@pytest.mark.peer("sipp")
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("instance")
async def test_what_was_acknowledged_survives_five_kills_of_every_process(tmp_path: Path) -> None:
    async with working(tmp_path / "i") as house:
        assert await kills.run(house, kills.seed_of_this_run(), times=5) == []
