"""Quiet Cove Clinic, the practice of `practice.toml`, on ports that nobody has."""

from pathlib import Path
from string import Template

from hub.db import now
from hub.demo.ports import free_port
from hub.record import staff
from media.gateway import REALM
from media.line import Line


def policy() -> str:
    """Return the policy with ports that nobody has now."""
    ports = {"http": free_port(), "crm": free_port(), "sip": free_port()}
    return Template(Path(__file__).with_name("practice.toml").read_text()).substitute(ports)


async def add_phone(line: Line, extension: str) -> None:
    """Add a phone of Ana's, whose extension is 101, and have the media process know it."""
    with line.instance.db.write() as db:
        staff.add_device(db, line.directory.owners["101"], extension, REALM, now())
    await line.load()
