"""Remember how phones are reached."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_SAYS = (("%;transport=tcp%", "tcp"), ("%;transport=tls%", "tls"), ("sips:%", "tls"), ("%;transport=ws%", "ws"))


def upgrade() -> None:
    """Keep the transport that each registered over; of those that are known already, what their address says."""
    op.add_column("contact", sa.Column("source_transport", sa.String(), nullable=False, server_default="udp"))
    contact = sa.table("contact", sa.column("uri", sa.String()), sa.column("source_transport", sa.String()))
    for says, transport in _SAYS:
        op.execute(contact.update().where(contact.c.uri.ilike(says)).values(source_transport=transport))
