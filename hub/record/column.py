"""How columns of the record are declared, so that each noun reads the same."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, LargeBinary, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field

from hub.db import Instant


class Code(TypeDecorator[StrEnum]):
    """A StrEnum, kept as its value."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the code; a text that is none is refused."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the member."""
        return None if value is None else self.kind(value)


def code(kind: type[StrEnum], *, index: bool = False) -> Any:
    """Return a column for a member of `kind`."""
    return Field(sa_type=Code(kind), index=index)


def instant(*, index: bool = False) -> Any:
    """Return a column for an aware datetime; its attribute ends in `_at`."""
    return Field(sa_type=Instant, index=index)


def maybe_instant(*, index: bool = False) -> Any:
    """Return a column for an aware datetime or None."""
    return Field(default=None, sa_type=Instant, nullable=True, index=index)


def blind(*, primary_key: bool = False) -> Any:
    """Return an indexed column for 16 bytes of `BlindIndex`."""
    return Field(sa_type=LargeBinary, index=not primary_key, primary_key=primary_key)


def maybe_blind() -> Any:
    """Return an indexed column for 16 bytes of `BlindIndex`, or None."""
    return Field(default=None, sa_type=LargeBinary, nullable=True, index=True)


def sealed() -> Any:
    """Return the column of a row's one sealed blob (hub.security.sealed)."""
    return Field(sa_type=LargeBinary)


def maybe_sealed() -> Any:
    """Return the column of a row's one sealed blob, where a row may have nothing to hide."""
    return Field(default=None, sa_type=LargeBinary, nullable=True)


def document(default: Callable[[], Any] = dict) -> Any:
    """Return a JSON column; it holds ids, codes and times only."""
    return Field(default_factory=default, sa_type=JSON)


def maybe_document() -> Any:
    """Return a JSON column, or None."""
    return Field(default=None, sa_type=JSON(none_as_null=True), nullable=True)
