"""Peers from npm: their packages lie in build/peers/NAME, installed by `tests/peers/npm.sh NAME` by their lock file."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parent
BUILD = BESIDE.parents[1] / "build" / "peers"


def require(name: str) -> Path:
    """Return where the packages of `name` lie; skip the test by name, or fail it where peers are required."""
    place = BUILD / name
    lock = place / "installed.json"
    if not (lock.exists() and lock.read_bytes() == (BESIDE / name / "package-lock.json").read_bytes()):
        reason = f"needs the npm packages of tests/peers/{name} (sh tests/peers/npm.sh {name})"
        if os.environ.get("CHARTLINE_REQUIRE_PEERS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return place
