"""What every test may use: peers by name, the public data by mark."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

from tests.corpus import CORPUS

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
"Properties are judged by what they find, not by how fast a busy machine is."


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the public data's tests out, by name, on a machine that does not have it."""
    for item in items:
        if CORPUS is None and item.get_closest_marker("corpus"):
            item.add_marker(
                pytest.mark.skip(reason="the public data set is not beside the repository (../shared/data)")
            )


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
