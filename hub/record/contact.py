"""Where each extension's phones are (RFC 3261 section 10.2), as the media process that registered them knows it.

Kept so that a media process that died can ring them again at once: a phone does not know that it was forgotten, and
registers anew only when half of its time is over, up to half an hour later.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Field, Session, SQLModel, col, delete, select

from hub.record import column


class Contact(SQLModel, table=True):
    """One phone of one extension; its own address, which tells nothing about a patient."""

    host: str = Field(primary_key=True)
    "The media process that it registered with."

    extension: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    "What tells the phones of an extension apart: its instance id, or its address (RFC 5626 section 4.1)."

    uri: str
    source_host: str
    "The address its REGISTER really came from."

    source_port: int
    source_transport: str = "udp"
    "What it came over: its address need not say that."

    hidden: bool
    "Behind NAT: calls go to the source."

    preference: float
    "0 to 1 (RFC 3261 section 20.10)."

    expires_at: datetime = column.instant()
    call_id: str
    "Of its last REGISTER, with `sequence`: an older one that comes late is refused."

    sequence: int


def keep(db: Session, host: str, extension: str, contacts: Sequence[Contact]) -> None:
    """Replace what is known of an extension's phones at `host`."""
    db.exec(delete(Contact).where(col(Contact.host) == host, col(Contact.extension) == extension))
    db.add_all(contacts)
    db.flush()


def kept(db: Session, host: str, now: datetime) -> list[Contact]:
    """Return the phones that are registered with `host` and whose time is not over."""
    return list(db.exec(select(Contact).where(Contact.host == host, col(Contact.expires_at) > now)))
