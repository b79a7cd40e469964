"""The hub as a process: it listens, says so, tells its log nothing about anybody, and ends when it is told to."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from hub.cli import setup
from hub.demo.ports import free_port
from hub.settings import Paths
from hub.vault.home import Home
from tests.hub.vault.house import running

PATIENCE_S = 60

POLICY = """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"

[http]
bind = "127.0.0.1:{}"
"""


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    paths = Paths(tmp_path / "practice")
    setup.make(paths, POLICY.format(free_port()))
    with running(Home(paths.root)):
        yield paths


@contextmanager
def hub(paths: Paths) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "hub.api", "--dir", str(paths.root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def awaited(file: Path) -> None:
    """Wait until another process has made a file."""
    deadline, wait = time.monotonic() + PATIENCE_S, threading.Event()
    while not file.exists():
        assert time.monotonic() < deadline
        wait.wait(0.02)


def address(paths: Paths) -> tuple[str, int]:
    host, _, port = paths.practice_toml.read_text().split('bind = "')[1].split('"')[0].rpartition(":")
    return host, int(port)


def test_it_says_when_it_answers_and_logs_nothing_that_was_asked(paths: Paths) -> None:
    base = "http://{}:{}".format(*address(paths))
    with hub(paths) as process:
        assert process.poll() is None
        awaited(paths.run / "hub.ready")
        assert int((paths.run / "hub.ready").read_text()) == process.pid
        with httpx.Client(base_url=base, trust_env=False, timeout=PATIENCE_S) as http:
            assert http.get("/v1/health").json()["vault"] == "ok"
            for path in ("/v1/pops/secretsecret", "/v1/patients?phone=%2B12125550142", "/rivera", "/v1/calls?limit=x"):
                assert http.get(path).status_code in {401, 404}
            assert "server" not in http.get("/v1/health").headers
        with socket.create_connection(address(paths)) as raw:
            raw.sendall(b"Rivera 12125550142\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    for word in ("secretsecret", "2125550142", "ivera"):
        assert word not in told


def test_an_address_that_is_taken_is_named(paths: Paths) -> None:
    with socket.create_server(address(paths)), hub(paths) as process:
        _, told = process.communicate(timeout=PATIENCE_S)
    line = json.loads(told.splitlines()[-1])
    assert process.returncode == 1
    assert (line["event"], line["reason"]) == ("cannot listen", "Address already in use")
    assert line["bind"] == "{}:{}".format(*address(paths))
    assert not (paths.run / "hub.ready").exists()


def test_it_waits_for_the_vault_and_ends_while_it_waits(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "practice")
    setup.make(paths, POLICY.format(free_port()))
    with hub(paths) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "waiting for the vault"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
