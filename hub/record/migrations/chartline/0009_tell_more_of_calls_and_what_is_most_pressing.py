"""Tell more of calls, and which tasks are the most pressing."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let tasks be pressing, legs say how well they sounded, and calls what their carrier vouches for."""
    op.add_column("task", sa.Column("pressing", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_task_open", "task", ["state", "pressing", "id"])
    op.add_column("call_leg", sa.Column("codec", sa.String(), nullable=False, server_default=""))
    op.add_column("call_leg", sa.Column("rtt_ms", sa.Float()))
    op.add_column("call_leg", sa.Column("mos", sa.Float()))
    op.add_column("call", sa.Column("attestation", sa.String()))
