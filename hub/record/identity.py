"""Which row a statement is about: by its business identifiers, never by likeness.

An identifier counts within the connection that told it. One whose system is a URI (FHIR R4 Identifier.system: it names
a set of values that are unique) is the same wherever it is told, so an EHR that speaks both FHIR and HL7 v2 keeps one
row for one person.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from connectors.api import Identifier
from hub.record.error import IdentityConflictError
from hub.security.index import BlindIndex

ANYWHERE = ""
"Stands for the connection of an identifier that is the same in every connection."

Key = tuple[str, bytes]
"Connection (or `ANYWHERE`) and blind index of one identifier."


def key_of(identifier: Identifier, connection: str, index: BlindIndex) -> Key:
    """Return what stands for `identifier` in the record."""
    if ":" in identifier.system:  # the namespace says all: FHIR and HL7 v2 name an id's type in different words
        return ANYWHERE, index.identifier(identifier.system, "", identifier.value)
    return connection, index.identifier(identifier.system, identifier.type, identifier.value)


def keys_of(ids: Iterable[Identifier], connection: str, index: BlindIndex) -> list[Key]:
    """Return what stands for each of `ids`, without repeats, in order."""
    return list(dict.fromkeys(key_of(identifier, connection, index) for identifier in ids))


def only(found: Iterable[UUID], what: str) -> UUID | None:
    """Return the one row that was found, or None.

    Raises:
        IdentityConflictError: several rows.
    """
    rows: Sequence[UUID] = sorted(set(found))
    if len(rows) > 1:
        raise IdentityConflictError(f"one statement names {what} {rows[0]} and {rows[1]}")
    return rows[0] if rows else None
