"""One house for the pages' tests of a run: a hub on loopback, with its web assets built."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.web import assets
from tests.hub.web.stage import Stage, house

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
