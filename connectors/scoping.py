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

NOT_AGREED = "field-not-agreed"
"The reason code of what a CRM may not be told."


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


def guarded(connector: C, *, granted: frozenset[Scope] | None = None, fields: frozenset[str] = frozenset()) -> C:
    """Return `connector` with every way in and out of it held to its scopes, as far as they are `granted`.

    A CRM is told of `fields` only, such as `communication.topic`, and tells nothing into the record. The methods are
    bound on the instance, so that what a connector can do is still told by the presence of the method.
    """
    scopes = connector.scopes if granted is None else connector.scopes & granted
    guards = [*_GUARDS, *(_partly(fields) if connector.kind == "crm" else ())]
    for protocol, guard in guards:
        if isinstance(connector, protocol):
            name, bound = guard(connector, scopes)
            setattr(connector, name, bound)
    return connector


def _partly(fields: frozenset[str]) -> list[tuple[type, Any]]:
    """Return the guards of a system that takes no part in treatment."""

    def log(connector: Logs, scopes: frozenset[Scope]) -> tuple[str, Any]:  # noqa: ARG001 - the shape of a guard
        inner = connector.log

        async def told(ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
            held = {name: blank for name, blank in _HELD_BACK.items() if f"communication.{name}" not in fields}
            return await inner(ctx, communication.model_copy(update=held), key=key)

        return "log", told

    def find_patients(connector: FindsPatients, scopes: frozenset[Scope]) -> tuple[str, Any]:  # noqa: ARG001 - see log
        inner = connector.find_patients

        async def asked(ctx: Context, phone: str) -> Sequence[PatientRef]:
            if "patient.phone" not in fields:
                raise RejectedError(NOT_AGREED, field="patient.phone")
            return await inner(ctx, phone)

        return "find_patients", asked

    def changes(connector: Feeds, scopes: frozenset[Scope]) -> tuple[str, Any]:  # noqa: ARG001 - see log
        inner = connector.changes

        async def heard(ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
            async for change in inner(ctx, cursor):
                if isinstance(change, Checkpoint):
                    yield change

        return "changes", heard

    return cast("list[tuple[type, Any]]", [(Logs, log), (FindsPatients, find_patients), (Feeds, changes)])


_HELD_BACK: dict[str, Any] = {"topic": "", "body": None, "phone": None}
"What of a communication a CRM is told only where its agreement names it, and what stands there otherwise."


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
