"""Statements past the unit of work, for what every call writes: the ORM takes several times as long.

Rows that the session holds are read anew after a change that it did not see.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, Insert, insert
from sqlmodel import Session, SQLModel


def add(db: Session, rows: Sequence[SQLModel]) -> None:
    """Write new rows of one class; they stay the caller's own, apart from the session."""
    if rows:
        statement, names = _insert(type(rows[0]))
        db.connection().execute(statement, [{name: getattr(row, name) for name in names} for row in rows])


def change(db: Session, kind: type[SQLModel], row_id: UUID, statement: Executable, values: Mapping[str, Any]) -> None:
    """Execute an update of one row."""
    db.connection().execute(statement, dict(values))
    held = db.identity_map.get(_key(kind, row_id))
    if held is not None:
        db.expire(held)


@cache
def _insert(kind: type[SQLModel]) -> tuple[Insert, tuple[str, ...]]:
    table = SQLModel.metadata.tables[str(kind.__tablename__)]
    return insert(table), tuple(column.key for column in table.columns)


def _key(kind: Any, row_id: UUID) -> Any:
    return kind.__mapper__.identity_key_from_primary_key((row_id,))
