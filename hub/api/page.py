"""Lists as INTERFACE says: `{"items": [...], "next": cursor or null}`; a cursor is the id of the last row shown."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, SQLModel

from hub.errors import NotFoundError

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S", bound=SQLModel)

LIMIT = 50
MOST = 200

LimitParam = Annotated[int, Query(ge=1, le=MOST, description="Items on a page.")]
CursorParam = Annotated[UUID | None, Query(description="`next` of the page before.")]


class Answer(BaseModel):
    """What the API says of one thing; instants are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)


class Page(Answer, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: UUID | None = None
    "Give it back as `cursor` for the page after this; null on the last one."


def page(rows: Sequence[R], limit: int, show: Callable[[R], T], id_of: Callable[[R], UUID]) -> Page[T]:
    """Return a page of rows that were asked for with one more than `limit`, so that the end is known."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(items=[show(row) for row in shown], next=id_of(shown[-1]) if more else None)


def one_of(db: Session, table: type[S], row_id: UUID) -> S:
    """Return one row of a table.

    Raises:
        NotFoundError: there is none of that id.
    """
    row = db.get(table, row_id)
    if row is None:
        raise NotFoundError(f"there is no {table.__name__.lower()} {row_id}")
    return row
