"""Making an instance: once, whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hub.cli import instance, setup
from hub.cli.app import run_command
from hub.cli.instance import opened
from hub.record import policy, staff
from hub.settings import Paths
from hub.vault import keys
from tests.hub.cli.conftest import Shell
from tests.hub.policytext import ADT, HARBOR

STAFF = """
[[staff]]
email = "ana@harbor.example"
roles = ["front-desk"]
"""
PRACTICE = HARBOR + STAFF + ADT


def init(*words: str) -> int:
    return run_command(["init", *words])


def test_an_instance_has_everything_and_keeps_it_to_its_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(str(tmp_path / "practice")) == 0
    told = capsys.readouterr().out
    paths = Paths(tmp_path / "practice")
    assert {path.name for path in paths.root.iterdir()} >= {
        *("practice.toml", "chartline.db", "inbox.db", "audit", "media", "keys", "backups", "run", "log"),
    }
    for path in (paths.root, *paths.root.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path == paths.practice_toml, path
    password = told.split("one-time password ")[1].split()[0]
    with opened(paths.root) as instance:
        version, practice = instance.policy()
        with instance.db.read() as db:
            admin = staff.check_password(db, setup.ADMIN, password)
    assert (version, practice.practice.timezone) == (1, "America/New_York")
    assert (admin.roles, admin.must_change) == (["admin"], True)
    assert paths.practice_toml.read_text() == setup.TEMPLATE.read_text()


def test_a_second_one_is_refused_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(str(tmp_path)) == 0
    before = (tmp_path / "keys" / "root.key").read_bytes()
    capsys.readouterr()
    assert init(str(tmp_path)) == 1
    assert capsys.readouterr().err == f"{tmp_path} holds an instance already\n"
    assert (tmp_path / "keys" / "root.key").read_bytes() == before


def test_a_practice_toml_that_is_there_is_the_first_policy(tmp_path: Path) -> None:
    (tmp_path / "practice.toml").write_text(PRACTICE)
    assert init(str(tmp_path)) == 0
    with opened(tmp_path) as instance, instance.db.read() as db:
        assert policy.current(db) == (1, PRACTICE)
        assert staff.find(db, "ana@harbor.example") is not None


def test_one_with_a_fault_is_refused_by_line_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PRACTICE.replace("listen =", "lisen =").replace("roles =", "role =")
    (tmp_path / "practice.toml").write_text(text)
    assert init(str(tmp_path)) == 1
    assert capsys.readouterr().err.splitlines() == [
        'practice.toml:6: [[staff]] needs "roles"',
        'practice.toml:8: unknown key "role" in [[staff]]; did you mean "roles"?',
        'practice.toml:13: "listen" in [[connection]] "adt": Field required',
        'practice.toml:13: "lisen" in [[connection]] "adt": unknown key; did you mean "listen"?',
    ]
    assert os.listdir(tmp_path) == ["practice.toml"]


def test_what_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")  # the vault cannot be started
    (tmp_path / "practice.toml").write_text(PRACTICE)
    assert init(str(tmp_path)) == 1
    assert capsys.readouterr().err == "/nonexistent/python: No such file or directory\n"
    assert os.listdir(tmp_path) == ["practice.toml"]
    assert init(str(tmp_path / "new")) == 1
    assert not (tmp_path / "new").exists()


def test_a_vault_that_does_not_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(str(tmp_path)) == 0
    (tmp_path / "keys" / keys.ROOT_FILE).chmod(0o644)
    capsys.readouterr()
    assert run_command(["token", "list", "--dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "the vault does not start: keys/root.key must have mode 0600\n"


def test_a_vault_that_runs_and_is_slow_to_answer_is_waited_for(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "hub.vault", "--dir", str(shell.paths.root)]
    with (tmp_path / "said").open("w+b") as said:
        second = subprocess.Popen(command, stderr=said)
        assert second.wait() == 1
        answered = iter((False, False, True))
        monkeypatch.setattr(instance, "answers", lambda _: next(answered))
        instance._await(shell.paths, second, said)
    assert list(answered) == []


def test_a_sandbox_has_ports_and_secrets_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(str(tmp_path / "a"), "--sandbox", "--json") == 0
    assert '"email": "admin@localhost"' in capsys.readouterr().out
    assert run_command(["apply", "--dry-run", "--dir", str(tmp_path / "a")]) == 0  # every secret it names is there
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "practice.toml").write_text(PRACTICE)
    assert init(str(tmp_path / "b"), "--sandbox") == 1
    assert "a sandbox brings its own" in capsys.readouterr().err


def test_the_installed_command_ends_with_the_documented_codes(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hub.cli", *words], capture_output=True, text=True, check=False, cwd=tmp_path
        )

    missing, wrong = run("status", "--dir", "nowhere"), run("stauts")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "nowhere is no instance; make one with: chartline init nowhere\n"
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "No such command" in wrong.stderr
