"""Everything a connector's author imports. Version 1; frozen.

A connector translates between one outside system and Chartline's facts. It subclasses `Connector`, names its settings
model, and has a method for each thing it can do: the presence of the method is the capability. It opens nothing by
itself: `Context` brings the HTTP client, the clock, and the way to hand over what arrived.

Its errors are drawn in `connectors.error`, its facts stand in `connectors.facts`; both are imported from here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable
from zoneinfo import ZoneInfo

import httpx
from pydantic import BaseModel, ConfigDict, Field

from connectors.error import (
    AuthExpiredError,
    ConflictError,
    ConnectorError,
    RateLimitedError,
    RejectedError,
    ResetError,
    TransientError,
    UnknownOutcomeError,
)
from connectors.facts import (
    FINAL,
    LANDLINE,
    AppointmentFacts,
    AppointmentStatus,
    Change,
    ChartFacts,
    Checkpoint,
    CommunicationFacts,
    Fact,
    Identifier,
    MergeFacts,
    PatientFacts,
    PatientRef,
    Phone,
    Receipt,
    ReceiptFacts,
    RelatedFacts,
    ReplyFacts,
    RequestFacts,
    Scope,
    Section,
    Sms,
    UnreadFacts,
    Version,
)
from connectors.telephone import e164, ways_of_writing

API = 1
"The version of this interface."


class Settings(BaseModel):
    """What the operator writes under `settings` of a connection; secrets are `SecretStr`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def for_browsers(default: Any = ...) -> Any:
    """Return a setting that holds an address for people's browsers: the connector itself may not reach it."""
    return Field(default, json_schema_extra={"for_browsers": True})


S = TypeVar("S", bound=Settings)

Kind = Literal["ehr", "crm", "carrier"]


class Deliver(Protocol):
    """Hands over one raw message; returns only when it is durable."""

    async def __call__(self, raw: bytes, *, key: str) -> None:
        """Store `raw` under the sender's own message id `key`.

        Raises:
            TransientError: it is not stored; the sender must send it again.
        """
        ...


