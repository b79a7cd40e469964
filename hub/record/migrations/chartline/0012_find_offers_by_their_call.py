"""Find offers by their call and state, and reminders by their message."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index them; with one index for the call and one for the state, SQLite takes that of the state."""
    op.create_index("ix_queue_offer_call", "queue_offer", ["call_id", "state"])
    op.drop_index("ix_queue_offer_call_id", "queue_offer")
    op.create_index("ix_reminder_message_id", "reminder", ["message_id"])
