"""Note when a call is wound up."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Note when a call is wound up; those that are over are taken to be, so that nobody is texted late."""
    op.add_column("call", sa.Column("wound_up_at", sa.DateTime()))
    op.execute("UPDATE call SET wound_up_at = ended_at")
