"""No connector says or hears more than its declared scopes cover, whatever its code does."""

from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any, TypeVar, cast
from zoneinfo import ZoneInfo

from connectors.api import (
    AnyConnector,
    AppointmentStatus,
    Change,
    ChartFacts,
    Checkpoint,
    CommunicationFacts,
    Context,
    Fact,
    Feeds,
    FindsPatients,
    Identifier,
    Logs,
    PatientFacts,
    PatientRef,
    Reads,
    ReadsCharts,
    Receipt,
    RejectedError,
    Scope,
    Section,
    Sends,
    SetsStatus,
    Sms,
)

F = TypeVar("F", bound=Fact)
C = TypeVar("C", bound=AnyConnector)

MISSING = "scope-not-declared"
"The reason code of what a connector may not take out."


@cache
def _scopes(kind: type[Fact]) -> dict[str, Scope]:
    """Return the fields of `kind` that stand under a scope."""
    found: dict[str, Scope] = {}
    for name, field in kind.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "scope" in extra:
            found[name] = Scope(str(extra["scope"]))
    return found


def within(fact: F, scopes: frozenset[Scope]) -> F | None:
    """Return `fact` without the fields that `scopes` do not cover; None if it cannot be said without them."""
    changed: dict[str, Any] = {}
    dropped: set[str] = set()
    guarded = _scopes(type(fact))
    for name, field in type(fact).model_fields.items():
        value = getattr(fact, name)
        if name in guarded and guarded[name] not in scopes:
            if field.is_required():
                return None
            dropped.add(name)
            changed[name] = field.get_default(call_default_factory=True)
        elif isinstance(value, Fact):
            inner = within(value, scopes)
            if inner is None and field.is_required():
                return None
            if inner is not value:
                changed[name] = inner
    if isinstance(fact, PatientFacts) and fact.cleared & dropped:
        changed["cleared"] = fact.cleared - dropped
    return fact.model_copy(update=changed) if changed else fact


def guarded(connector: C) -> C:
    """Return `connector` with every way in and out of it held to its scopes.

    The methods are bound on the instance, so that what a connector can do is still told by the presence of the method.
    """
    for protocol, guard in _GUARDS:
        if isinstance(connector, protocol):
            name, bound = guard(connector, connector.scopes)
            setattr(connector, name, bound)
    return connector


def _read(connector: Reads, scopes: frozenset[Scope]) -> tuple[str, Any]:
    inner = connector.read

    def read(raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        said = inner(raw, timezone=timezone, region=region)
        return [fact for change in said if (fact := within(change, scopes)) is not None]

    return "read", read


def _changes(connector: Feeds, scopes: frozenset[Scope]) -> tuple[str, Any]:
    inner = connector.changes

    async def changes(ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        async for change in inner(ctx, cursor):
            if isinstance(change, Checkpoint):
                yield change
            elif (fact := within(change, scopes)) is not None:
                yield fact

    return "changes", changes


def _find_patients(connector: FindsPatients, scopes: frozenset[Scope]) -> tuple[str, Any]:
    inner = connector.find_patients

    async def find_patients(ctx: Context, phone: str) -> Sequence[PatientRef]:
        return [fact for ref in await inner(ctx, phone) if (fact := within(ref, scopes)) is not None]

    return "find_patients", find_patients


def _chart(connector: ReadsCharts, scopes: frozenset[Scope]) -> tuple[str, Any]:
    inner = connector.chart

    async def chart(ctx: Context, patient_ids: Sequence[Identifier], sections: frozenset[Section]) -> ChartFacts:
        if Scope.CHART_SUMMARY not in scopes:
            raise RejectedError(MISSING, field=Scope.CHART_SUMMARY)
        said = await inner(ctx, patient_ids, sections)
        asked = {section: lines for section, lines in said.sections.items() if section in sections}
        return said.model_copy(update={"sections": asked})

    return "chart", chart


def _set_status(connector: SetsStatus, scopes: frozenset[Scope]) -> tuple[str, Any]:
    inner = connector.set_status

    async def set_status(
        ctx: Context, appointment_ids: Sequence[Identifier], to: AppointmentStatus | str, **how: Any
    ) -> Receipt:
        if Scope.APPOINTMENT_STATUS_WRITE not in scopes:
            raise RejectedError(MISSING, field=Scope.APPOINTMENT_STATUS_WRITE)
        return await inner(ctx, appointment_ids, to, **how)

    return "set_status", set_status


def _log(connector: Logs, scopes: frozenset[Scope]) -> tuple[str, Any]:
    inner = connector.log

    async def log(ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        told = within(communication, scopes)
        if told is None or Scope.COMMUNICATION_WRITE not in scopes:
            raise RejectedError(MISSING, field=Scope.COMMUNICATION_WRITE)
        return await inner(ctx, told, key=key)

    return "log", log


def _send(connector: Sends, scopes: frozenset[Scope]) -> tuple[str, Any]:
    inner = connector.send

    async def send(ctx: Context, sms: Sms, *, key: str) -> Receipt:
        told = within(sms, scopes)
        if told is None:
            raise RejectedError(MISSING, field=Scope.MESSAGE_BODY)
        return await inner(ctx, told, key=key)

    return "send", send


_GUARDS = cast(
    "list[tuple[type, Any]]",
    [
        (Reads, _read),
        (Feeds, _changes),
        (FindsPatients, _find_patients),
        (ReadsCharts, _chart),
        (SetsStatus, _set_status),
        (Logs, _log),
        (Sends, _send),
    ],
)
