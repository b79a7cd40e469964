"""What the vault does when it is stopped, killed, or out of room: it never gives a key that is not on record."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub.vault import file, verify
from hub.vault.client import Vault, VaultUnavailableError
from hub.vault.home import Home
from tests.hub.vault.house import NURSE, PATIENCE_S, acts, group_in, logged, made, running, until

KILLS = 5
CALLERS = 4


def test_stopped_vault_is_refused_at_the_callers_timeout(home: Home) -> None:
    group = group_in(home)
    with running(home) as process:
        assert process.vault.unwrap(NURSE, [group])[0][0]
        process.popen.send_signal(signal.SIGSTOP)
        for timeout in (1.5, 1.0):
            with Vault(home.vault_socket, timeout=PATIENCE_S) as vault:
                begin = time.monotonic()
                with pytest.raises(VaultUnavailableError, match="in time"):
                    vault.unwrap(NURSE, [group], timeout=timeout)
                assert timeout <= time.monotonic() - begin < timeout * 1.9
        process.popen.send_signal(signal.SIGCONT)
        assert process.vault.unwrap(NURSE, [group], timeout=PATIENCE_S)[0][0]
        # What nobody waited for any more was dropped before it was written.
        assert acts(home).count("unwrap") == 2


def test_killed_vault_is_refused_at_once_and_restarts_quickly(home: Home) -> None:
    group = group_in(home)
    with running(home) as process:
        process.kill()
        with pytest.raises(VaultUnavailableError, match="no vault: ConnectionRefusedError"):  # not: no answer in time
            process.vault.unwrap(NURSE, [group])
        process.start()
        assert process.vault.unwrap(NURSE, [group])[0][0]


def test_nothing_acknowledged_is_lost_when_the_vault_is_killed_again_and_again(home: Home) -> None:
    group = group_in(home)
    stop = threading.Event()

    def call(number: int) -> list[int]:
        """Note numbers one after the other; return the seq of each that was acknowledged."""
        done = []
        with Vault(home.vault_socket) as vault:
            while not stop.is_set():
                try:
                    if number % 2:
                        assert vault.unwrap(NURSE, [group])[0][0]
                    else:
                        done.append(vault.append(NURSE, "note", detail={"caller": number}))
                except VaultUnavailableError:
                    stop.wait(0.002)
        return done

    with running(home) as process, ThreadPoolExecutor(CALLERS) as threads:
        callers = [threads.submit(call, number) for number in range(CALLERS)]
        try:
            for _ in range(KILLS):
                size = int(process.vault.health()["records"])
                until(lambda size=size: int(process.vault.health()["records"]) > size + 20)
                process.kill()
                process.start()
        finally:
            stop.set()
        acknowledged = [seq for caller in callers for seq in caller.result()]
    written = {record["seq"]: record["act"] for record in logged(home)}
    assert len(acknowledged) > KILLS
    assert [seq for seq in acknowledged if written.get(seq) != "note"] == []
    assert acts(home).count("start") == KILLS + 1


def test_second_vault_of_an_instance_does_not_start(home: Home) -> None:
    with running(home) as process:
        second = subprocess.run(
            [sys.executable, "-m", "hub.vault", "--dir", str(home.root)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert "vault-running" in second.stderr
        assert process.vault.health()["audit"] == "ok"


def test_write_error_ends_the_vault_and_gives_no_key(home: Home) -> None:
    group = group_in(home)
    with running(home) as process:
        size = max(path.stat().st_size for path in home.audit.iterdir())
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (size + 40_000, resource.RLIM_INFINITY))
        served = 0
        while True:
            try:
                assert process.vault.unwrap(NURSE, [group])[0][0]
                served += 1
            except VaultUnavailableError:
                break
        assert process.popen.wait(PATIENCE_S) == 1
        assert served
        process.start()
        assert acts(home).count("unwrap") >= served
        assert process.vault.unwrap(NURSE, [group])[0][0]


def test_log_whose_end_is_damaged_is_not_written_on(home: Home) -> None:
    database, key, _ = verify.instance(home.root)
    connection = file.connect(database, key)
    connection.execute("DROP TRIGGER no_update")
    connection.execute("UPDATE b SET sig = zeroblob(64)")
    connection.close()
    ended = subprocess.run(
        [sys.executable, "-m", "hub.vault", "--dir", str(home.root)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "audit-broken" in ended.stderr


def test_vault_opens_with_the_passphrase_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTLINE_PASSPHRASE", "correct horse")
    home = made(tmp_path)
    with running(home) as process:
        assert process.vault.health()["audit"] == "ok"
    monkeypatch.delenv("CHARTLINE_PASSPHRASE")
    ended = subprocess.run(
        [sys.executable, "-m", "hub.vault", "--dir", str(home.root)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, "root-key" in ended.stderr) == (1, True)


def test_vault_ends_when_told_and_its_courier_with_it(home: Home) -> None:
    with running(home) as process:
        courier = process.courier()
        assert process.close() == 0
        assert not Path(f"/proc/{courier}").exists()


def test_courier_ends_when_the_vault_is_killed(home: Home) -> None:
    with running(home) as process:
        courier = process.courier()
        process.kill()
        until(lambda: _is_dead(courier))


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs unshare(1) with a mount namespace on this machine")
def test_full_disk_gives_no_key_until_there_is_room(tmp_path: Path) -> None:
    # In a mount namespace of its own, audit/ is a file system of one MiB: tests/hub/vault/full_disk.py has the story.
    script = 'mount -t tmpfs -o size=1m tmpfs "$1/audit" && exec "$2" -m tests.hub.vault.full_disk "$1"'
    (tmp_path / "audit").mkdir()
    argv = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3], timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["served"] > 0
    assert seen["refused"] == 20
    assert seen["refusal_s"] < 0.5
    assert seen["served_after"] == 20
    assert seen["on_record"] == seen["served"] + seen["served_after"]
    assert seen["same_process"]


def test_memory_of_the_vault_is_in_no_core_file(home: Home) -> None:
    with running(home) as process:
        for pid in (process.popen.pid, process.courier()):
            limit = Path(f"/proc/{pid}/limits")
            until(lambda limit=limit: _core_limits(limit) == ["0", "0"])


def _core_limits(path: Path) -> list[str]:
    return next(line.split()[4:6] for line in path.read_text().splitlines() if line.startswith("Max core"))


def test_hardened_process_cannot_be_read_by_others_of_its_user() -> None:
    # 3 is PR_GET_DUMPABLE of prctl(2); the files in /proc tell root nothing, since root may read them anyway.
    script = "import ctypes; from hub.vault import guard; guard.harden(); print(ctypes.CDLL(None).prctl(3))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
