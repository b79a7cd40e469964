"""The feeds process itself, beside a real vault process, and with neither vault nor Temporal: nothing acked is lost."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import col, select

from connectors.hl7v2.er7 import Message
from hub.cli import setup
from hub.db import Database
from hub.demo.ports import free_port
from hub.record.inbox import InboxMessage
from hub.settings import Paths
from hub.vault import keys
from hub.vault.home import Home
from tests.connectors.hl7v2.sample import siu
from tests.hub.vault.house import PATIENCE_S, Process, running, until

KILLS = 3


class House:
    """An instance with one HL7 v2 connection, and its feeds process."""

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        self.paths = Paths(root)
        text = f"""
            [practice]
            name = "Harbor"
            timezone = "America/New_York"
            [[connection]]
            name = "adt"
            connector = "hl7v2"
            settings = {{ listen = "127.0.0.1:{self.port}" }}
        """
        setup.make(self.paths, text)
        self.home = Home(root)
        self.log = root / "log" / "feeds.log"

    @contextmanager
    def started(self) -> Iterator["subprocess.Popen[bytes]"]:
        (self.paths.run / "feeds.ready").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hub.feeds", "--dir", str(self.paths.root)],
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL")},
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()

    def ready(self) -> bool:
        return (self.paths.run / "feeds.ready").exists()

    def stored(self) -> list[str]:
        """Return the control ids in the inbox, in order."""
        database = Database(self.paths.inbox, keys.load(self.home).service_keys("hub").inbox)
        try:
            with database.read() as db:
                return list(db.exec(select(InboxMessage.control_id).order_by(col(InboxMessage.seq))))
        finally:
            database.close()

    @contextmanager
    def feeding(self) -> Iterator["subprocess.Popen[bytes]"]:
        with self.started() as process:
            until(self.listens)
            yield process

    def listens(self) -> bool:
        with socket.socket() as probe:
            return self.ready() and probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("instance"))


@pytest.fixture
def vault(house: House) -> Iterator[Process]:
    with running(house.home) as process:
        yield process


def exchange(port: int, control_id: str) -> str:
    """Send one message and return MSA-1, or an empty string if no answer came."""
    raw = siu().replace(b"M0001", control_id.encode())
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
            line.sendall(b"\x0b" + raw + b"\x1c\r")
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                data = line.recv(4096)
                if not data:
                    return ""
                answer += data
    except OSError:
        return ""
    msa = Message.parse(answer[1:-2]).segment("MSA")
    assert msa is not None
    assert msa.field(2) == control_id
    return msa.value(1)


class Senders:
    """Several senders that send without a pause and remember what was acknowledged."""

    def __init__(self, port: int, name: str, count: int = 4) -> None:
        self._port = port
        self._stop = threading.Event()
        self.acked: list[list[str]] = [[] for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._run, args=(f"{name}-{number}", self.acked[number])) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, name: str, acked: list[str]) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            if exchange(self._port, f"{name}-{number}") == "AA":
                acked.append(f"{name}-{number}")

    def total(self) -> int:
        return sum(map(len, self.acked))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.usefixtures("vault")
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(house: House) -> None:
    chance = random.Random(7)
    for kill in range(KILLS):
        with house.feeding() as process:
            senders = Senders(house.port, f"K{kill}")
            wanted = chance.randrange(20, 200)
            try:
                until(lambda: senders.total() >= wanted)  # noqa: B023 - asked at once
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
                senders.stop()
        stored = house.stored()
        assert len(set(stored)) == len(stored)
        for acked in senders.acked:
            assert set(acked) <= set(stored)
            places = {control_id: place for place, control_id in enumerate(stored)}
            assert [places[control_id] for control_id in acked] == sorted(places[control_id] for control_id in acked)


def test_without_the_vault_messages_are_acknowledged_still(house: House) -> None:
    with running(house.home) as vault, house.feeding() as process:
        assert exchange(house.port, "V1") == "AA"
        vault.kill()
        assert [exchange(house.port, f"V{number}") for number in range(2, 8)] == ["AA"] * 6
        assert process.poll() is None
        vault.start()
    assert set(house.stored()) >= {f"V{number}" for number in range(1, 8)}


def test_the_process_waits_for_the_vault_and_ends_when_told(house: House) -> None:
    before = house.log.stat().st_size if house.log.exists() else 0
    with house.started() as waiting:
        until(lambda: b"waiting for the vault" in house.log.read_bytes()[before:])
        assert not house.ready()
        waiting.terminate()
        assert waiting.wait(PATIENCE_S) == 0
    with house.started() as process, running(house.home):
        until(house.listens)
        assert exchange(house.port, "W1") == "AA"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert "W1" in house.stored()


@pytest.mark.usefixtures("vault")
def test_logs_hold_nothing_of_a_message(house: House) -> None:
    with house.feeding():
        assert exchange(house.port, "L1") == "AA"
        assert exchange(house.port, "Rivera^Ana") == "AA"
    written = house.log.read_text()
    assert "Rivera" not in written
    assert "Traceback" not in written
