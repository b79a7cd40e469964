"""A target with three defects, for the test that the driver finds each; `PLANTED` names the one that is in."""

import os

_HELD: list[bytes] = []


def one(data: bytes) -> None:
    """Fail on most inputs, in the way that is asked for."""
    planted = os.environ["PLANTED"]
    if len(data) < 2:
        return
    if planted == "crash":
        raise KeyError(len(data))
    while planted == "timeout":
        pass
    while planted == "oom":
        _HELD.append(os.urandom(1 << 20))
