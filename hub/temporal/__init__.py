"""Temporal as the hub sees it: the encrypted connection, the names of the flows, and what may be asked of them."""

from hub.temporal.client import (
    PlanUnavailableError,
    TemporalUnavailableError,
    appointment_answered,
    appointment_changed,
    call_ended,
    connect,
    deliver,
    outside,
    plan_call,
    send_text,
    start_upkeep,
    start_writeback,
    wake_feed,
)
from hub.temporal.codec import Codec, PayloadRefusedError, data_converter
from hub.temporal.flow import TASK_QUEUE, CallStart, DeliveryStart, Flow, Says, TextStart, UpkeepStart, carrier_queue
from hub.temporal.reach import Reach

__all__ = [
    "TASK_QUEUE",
    "CallStart",
    "Codec",
    "DeliveryStart",
    "Flow",
    "PayloadRefusedError",
    "PlanUnavailableError",
    "Reach",
    "Says",
    "TemporalUnavailableError",
    "TextStart",
    "UpkeepStart",
    "appointment_answered",
    "appointment_changed",
    "call_ended",
    "carrier_queue",
    "connect",
    "data_converter",
    "deliver",
    "outside",
    "plan_call",
    "send_text",
    "start_upkeep",
    "start_writeback",
    "wake_feed",
]
