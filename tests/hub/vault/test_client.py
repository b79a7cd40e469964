"""The client: quick refusals, no answer taken for another's, and a restart of the vault that nobody notices."""

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from hub.vault import client, wire
from hub.vault.client import Vault, VaultUnavailableError
from hub.vault.home import Home
from hub.vault.wire import Op, Status
from tests.hub.vault.house import NURSE, PATIENCE_S, Threaded, lane_for, threaded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.sock"


@contextmanager
def answering(path: Path, *answers: bytes | None) -> Iterator[list[wire.Request]]:
    """Stand in for a vault: each connection gets the next answer, and is closed after it; None keeps it waiting."""
    asked: list[wire.Request] = []
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            kept = []
            for answer in answers:
                end, _ = listener.accept()
                asked.extend(map(wire.request_of, wire.frames(bytearray(end.recv(65536)))))
                if answer is not None:
                    end.sendall(answer)
                    end.close()
                kept.append(end)
            done.wait()
            for end in kept:
                end.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            done.set()
            thread.join()


def test_dead_vault_is_told_at_once(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))  # the file a killed vault leaves
    for socket_path, error in ((path, "ConnectionRefusedError"), (path.with_name("never.sock"), "FileNotFoundError")):
        with Vault(socket_path) as vault, pytest.raises(VaultUnavailableError, match=f"no vault: {error}"):
            vault.health()


def test_no_answer_in_time_is_an_error_and_the_next_caller_does_not_wait(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BREAK_S", PATIENCE_S)
    with answering(path, None) as asked, Vault(path, timeout=PATIENCE_S) as vault:
        begin = time.monotonic()
        with pytest.raises(VaultUnavailableError, match="in time"):
            vault.unwrap(NURSE, [], timeout=0.1)
        waited = time.monotonic() - begin
        with pytest.raises(VaultUnavailableError, match="a moment ago"):
            vault.unwrap(NURSE, [])
        assert 0.1 <= waited < PATIENCE_S / 2
    assert [request.op for request in asked] == [Op.UNWRAP]
    assert begin + 0.1 - 1e-6 <= asked[0].deadline / 1e6 <= begin + waited


def test_answer_cut_short_is_an_error(path: Path) -> None:
    whole = wire.frame((1, Status.OK, 5, [[b"k" * 32]]))
    with answering(path, whole[:-1]), Vault(path) as vault, pytest.raises(VaultUnavailableError):
        vault.unwrap(NURSE, [])


def test_answer_to_another_request_is_no_answer(path: Path) -> None:
    other = wire.frame((77, Status.OK, 5, [[b"k" * 32]]))
    with answering(path, other), Vault(path) as vault, pytest.raises(VaultUnavailableError):
        vault.unwrap(NURSE, [])


@pytest.mark.parametrize("noise", [b"\x00\x00\x00\x01\xc1", b"\xff\xff\xff\xff"])
def test_answer_that_is_noise_is_an_error(path: Path, noise: bytes) -> None:
    with answering(path, noise), Vault(path) as vault, pytest.raises(VaultUnavailableError):
        vault.health()


@pytest.mark.parametrize("status", [Status.AUDIT_DOWN, Status.EXPIRED, Status.BUSY])
def test_refusal_that_may_pass_says_so(path: Path, status: Status) -> None:
    refusal = wire.frame((1, status, 0, ()))
    with answering(path, refusal), Vault(path) as vault, pytest.raises(VaultUnavailableError) as caught:
        vault.unwrap(NURSE, [])
    assert (caught.value.code, caught.value.status, caught.value.retry) == ("vault-unavailable", 503, True)


def test_vault_that_was_restarted_is_found_again(home: Home) -> None:
    vault = Vault(home.vault_socket)
    for _ in range(3):
        with threaded(home):
            assert vault.health()["audit"] == "ok"
    with pytest.raises(VaultUnavailableError):
        vault.health()
    vault.close()


def test_many_threads_ask_at_once(one: Threaded) -> None:
    groups = [lane_for(one.root, one.ring)[0] for _ in range(8)]
    wanted = [one.vault.unwrap(NURSE, [group]) for group in groups]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            assert list(threads.map(lambda group: one.vault.unwrap(NURSE, [group]), groups)) == wanted


def test_forked_process_uses_connections_of_its_own(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring)
    wanted = one.vault.unwrap(NURSE, [group])  # leaves an idle connection, which the child inherits
    ours, theirs = multiprocessing.Pipe()
    child = os.fork()
    if child == 0:
        try:
            theirs.send([one.vault.unwrap(NURSE, [group]) for _ in range(20)])
        finally:
            os._exit(0)  # whatever happened: there is one pytest
    assert [one.vault.unwrap(NURSE, [group]) for _ in range(20)] == [wanted] * 20
    assert ours.recv() == [wanted] * 20
    assert os.waitpid(child, 0)[1] == 0
    ours.close()
    theirs.close()


def test_note_with_more_than_codes_does_not_leave_the_process(one: Threaded) -> None:
    with pytest.raises(ValueError, match="no id or code"):
        one.vault.append(NURSE, "disclosure", [(bytes(16), uuid4(), [])], {"to": "Robin Example"})
