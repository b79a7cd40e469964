"""Lists as INTERFACE says: `{"items": [...], "next": cursor or null}`, newest first, by row id."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Query

T = TypeVar("T")

LIMIT = 50
MOST = 200

LimitParam = Annotated[int, Query(ge=1, le=MOST, description="Items on a page.")]
CursorParam = Annotated[UUID | None, Query(description="`next` of the page before.")]


def page(
    rows: Sequence[T], limit: int, show: Callable[[T], dict[str, Any]], id_of: Callable[[T], UUID]
) -> dict[str, Any]:
    """Return a page of rows that were asked for with one more than `limit`, so that the end is known."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {"items": [show(row) for row in shown], "next": str(id_of(shown[-1])) if more else None}
