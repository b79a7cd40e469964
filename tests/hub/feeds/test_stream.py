"""A feed over something else than HTTP: an installed connector is lent a way to the address in its settings."""

import asyncio
from pathlib import Path

import pytest

from hub.record import inbox
from tests.connectors.stage import listening
from tests.hub.feedhouse import Postbox
from tests.hub.feeds.test_connections import running

MODULE = """
from datetime import UTC, datetime
from connectors.api import Checkpoint, Connector, Identifier, PatientFacts, Scope, Settings, Version

class WireSettings(Settings):
    url: str

class Wire(Connector[WireSettings]):
    name = "wire"
    scopes = frozenset({Scope.PATIENT_IDENTITY})
    Settings = WireSettings

    async def changes(self, ctx, cursor):
        reader, writer = await ctx.connect(self.settings.url)
        try:
            value = (await reader.readline()).decode().strip()
        finally:
            writer.close()
        version = Version(at=datetime(2026, 3, 2, tzinfo=UTC), tag="1")
        yield PatientFacts(ids=(Identifier(system="urn:wire", value=value),), version=version)
        yield Checkpoint(cursor=value.encode())
"""


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that brings the connector `wire`."""
    about = tmp_path / "site" / "wire-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: wire\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[chartline.connectors]\nwire = wire_feed:Wire\n")
    (tmp_path / "site" / "wire_feed.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.usefixtures("wire")
async def test_a_feed_may_open_a_stream_to_its_settings_address(box: Postbox) -> None:
    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"77\n")
        await writer.drain()

    async with listening(tell) as port:
        settings = f'{{ url = "mllp://127.0.0.1:{port}" }}'
        box.publish(f'\n[[connection]]\nname = "engine"\nconnector = "wire"\nsettings = {settings}\n')
        async with running(box) as told, asyncio.timeout(20):
            await told.wait()
        assert box.read(inbox.cursor_of, "engine") == b"77"
    assert [row.connection for row in box.rows()] == ["engine"]
