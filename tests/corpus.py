"""The public HL7 v2 and FHIR data beside the repository; tests that read it are marked `corpus`."""

from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "data"

CORPUS: Path | None = _BESIDE if _BESIDE.is_dir() else None
"Where the data lies, or None on a machine without it."


def corpus_path() -> Path:
    """Return where the data lies, or skip the test by name."""
    if CORPUS is None:
        pytest.skip("the public data set is not beside the repository (../shared/data)")
    return CORPUS