class Connect(Protocol):
    """Opens a stream to a host of the settings."""

    async def __call__(self, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to `mllp://host:port`, or over TLS to `mllps://host:port`.

        Raises:
            RejectedError: the address does not stand in the settings.
            TransientError: no connection.
        """
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What the host lends a connector for one call."""

    connection: str
    "Name of the connection in practice.toml."

    http: httpx.AsyncClient
    "Pinned to the hosts of the settings; maps faults, 429 and 5xx to the errors above; audited."

    clock: Callable[[], datetime]
    timezone: ZoneInfo
    "Of the practice; for times that come without a zone where the settings name none."

    region: str
    "ISO 3166 code; for phone numbers without a country."

    deliver: Deliver | None = None
    "Only in `listen`."

    connect: Connect | None = None
    "For what is not HTTP; None in `listen`."


class Connector(Generic[S]):
    """One outside system. Every method is optional; having it is the capability.

    async def check(self, ctx) -> None                              prove address and credentials, or raise
    async def listen(self, ctx) -> None                             serve until cancelled; hand over by ctx.deliver
    def read(self, raw, *, timezone, region) -> Sequence[Change]    say what one delivered message means; pure
    def changes(self, ctx, cursor) -> AsyncIterator[Change | Checkpoint]
    async def find_patients(self, ctx, phone) -> Sequence[PatientRef]
    def page(self, patient_ids) -> str | None                       where a browser finds the patient; pure
    async def chart(self, ctx, patient_ids, sections) -> ChartFacts
    async def set_status(self, ctx, appointment_ids, to, *, if_version, key) -> Receipt
    async def log(self, ctx, communication, *, key) -> Receipt
    async def send(self, ctx, sms, *, key) -> Receipt
    def verify(self, callback) -> str                               prove a carrier's callback; return its message id
    """

    api: ClassVar[int] = API
    name: ClassVar[str]
    kind: ClassVar[Kind] = "ehr"
    """What the other side is. A `crm` takes no part in treatment: it gets no field of a fact that its agreement does
    not name (45 CFR 164.502(e)), and tells nothing of its own into the chart."""

    scopes: ClassVar[frozenset[Scope]]
    "All that it may ever say or hear; the practice grants a part of it (`scopes` of the connection), by default all."

    Settings: ClassVar[type[Settings]]
    by_settings: ClassVar[Mapping[str, str]] = {}
    """Methods that it has only where certain settings are given, and which: those are bound on the instance, so that
    their presence still is the capability."""

    def __init__(self, settings: S) -> None:
        self.settings = settings


@dataclass(frozen=True, slots=True)
class Callback:
    """One HTTP request that an outside system made to /carriers/{connection}/..."""

    method: str
    path: str
    "What follows the connection's name."

    query: Mapping[str, str]
    headers: Mapping[str, str]
    "Lower-case names."

    body: bytes
    received_at: datetime


@runtime_checkable
class Checks(Protocol):
    """Can prove its address and credentials."""

    async def check(self, ctx: Context) -> None:
        """Return when a real request was answered; raise what hinders it."""
        ...


@runtime_checkable
class Listens(Protocol):
    """Waits for messages."""

    async def listen(self, ctx: Context) -> None:
        """Serve until cancelled."""
        ...


@runtime_checkable
class Reads(Protocol):
    """Understands raw messages."""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        """Return what `raw` says; empty where it says nothing that matters here.

        Raises:
            RejectedError: not understood; the message is kept in quarantine.
        """
        ...


@runtime_checkable
class Feeds(Protocol):
    """Can be asked what changed."""

    def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        """Yield what changed since `cursor`, and a checkpoint after what it covers; then end."""
        ...


@runtime_checkable
class FindsPatients(Protocol):
    """Can look a phone number up."""

    async def find_patients(self, ctx: Context, phone: str) -> Sequence[PatientRef]:
        """Return everyone who gave `phone` (E.164)."""
        ...


@runtime_checkable
class Pages(Protocol):
    """Knows the address of a patient's page in the outside system's own interface."""

    def page(self, patient_ids: Sequence[Identifier]) -> str | None:
        """Return the page of the patient whom the system knows by these ids, for an agent's browser; asks nobody."""
        ...


@runtime_checkable
class ReadsCharts(Protocol):
    """Can read parts of a chart."""

    async def chart(self, ctx: Context, patient_ids: Sequence[Identifier], sections: frozenset[Section]) -> ChartFacts:
        """Return the asked-for sections and nothing else."""
        ...


@runtime_checkable
class SetsStatus(Protocol):
    """Can write an appointment's status back."""

    async def set_status(
        self,
        ctx: Context,
        appointment_ids: Sequence[Identifier],
        to: AppointmentStatus | str,
        *,
        if_version: str | None,
        key: str,
    ) -> Receipt:
        """Set the status, or `"confirmed"`; a repeat of `key` has no second effect.

        Raises:
            ConflictError: it changed since `if_version`.
        """
        ...


@runtime_checkable
class Logs(Protocol):
    """Can note a contact in the chart."""

    async def log(self, ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        """Write it; a repeat of `key` has no second effect."""
        ...


@runtime_checkable
class Sends(Protocol):
    """Can send texts."""

    async def send(self, ctx: Context, sms: Sms, *, key: str) -> Receipt:
        """Hand `sms` to the carrier; a repeat of `key` sends nothing where the carrier knows keys.

        Raises:
            TransientError: the carrier surely did not take it.
            UnknownOutcomeError: nobody knows whether it did.
        """
        ...


@runtime_checkable
class Verifies(Protocol):
    """Takes callbacks and can prove that they are genuine."""

    def verify(self, callback: Callback) -> str:
        """Return the sender's id of this callback.

        Raises:
            RejectedError: not proven.
        """
        ...


AnyConnector = Connector[Any]

__all__ = [
    "API",
    "FINAL",
    "LANDLINE",
    "AnyConnector",
    "AppointmentFacts",
    "AppointmentStatus",
    "AuthExpiredError",
    "Callback",
    "Change",
    "ChartFacts",
    "Checkpoint",
    "Checks",
    "CommunicationFacts",
    "ConflictError",
    "Connect",
    "Connector",
    "ConnectorError",
    "Context",
    "Deliver",
    "Fact",
    "Feeds",
    "FindsPatients",
    "Identifier",
    "Kind",
    "Listens",
    "Logs",
    "MergeFacts",
    "Pages",
    "PatientFacts",
    "PatientRef",
    "Phone",
    "RateLimitedError",
    "Reads",
    "ReadsCharts",
    "Receipt",
    "ReceiptFacts",
    "RejectedError",
    "RelatedFacts",
    "ReplyFacts",
    "RequestFacts",
    "ResetError",
    "Scope",
    "Section",
    "Sends",
    "SetsStatus",
    "Settings",
    "Sms",
    "TransientError",
    "UnknownOutcomeError",
    "UnreadFacts",
    "Verifies",
    "Version",
    "e164",
    "for_browsers",
    "ways_of_writing",
]
