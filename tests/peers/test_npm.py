"""The script that installs a peer's npm packages: once for a lock file, and never more than that."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("npm.sh")
LOCK = Path(__file__).with_name("medplum") / "package-lock.json"


def install(programs: Path, into: Path, required: str = "") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(programs), os.defpath.removeprefix(":")])
    environment = {"PATH": path, "CHARTLINE_REQUIRE_PEERS": required, "CHARTLINE_PEERS": str(into)}
    return subprocess.run(
        ["/bin/sh", SCRIPT, "medplum"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )


def npm(programs: Path, line: str) -> None:
    """Put an npm of this test's own in place of the real one."""
    programs.mkdir(exist_ok=True)
    (programs / "npm").write_text(f"#!/bin/sh\n{line}\n")
    (programs / "npm").chmod(0o755)


def test_packages_are_installed_once_for_a_lock(tmp_path: Path) -> None:
    npm(tmp_path / "bin", 'echo "$*" >>log')
    for _ in range(2):
        done = install(tmp_path / "bin", tmp_path / "peers", required="1")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    there = tmp_path / "peers" / "medplum"
    asked = (there / "log").read_text().splitlines()
    assert asked == ["ci --no-audit --no-fund --ignore-scripts --loglevel=error"]
    assert (there / "installed.json").read_bytes() == LOCK.read_bytes()
    (there / "installed.json").write_text("of another lock")
    assert install(tmp_path / "bin", tmp_path / "peers").returncode == 0
    assert len((there / "log").read_text().splitlines()) == 2


@pytest.mark.parametrize(("required", "status"), [("", 0), ("1", 1)])
def test_what_cannot_be_installed_is_said_by_name(tmp_path: Path, required: str, status: int) -> None:
    npm(tmp_path / "bin", "exit 1")
    done = install(tmp_path / "bin", tmp_path / "peers", required)
    assert done.returncode == status
    assert "npm packages of medplum" in done.stderr
    assert not (tmp_path / "peers" / "medplum" / "installed.json").exists()
