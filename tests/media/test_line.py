"""What the media process knows of the practice: who may sign in, and whose phone rings for whom."""

from hub.db import now
from hub.record import staff
from media.gateway import REALM
from media.line import Line
from tests.media.cove import add_phone


async def test_a_person_rings_at_the_extension_of_the_policy_and_at_each_phone_of_theirs(line: Line) -> None:
    assert set(line.directory.credentials) == set()
    ana = line.directory.owners["101"]
    assert line.directory.extensions_of(ana) == ["101"]
    await add_phone(line, "141")
    assert sorted(line.directory.extensions_of(ana)) == ["101", "141"]
    assert set(line.directory.credentials) == {"141"}


async def test_nothing_rings_for_whoever_was_disabled(line: Line) -> None:
    ana = line.directory.owners["101"]
    with line.instance.db.write() as db:
        staff.add_device(db, ana, "101", REALM, now())
        staff.disable(db, ana, by="system:test", now=now())
    await line.load()
    assert line.directory.extensions_of(ana) == []
    assert "101" not in line.directory.credentials
