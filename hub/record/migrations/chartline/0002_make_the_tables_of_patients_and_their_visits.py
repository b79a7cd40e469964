"""Make the tables of patients and their visits."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of patients and their visits."""
    _opt_out()
    _patient()
    _writeback()
    _appointment()
    _chart_request()
    _patient_identifier()
    _patient_phone()
    _appointment_identifier()
    _chart_request_identifier()


def _opt_out() -> None:
    op.create_table(
        "opt_out",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("program", sa.String(), nullable=False),
        sa.Column("out", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", "program"),
    )


def _patient() -> None:
    op.create_table(
        "patient",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("version_at", sa.DateTime(), nullable=False),
        sa.Column("merged_into", sa.Uuid()),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("deceased", sa.Boolean(), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("name_key", sa.LargeBinary()),
        sa.Column("birth_key", sa.LargeBinary()),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["merged_into"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_patient_birth_key"), "patient", ["birth_key"])
    op.create_index(op.f("ix_patient_name_key"), "patient", ["name_key"])


def _writeback() -> None:
    op.create_table(
        "writeback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("to", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("settled_at", sa.DateTime()),
        sa.Column("external_id", sa.String()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index(op.f("ix_writeback_object_id"), "writeback", ["object_id"])
    op.create_index(op.f("ix_writeback_state"), "writeback", ["state"])


def _appointment() -> None:
    op.create_table(
        "appointment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("starts_at", sa.DateTime()),
        sa.Column("minutes", sa.Integer()),
        sa.Column("version_at", sa.DateTime(), nullable=False),
        sa.Column("version_tag", sa.String(), nullable=False),
        sa.Column("version_connection", sa.String(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_appointment_patient_id"), "appointment", ["patient_id"])
    op.create_index(op.f("ix_appointment_starts_at"), "appointment", ["starts_at"])


def _chart_request() -> None:
    op.create_table(
        "chart_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("version_at", sa.DateTime(), nullable=False),
        sa.Column("rank", sa.String(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_chart_request_patient_id"), "chart_request", ["patient_id"])


def _patient_identifier() -> None:
    op.create_table(
        "patient_identifier",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("key", "connection"),
    )
    op.create_index(op.f("ix_patient_identifier_patient_id"), "patient_identifier", ["patient_id"])


def _patient_phone() -> None:
    op.create_table(
        "patient_phone",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("use", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("key", "patient_id"),
    )
    op.create_index(op.f("ix_patient_phone_patient_id"), "patient_phone", ["patient_id"])


def _appointment_identifier() -> None:
    op.create_table(
        "appointment_identifier",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("appointment_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointment.id"]),
        sa.PrimaryKeyConstraint("key", "connection"),
    )
    op.create_index(op.f("ix_appointment_identifier_appointment_id"), "appointment_identifier", ["appointment_id"])


def _chart_request_identifier() -> None:
    op.create_table(
        "chart_request_identifier",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["chart_request.id"]),
        sa.PrimaryKeyConstraint("key", "connection"),
    )
    op.create_index(op.f("ix_chart_request_identifier_request_id"), "chart_request_identifier", ["request_id"])
