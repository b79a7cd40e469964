"""A vault whose audit log is on a file system that fills up and gets room again; prints what was seen as JSON."""

import json
import os
import statistics
import sys
import time
from pathlib import Path

from hub.vault.client import VaultUnavailableError
from tests.hub.vault.house import NURSE, acts, group_in, made, running


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def main(root: Path) -> None:
    home = made(root)
    group = group_in(home)
    seen = {"served": 0, "refused": 0, "served_after": 0}
    refusals_s: list[float] = []
    with running(home) as process:
        vault, pid = process.vault, process.popen.pid
        assert vault.unwrap(NURSE, [group])[0][0]
        seen["served"] += 1
        fill(home.audit / "filler")
        while seen["refused"] < 20:
            begin = time.monotonic()
            try:
                assert vault.unwrap(NURSE, [group])[0][0]
                seen["served"] += 1
            except VaultUnavailableError as error:
                if str(error) != "the vault answers audit-down":
                    raise
                seen["refused"] += 1
                refusals_s.append(time.monotonic() - begin)
        os.unlink(home.audit / "filler")
        for _ in range(20):
            assert vault.unwrap(NURSE, [group])[0][0]
            seen["served_after"] += 1
        same = vault.health()["pid"] == pid
    told = {"refusal_s": statistics.median(refusals_s), "same_process": same, "on_record": acts(home).count("unwrap")}
    sys.stdout.write(json.dumps({**seen, **told}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
