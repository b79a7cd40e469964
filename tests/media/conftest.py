"""The practice of `practice.toml`, and what a media process knows of it; modules of other practices say theirs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.cli import setup
from hub.cli.instance import opened
from hub.instance import Instance
from hub.settings import Paths
from media.line import Line
from tests.media import cove


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    setup.make(Paths(tmp_path / "i"), cove.policy())
    with opened(tmp_path / "i") as instance:
        yield instance


@pytest.fixture
async def line(instance: Instance) -> Line:
    made = Line(instance, "media-test")
    await made.load()
    return made
