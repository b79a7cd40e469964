"""Every saved input again, always; new ones for CHARTLINE_FUZZ_S seconds a target where that is asked for."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import FOUND, LONGEST_S, saved, target, targets

SECONDS = int(os.environ.get("CHARTLINE_FUZZ_S", "0"))
START_S = 60
"For the interpreter and the saved inputs, on a busy machine."

SAVED_INPUTS = [(name, path) for name in targets() for path in saved(name)]

fuzzer = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris (x86-64 Linux)")


def test_every_target_has_saved_inputs() -> None:
    assert {name for name, _ in SAVED_INPUTS} == set(targets())
    assert {"er7", "mllp"} <= set(targets())


@pytest.mark.parametrize(("name", "path"), SAVED_INPUTS, ids=[f"{name}-{path.name}" for name, path in SAVED_INPUTS])
def test_a_saved_input_breaks_nothing(name: str, path: Path) -> None:
    one, data = target(name), path.read_bytes()
    began = time.process_time()
    one(data)
    assert time.process_time() - began < LONGEST_S


@pytest.mark.parametrize("defect", ["crash", "timeout", "oom"])
@fuzzer
def test_the_driver_finds_what_is_planted(defect: str) -> None:
    done = run("tests.fuzz._planted", 30, PLANTED=defect)
    assert done.returncode != 0, done.stderr[-2000:]
    inputs = list((FOUND / "_planted").glob(f"{defect}-*"))
    assert inputs, done.stderr[-2000:]
    for path in inputs:
        path.unlink()


@pytest.mark.skipif(not SECONDS, reason="looks for new inputs only where CHARTLINE_FUZZ_S says how long")
@pytest.mark.timeout(SECONDS + 2 * START_S)
@pytest.mark.parametrize("name", targets())
@fuzzer
def test_no_new_input_breaks_a_target(name: str) -> None:
    done = run(name, SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]


def run(name: str, seconds: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the driver in a process of its own, two away from this one.

    A process counts the memory of the one that it was forked from as its own greatest (getrusage), and a worker of the
    tests may have held more than a target may.
    """
    return subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "tests.fuzz", name, str(seconds)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds + START_S,
        env={**os.environ, **environment},
    )
