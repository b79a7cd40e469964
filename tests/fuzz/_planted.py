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
    if planted == "oom" and len(_HELD) < 12:
        _HELD.append(b"\1" * (1 << 26))  # at once: what takes a second to fill is found to be slow before it is large
    while planted == "timeout":
        pass
