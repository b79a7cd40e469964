"""The script that installs peers says what it cannot have, and fails only where peers are required."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.peers import PeerMissingError, missing, require

SCRIPT = Path(__file__).with_name("install.sh")


def install(*packages: str, path: str, required: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "CHARTLINE_REQUIRE_PEERS": required, "POLICY_RC_D": f"{path}/policy-rc.d"}
    return subprocess.run(
        ["/bin/sh", SCRIPT, *packages], env=environment, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with programs of this test's own in place of Debian's."""
    for name, lines in {
        "dpkg-query": 'here=$(dirname "$0"); case "$1" in --listfiles) cat "$here/files";; '
        '*) grep -qx "$3" "$here/installed" && printf installed;; esac',
        "id": "echo 0",
        "rm": 'rm "$@"',
        "chmod": 'chmod "$@"',
        "systemctl": 'echo "$*" >>"$(dirname "$0")/units"',
        "apt-get": 'echo "$*" >>"$(dirname "$0")/log"; here=$(dirname "$0"); '
        '"$here/policy-rc.d" coturn start; echo $? >>"$here/starts"; '
        'case "$1" in update) touch "$here/updated";; *) [ -e "$here/updated" ] || exit 100; '
        'for package; do grep -qx "$package" "$here/archive" && echo "$package" >>"$here/installed"; done;; esac; true',
    }.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nPATH={os.defpath}\n{lines}\n")
        program.chmod(0o755)
    (tmp_path / "installed").write_text("here\n")
    (tmp_path / "archive").write_text("wanted\n")
    (tmp_path / "files").write_text("/.\n/lib/systemd/system/wanted.service\n/usr/lib/systemd/system/many@.service\n")
    return tmp_path


def test_what_is_installed_is_left_alone(programs: Path) -> None:
    done = install("here", path=str(programs), required="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (programs / "log").exists()


def test_what_is_missing_is_installed_after_an_update_where_one_is_needed(programs: Path) -> None:
    done = install("here", "wanted", path=str(programs), required="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    asked = (programs / "log").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["install", "update", "install"]
    assert "here" not in asked[0].split()


def test_nothing_that_is_installed_is_started_now_or_with_the_machine(programs: Path) -> None:
    assert install("here", "wanted", path=str(programs), required="1").returncode == 0
    assert set((programs / "starts").read_text().split()) == {"101"}  # denied (invoke-rc.d(8))
    assert (programs / "units").read_text().splitlines() == ["--quiet disable wanted.service"]
    assert not (programs / "policy-rc.d").exists()


def test_what_the_machine_says_of_starting_stays(programs: Path) -> None:
    said = "#!/bin/sh\nexit 104\n"
    (programs / "policy-rc.d").write_text(said)
    (programs / "policy-rc.d").chmod(0o755)
    install("unknown", path=str(programs))
    assert (programs / "policy-rc.d").read_text() == said


@pytest.mark.parametrize(("required", "status"), [("", 0), ("1", 1)])
def test_what_cannot_be_had_is_named(programs: Path, required: str, status: int) -> None:
    done = install("here", "unknown", path=str(programs), required=required)
    assert done.returncode == status
    assert "unknown" in done.stderr
    assert "here" not in done.stderr


def test_who_is_not_root_installs_nothing(programs: Path) -> None:
    (programs / "id").write_text("#!/bin/sh\necho 1000\n")
    done = install("wanted", path=str(programs))
    assert done.returncode == 0
    assert "needs root" in done.stderr
    assert not (programs / "log").exists()


def test_another_system_than_debian_is_told_so(tmp_path: Path) -> None:
    done = install("wanted", path=str(tmp_path))
    assert done.returncode == 0
    assert "no Debian packages" in done.stderr


def test_a_program_that_is_not_here_is_named() -> None:
    assert missing("sh", "no-such-program") == ["no-such-program"]
    require("sh")
    with pytest.raises(PeerMissingError, match="no-such-program"):
        require("sh", "no-such-program")
