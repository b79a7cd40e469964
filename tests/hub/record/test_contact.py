import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text
from sqlmodel import Session

from hub.db import KEY_BYTES, Database
from hub.record import contact, schema
from hub.record.contact import Contact
from hub.record.schema import File
from hub.record.scripts import config_of
from tests.hub.record.conftest import Record


def phone(record: Record, key: str, *, host: str = "media-a", extension: str = "101", seconds: int = 60) -> Contact:
    return Contact(
        host=host,
        extension=extension,
        key=key,
        uri=f"sip:{extension}@192.0.2.7",
        source_host="192.0.2.7",
        source_port=5062,
        source_transport="tls",
        hidden=False,
        preference=1.0,
        expires_at=record.now + timedelta(seconds=seconds),
        call_id="register-1",
        sequence=2,
    )


def keys(db: Session, record: Record, host: str = "media-a") -> list[str]:
    return sorted(row.key for row in contact.kept(db, host, record.now))


def test_what_is_kept_replaces_what_was_known_of_the_extension_and_of_no_other(record: Record) -> None:
    with record.database.write() as db:
        contact.keep(db, "media-a", "101", [phone(record, "desk"), phone(record, "mobile")])
        contact.keep(db, "media-a", "102", [phone(record, "other", extension="102")])
        contact.keep(db, "media-b", "101", [phone(record, "elsewhere", host="media-b")])
    with record.database.write() as db:
        contact.keep(db, "media-a", "101", [phone(record, "mobile")])
    with record.database.read() as db:
        assert keys(db, record) == ["mobile", "other"]
        assert keys(db, record, "media-b") == ["elsewhere"]


def test_a_phone_that_signed_off_or_whose_time_is_over_is_not_kept(record: Record) -> None:
    with record.database.write() as db:
        contact.keep(db, "media-a", "101", [phone(record, "desk"), phone(record, "mobile", seconds=600)])
        record.later(seconds=60)
        assert keys(db, record) == ["mobile"]
        contact.keep(db, "media-a", "101", [])
        assert keys(db, record) == []


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        ("sip:101@192.0.2.7", "udp"),
        ("sip:101@192.0.2.7;transport=TCP", "tcp"),
        ("sip:101@192.0.2.7;x;transport=tls;ob", "tls"),
        ("sips:101@192.0.2.7", "tls"),
        ("sip:101@df7jal23ls0d.invalid;transport=wss", "ws"),
    ],
)
def test_a_phone_that_was_known_before_is_reached_as_its_address_says(tmp_path: Path, uri: str, transport: str) -> None:
    database = Database(tmp_path / f"{File.CHARTLINE}.db", secrets.token_bytes(KEY_BYTES))
    config = config_of(File.CHARTLINE)
    with database.write() as db:
        config.attributes["connection"] = db.connection()
        command.upgrade(config, "0012")
        db.execute(
            text(
                "INSERT INTO contact VALUES ('media-a', '101', 'desk', :uri, '192.0.2.7', 5062, 0, 1.0,"
                " '2026-03-02 15:00:00', 'register-1', 2)"
            ),
            {"uri": uri},
        )
    schema.upgrade(database)
    with database.read() as db:
        assert db.execute(text("SELECT source_transport FROM contact")).scalar() == transport
    database.close()
