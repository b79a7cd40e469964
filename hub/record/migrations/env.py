"""How Alembic runs our scripts: on the connection, and in the transaction, of `hub.record.schema`."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.types import TypeDecorator


def plain_types(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Write a column's own type as what is kept of it, so that scripts do not change with the code."""
    if kind != "type":
        return False
    if isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    render_item=plain_types,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
