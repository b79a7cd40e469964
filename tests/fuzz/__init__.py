"""Fuzz targets: `tests/fuzz/<target>.py` has `one(data)`, which raises only for a defect; saved inputs lie in `corpus`.

`python -m tests.fuzz TARGET SECONDS` looks for new ones; `test_corpus.py` replays the saved ones in every test run, and
with CHARTLINE_FUZZ_S=60 looks for new ones as well, a minute for each target.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

One = Callable[[bytes], None]

HERE = Path(__file__).resolve().parent
SAVED = HERE / "corpus"
FOUND = HERE.parent.parent / "build" / "fuzz"
"Where inputs go that break a target, and those that a run found worth keeping."

LONGEST_S = 1.0
"Of processor time, for one input."

MEMORY_MB = 512


def targets() -> list[str]:
    """Return the names of all targets."""
    names = (module.name for module in pkgutil.iter_modules([str(HERE)]))
    return sorted(name for name in names if not name.startswith(("_", "test_")))


def target(name: str) -> One:
    """Return what is fed; `name` is a target's, or the dotted name of a module anywhere."""
    one: One = importlib.import_module(name if "." in name else f"tests.fuzz.{name}").one
    return one


def saved(name: str) -> list[Path]:
    """Return the saved inputs of a target."""
    return sorted(path for path in (SAVED / name).iterdir() if path.is_file())
