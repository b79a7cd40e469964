"""Make the tables of those who may call for a patient."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of those who may call for a patient."""
    op.create_table(
        "related_person",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("version_at", sa.DateTime(), nullable=False),
        sa.Column("rank", sa.String(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_related_person_patient_id"), "related_person", ["patient_id"])
    op.create_table(
        "related_person_identifier",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("related_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["related_id"], ["related_person.id"]),
        sa.PrimaryKeyConstraint("key", "connection"),
    )
    op.create_index(op.f("ix_related_person_identifier_related_id"), "related_person_identifier", ["related_id"])
    op.create_table(
        "related_person_phone",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("related_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["related_id"], ["related_person.id"]),
        sa.PrimaryKeyConstraint("key", "related_id"),
    )
    op.create_index(op.f("ix_related_person_phone_related_id"), "related_person_phone", ["related_id"])
