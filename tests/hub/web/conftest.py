"""One house, one practice and one browser for the pages' tests of a run, with the web assets built."""

import fcntl
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from hub.web import assets
from tests.hub.web import processes
from tests.hub.web.processes import Practice
from tests.hub.web.stage import Seat, Stage, chromium, house, launched

BUILD = Path(assets.__file__).with_name("build.sh")
ROOT = BUILD.parents[2]


@pytest.fixture(scope="session")
def _built() -> None:
    """Build what browsers load, unless it is there; without npm the pages' tests are skipped by name."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "web.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["sh", BUILD, ROOT / ".venv" / "bin"], capture_output=True, text=True, timeout=110, check=False
        )
    if done.returncode:
        if os.environ.get("CHARTLINE_REQUIRE_PEERS") == "1":
            pytest.fail(done.stderr, pytrace=False)
        pytest.skip(f"needs the web assets: {done.stderr.strip()}")


@pytest.fixture(scope="session")
def whole(_built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with house(tmp_path_factory.mktemp("web")) as stage:
        yield stage


@pytest.fixture
def stage(whole: Stage) -> Stage:
    whole.tick()
    return whole


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def seat(stage: Stage, browser: Browser) -> AsyncIterator[Seat]:
    async with chromium(browser, stage.base) as seat:
        yield seat


@pytest.fixture(scope="session")
def practice(_built: None, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    with processes.opened(tmp_path_factory.mktemp("processes"), browser) as practice:
        yield practice
