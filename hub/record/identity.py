"""Which row a statement is about: by its business identifiers, never by likeness.

An identifier counts within the connection that told it. One whose system is a URI (FHIR R4 Identifier.system: it names
a set of values that are unique) is the same wherever it is told and whatever its type is called, so an EHR that speaks
both FHIR and HL7 v2 keeps one row for one person.
"""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from sqlalchemy import select
from sqlmodel import Session, SQLModel, col

from connectors.api import Identifier
from hub.record.error import IdentityConflictError
from hub.security.index import BlindIndex

ANYWHERE = ""
"Stands for the connection of an identifier that is the same in every connection."

URIS = ("urn:", "http://", "https://")
"How a system begins that names one set of values everywhere; an HL7 v2 namespace may hold a colon as well."

Key = tuple[str, bytes]
"Connection (or `ANYWHERE`) and blind index of one identifier."


def key_of(identifier: Identifier, connection: str, index: BlindIndex) -> Key:
    """Return what stands for `identifier` in the record."""
    if identifier.system.startswith(
        URIS
    ):  # the namespace says all: FHIR and HL7 v2 name an id's type in different words
        return ANYWHERE, index.identifier(identifier.system, "", identifier.value)
    return connection, index.identifier(identifier.system, identifier.type, identifier.value)


def keys_for(ids: Iterable[Identifier], connection: str, index: BlindIndex) -> list[Key]:
    """Return what stands for each of `ids`, without repeats, in order."""
    return list(dict.fromkeys(key_of(identifier, connection, index) for identifier in ids))


def named(db: Session, table: type[SQLModel], owner: str, keys: Collection[Key]) -> dict[Key, UUID]:
    """Return whom `keys` name, and every other key of whom they name: one query of an identifier table.

    `owner` is the column that holds the row's id.
    """
    connection, key, row = (col(getattr(table, name)) for name in ("connection", "key", owner))
    asked = select(row).where(key.in_({value for _, value in keys}))
    entries = db.execute(select(connection, key, row).where(row.in_(asked)))
    found = {(scope, value): holder for scope, value, holder in entries}
    meant = {found[key] for key in keys if key in found}
    return {key: row for key, row in found.items() if row in meant}


def keys_of(row: UUID, owners: Mapping[Key, UUID]) -> set[Key]:
    """Return the keys of one row, out of what `named` found."""
    return {key for key, owner in owners.items() if owner == row}


def only(keys: Iterable[Key], owners: Mapping[Key, UUID], what: str) -> UUID | None:
    """Return the one row that `keys` name, out of what `named` found, or None.

    Raises:
        IdentityConflictError: they name several.
    """
    rows = sorted({owners[key] for key in keys if key in owners})
    if len(rows) > 1:
        raise IdentityConflictError(f"one statement names {what} {rows[0]} and {rows[1]}")
    return rows[0] if rows else None
