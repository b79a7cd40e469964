"""Time that a busy machine keeps from a test, so that what is measured is not the machine."""

from pathlib import Path


class Kept:
    """Counts from now on."""

    def __init__(self) -> None:
        self._before = _waited()

    @property
    def seconds(self) -> float:
        """How long this thread could have run, and had no CPU."""
        return _waited() - self._before


def _waited() -> float:
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0  # a kernel that does not count it
