"""Make the tables of calls, texts and tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of calls, texts and tasks."""
    _call()
    _agent()
    _call_leg()
    _event()
    _message()
    _queue_entry()
    _queue_offer()
    _recording()
    _voicemail()
    _event_delivery()
    _pop()
    _reminder()
    _task()


def _call() -> None:
    op.create_table(
        "call",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("did", sa.String(), nullable=False),
        sa.Column("trunk", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("queue", sa.String()),
        sa.Column("agent_id", sa.Uuid()),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("planned_at", sa.DateTime()),
        sa.Column("answered_at", sa.DateTime()),
        sa.Column("queued_at", sa.DateTime()),
        sa.Column("bridged_at", sa.DateTime()),
        sa.Column("ended_at", sa.DateTime()),
        sa.Column("cause", sa.String()),
        sa.Column("path", sa.String()),
        sa.Column("match", sa.String(), nullable=False),
        sa.Column("patient_id", sa.Uuid()),
        sa.Column("verified_at", sa.DateTime()),
        sa.Column("plan", sa.JSON(none_as_null=True)),
        sa.Column("caller_key", sa.LargeBinary()),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["staff.id"]),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_call_caller_key"), "call", ["caller_key"])
    op.create_index(op.f("ix_call_patient_id"), "call", ["patient_id"])
    op.create_index(op.f("ix_call_started_at"), "call", ["started_at"])
    op.create_index(op.f("ix_call_state"), "call", ["state"])


def _agent() -> None:
    op.create_table(
        "agent",
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("presence", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("last_ended_at", sa.DateTime()),
        sa.Column("wrap_up_until", sa.DateTime()),
        sa.Column("contact_until", sa.DateTime()),
        sa.Column("call_id", sa.Uuid()),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"]),
        sa.PrimaryKeyConstraint("staff_id"),
    )
    op.create_index(op.f("ix_agent_presence"), "agent", ["presence"])


def _call_leg() -> None:
    op.create_table(
        "call_leg",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("protection", sa.String(), nullable=False),
        sa.Column("loss", sa.Float(), nullable=False),
        sa.Column("jitter_ms", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.PrimaryKeyConstraint("call_id", "role"),
    )


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("call_id", sa.Uuid()),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_event_at"), "event", ["at"])
    op.create_index(op.f("ix_event_call_id"), "event", ["call_id"])


def _message() -> None:
    op.create_table(
        "message",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("external_id", sa.String()),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("program", sa.String(), nullable=False),
        sa.Column("meaning", sa.String()),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("status_at", sa.DateTime(), nullable=False),
        sa.Column("phone_key", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("patient_id", sa.Uuid()),
        sa.Column("appointment_id", sa.Uuid()),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointment.id"]),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("connection", "external_id"),
    )
    op.create_index(op.f("ix_message_appointment_id"), "message", ["appointment_id"])
    op.create_index(op.f("ix_message_patient_id"), "message", ["patient_id"])
    op.create_index(op.f("ix_message_phone_key"), "message", ["phone_key"])


def _queue_entry() -> None:
    op.create_table(
        "queue_entry",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("entered_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("left_at", sa.DateTime()),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.PrimaryKeyConstraint("call_id"),
    )
    op.create_index(op.f("ix_queue_entry_state"), "queue_entry", ["state"])


def _queue_offer() -> None:
    op.create_table(
        "queue_offer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("offered_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime()),
        sa.ForeignKeyConstraint(["agent_id"], ["staff.id"]),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_queue_offer_call_id"), "queue_offer", ["call_id"])
    op.create_index(op.f("ix_queue_offer_state"), "queue_offer", ["state"])


def _recording() -> None:
    op.create_table(
        "recording",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("lane_id", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime()),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_recording_call_id"), "recording", ["call_id"])
    op.create_index(op.f("ix_recording_state"), "recording", ["state"])


def _voicemail() -> None:
    op.create_table(
        "voicemail",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("box", sa.String(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("lane_id", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("heard_at", sa.DateTime()),
        sa.Column("heard_by", sa.Uuid()),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.ForeignKeyConstraint(["heard_by"], ["staff.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_voicemail_box"), "voicemail", ["box"])
    op.create_index(op.f("ix_voicemail_call_id"), "voicemail", ["call_id"])


def _event_delivery() -> None:
    op.create_table(
        "event_delivery",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("webhook", sa.String(), nullable=False),
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("settled_at", sa.DateTime()),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", "webhook", "lane"),
    )
    op.create_index(op.f("ix_event_delivery_event_id"), "event_delivery", ["event_id"])
    op.create_index(op.f("ix_event_delivery_state"), "event_delivery", ["state"])


def _pop() -> None:
    op.create_table(
        "pop",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("verified_at", sa.DateTime()),
        sa.Column("patient_id", sa.Uuid()),
        sa.ForeignKeyConstraint(["agent_id"], ["staff.id"]),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.ForeignKeyConstraint(["id"], ["queue_offer.id"]),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index(op.f("ix_pop_call_id"), "pop", ["call_id"])


def _reminder() -> None:
    op.create_table(
        "reminder",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("appointment_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", sa.DateTime(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("attempted_at", sa.DateTime()),
        sa.Column("settled_at", sa.DateTime()),
        sa.Column("message_id", sa.Uuid()),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointment.id"]),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("appointment_id", "starts_at", "step"),
    )
    op.create_index(op.f("ix_reminder_state"), "reminder", ["state"])


def _task() -> None:
    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("done_at", sa.DateTime()),
        sa.Column("done_by", sa.String()),
        sa.Column("patient_id", sa.Uuid()),
        sa.Column("appointment_id", sa.Uuid()),
        sa.Column("call_id", sa.Uuid()),
        sa.Column("message_id", sa.Uuid()),
        sa.Column("sealed", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointment.id"]),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"]),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"]),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index(op.f("ix_task_patient_id"), "task", ["patient_id"])
    op.create_index(op.f("ix_task_state"), "task", ["state"])
