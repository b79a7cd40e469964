"""What every test may use: peers by name, the public data by mark."""

import os
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

from tests.corpus import CORPUS

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
"Properties are judged by what they find, not by how fast a busy machine is."


LONG_S = 120
"What asks for more than this begins first, so that no worker is left alone with it at the end."


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long; leave the public data's tests out, by name, on a machine that does not have it."""
    items.sort(key=_place)
    for item in items:
        if CORPUS is None and item.get_closest_marker("corpus"):
            item.add_marker(
                pytest.mark.skip(reason="the public data set is not beside the repository (../shared/data)")
            )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling | None:
    """Let one worker run all tests of a group, one after the other."""
    return _Grouped(config, log) if config.getvalue("dist") == "loadgroup" else None


class _Grouped(LoadGroupScheduling):  # type: ignore[misc]
    """Takes the group of a test from its file: all of a file are in one.

    xdist 3.8 itself writes it into a test's id, which pytest 9.2 does not let it change, and groups nothing without a
    word. https://github.com/pytest-dev/pytest-xdist/issues/1386
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid.partition("::")[0]) or nodeid


@cache
def _group_of(file: str) -> str:
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    found = re.search(r"mark\.xdist_group\(\"(\w+)\"\)", text)
    return found[1] if found else ""


def _place(item: pytest.Item) -> int:
    """Return whether a test is long, one of many that run one after the other, or any other; their order stays."""
    limit = item.get_closest_marker("timeout")
    if limit is not None and limit.args[0] > LONG_S:
        return 0
    return 2 if item.get_closest_marker("xdist_group") is None else 1


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real programs are absent; fail it where they are required."""
    for mark in item.iter_markers("peer"):
        absent = [program for program in mark.args if shutil.which(program, path=_search_path()) is None]
        if not absent:
            continue
        reason = f"needs {', '.join(absent)} on this machine"
        if os.environ.get("CHARTLINE_REQUIRE_PEERS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
