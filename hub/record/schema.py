"""The tables of an instance's two files, made and brought up to date by Alembic from the installed package.

chartline.db has the record; inbox.db has raw messages as they came in (hub.record.inbox). A change of a table needs a
new script: `python -m hub.record.migrations chartline "what changes"` writes it from the difference.
"""

from enum import StrEnum
from importlib import import_module

from sqlalchemy import MetaData
from sqlmodel import SQLModel

from hub.db import Database

NOUNS = (
    *("patient", "related", "appointment", "request", "message", "reminder", "voice", "consent", "task", "writeback"),
    *("call", "queue", "agent", "pop", "wrapup", "recording", "voicemail", "transcript", "event"),
    *("staff", "contact", "token", "policy", "idempotency"),
)
"Modules of this package with tables of chartline.db; the tables of sealing and of intents come with them."


class File(StrEnum):
    """The files of an instance that have tables."""

    CHARTLINE = "chartline"
    INBOX = "inbox"


def file_of(database: Database) -> File:
    """Return which file it is, by its name."""
    return File(database.path.stem)


def metadata_of(file: File) -> MetaData:
    """Return the tables that the code knows for a file."""
    if file is File.INBOX:
        metadata: MetaData = import_module("hub.record.inbox").InboxBase.metadata
        return metadata
    for noun in NOUNS:
        import_module(f"hub.record.{noun}")
    return SQLModel.metadata


def create(*databases: Database) -> None:
    """Make the tables in new, empty files; only their owner may read them."""
    for database in databases:
        database.path.touch(mode=0o600)
        database.path.chmod(0o600)  # somebody may have opened it before
    upgrade(*databases)


def upgrade(*databases: Database) -> None:
    """Bring each file's tables up to date in one transaction; does nothing where they are."""
    from hub.record import scripts  # only here: Alembic is long to import, and a process that is started needs none

    for database in databases:
        with database.write() as session:
            scripts.run(file_of(database), session.connection())
