"""How the interpreter runs where somebody waits: short turns between threads, few pauses for garbage."""

import gc
import sys

SWITCH_S = 0.0005
"Between turns of the loop and the threads: Python's own 5 ms would be heard by callers, and be most of an MLLP AA."

GARBAGE = 20_000, 5, 4
"""Objects made before the collector looks for cycles, and how much rarer it looks at what is older.

What a call leaves is freed without it; libraries leave some kilobytes in cycles with each query, which would otherwise
wait for an hour or more.
"""


def collect() -> None:
    """Begin to collect garbage, once all is imported; it was off until then, and what was imported stays."""
    gc.freeze()
    gc.enable()


def take_short_turns() -> None:
    """Let threads take turns often; at the start of a process."""
    sys.setswitchinterval(SWITCH_S)


def collect_rarely() -> None:
    """Leave what lives as long as the process out of garbage collection; once everything is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
