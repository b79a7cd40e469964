from datetime import timedelta

from sqlmodel import Session

from hub.record import contact
from hub.record.contact import Contact
from tests.hub.record.conftest import Record


def phone(record: Record, key: str, *, host: str = "media-a", extension: str = "101", seconds: int = 60) -> Contact:
    return Contact(
        host=host,
        extension=extension,
        key=key,
        uri=f"sip:{extension}@192.0.2.7",
        source_host="192.0.2.7",
        source_port=5062,
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
