import json
import subprocess
import sys

import pytest

ENDS = {
    "an error that nobody caught": "raise ValueError(SAID)",
    "a thread's": "thread = threading.Thread(target=int, args=(SAID,)); thread.start(); thread.join()",
    "a task's": "asyncio.run(fails())",
    "a warning": "warnings.warn(SAID)",
    "a library's words": "logging.getLogger('library').warning(SAID)",
    "what a destructor raises": "Falls(); gc.collect()",
}

PROGRAM = """
import asyncio, gc, logging, threading, warnings
from hub.logs import configure, follow
SAID = "Penelope Abernquist, 1970-03-12"
class Falls:
    def __del__(self):
        raise ValueError(SAID)
async def fails():
    follow(asyncio.get_running_loop())
    asyncio.get_running_loop().call_soon(int, SAID)
    await asyncio.sleep(0.01)
configure("test")
"""


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_no_text_of_an_error_reaches_the_log(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", PROGRAM + end], capture_output=True, text=True, check=False
    )
    assert "Abernquist" not in done.stderr
    assert "1970" not in done.stderr
    assert done.stderr.strip()
    assert all(json.loads(line)["program"] == "test" for line in done.stderr.splitlines())


def test_kind_and_place_of_what_ended_the_process_are_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + ENDS["an error that nobody caught"]],
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert (told["event"], told["kind"], told["program"], done.returncode) == ("not caught", "ValueError", "test", 1)
    assert told["at"].startswith("<module>:")
