"""Look for inputs that break a target: `python -m tests.fuzz TARGET SECONDS`.

libFuzzer, guided by what the code under test did with each input, begins with the saved inputs and those of earlier
runs. It ends with 0 if the time passed and nothing broke; otherwise the input is in build/fuzz/TARGET: one that raised
(`crash-...`), took more than a second (`timeout-...`) or more than 512 MiB (`oom-...`).
"""

import argparse
import signal
import sys

import atheris

from tests.fuzz import FOUND, HERE, LONGEST_S, MEMORY_MB, SAVED, One, target


def main() -> None:
    """Run one target; does not return."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Look for inputs that break a target.")
    parser.add_argument("target", help="a module of tests/fuzz, such as er7")
    parser.add_argument("seconds", type=int)
    parser.add_argument("--longest", type=int, default=16384, help="bytes of an input")
    arguments = parser.parse_args()
    with atheris.instrument_imports(include=["connectors", "media", "aioice", "hub.security.container", "hub.tape"]):
        one = target(arguments.target)
    name = arguments.target.rpartition(".")[2]
    found = FOUND / name
    kept = found / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    words = HERE / f"{name}.dict"
    flags = [
        f"-max_total_time={arguments.seconds}",
        f"-timeout={LONGEST_S:.0f}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={arguments.longest}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
        *([f"-dict={words}"] if words.exists() else []),
        str(kept),
        *([str(SAVED / name)] if (SAVED / name).is_dir() else []),
    ]
    atheris.Setup([sys.argv[0], *flags], undisturbed(one))
    atheris.Fuzz()


def undisturbed(one: One) -> One:
    """Return `one`, whose failure is written down in peace.

    libFuzzer's timer runs on while the input that raised is saved, and its handler is gone by then: the next alarm
    would end the process first.
    """

    def told(data: bytes) -> None:
        try:
            one(data)
        except BaseException:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise

    return told


if __name__ == "__main__":
    main()
