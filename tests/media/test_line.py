"""What the media process knows of the practice: who may sign in, and whose phone rings for whom."""

import socket
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now
from hub.demo.phone import free_port
from hub.instance import Instance
from hub.record import staff
from hub.settings import Paths
from media.gateway import REALM
from media.line import Line


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    text = Path(__file__).with_name("practice.toml").read_text()
    ports = {"http": free_port(socket.SOCK_STREAM), "crm": free_port(socket.SOCK_STREAM), "sip": free_port()}
    setup.make(Paths(tmp_path / "i"), Template(text).substitute(ports))
    with opened(tmp_path / "i") as instance:
        yield instance


async def test_a_person_rings_at_the_extension_of_the_policy_and_at_each_phone_of_theirs(instance: Instance) -> None:
    line = Line(instance, "media-test")
    await line.load()
    assert set(line.directory.credentials) == set()
    ana = line.directory.owners["101"]
    assert line.directory.extensions_of(ana) == ["101"]
    with instance.db.write() as db:
        staff.add_device(db, ana, "141", REALM, now())
    await line.load()
    assert sorted(line.directory.extensions_of(ana)) == ["101", "141"]
    assert set(line.directory.credentials) == {"141"}


async def test_nothing_rings_for_whoever_was_disabled(instance: Instance) -> None:
    line = Line(instance, "media-test")
    await line.load()
    ana = line.directory.owners["101"]
    with instance.db.write() as db:
        staff.add_device(db, ana, "101", REALM, now())
        staff.disable(db, ana, by="system:test", now=now())
    await line.load()
    assert line.directory.extensions_of(ana) == []
    assert "101" not in line.directory.credentials
