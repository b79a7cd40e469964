"""Real programs that the tests and benchmarks drive; `require` is the one place that says which are here."""

import os
import shutil

_BESIDE = ("/usr/sbin", "/sbin")
"Where Debian keeps programs that a user's PATH may leave out."


class PeerMissingError(Exception):
    """A real program that is needed is not on this machine."""


def missing(*programs: str) -> list[str]:
    """Return those of `programs` that are not on this machine."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_BESIDE])
    return [program for program in programs if shutil.which(program, path=path) is None]


def require(*programs: str) -> None:
    """Make sure that every one of `programs` is on this machine.

    Raises:
        PeerMissingError: one is not; the text names them.
    """
    absent = missing(*programs)
    if absent:
        raise PeerMissingError(f"needs {', '.join(absent)} on this machine")
