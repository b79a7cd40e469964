"""Remember since when a visit stands as it does."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remember since when a visit stands as it does; of those that are there, when they changed last is known."""
    # A default, for SQLite adds no column without one to rows that are there, and referred to.
    op.add_column(
        "appointment", sa.Column("since_at", sa.DateTime(), nullable=False, server_default="1970-01-01 00:00:00.000000")
    )
    op.execute("UPDATE appointment SET since_at = changed_at")
