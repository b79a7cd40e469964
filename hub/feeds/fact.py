"""What a row of the inbox means: a delivered message by its connector, a fact that was asked for by itself."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from pydantic import ValidationError

from connectors.api import (
    AnyConnector,
    AppointmentFacts,
    MergeFacts,
    PatientFacts,
    Reads,
    ReceiptFacts,
    RejectedError,
    RelatedFacts,
    ReplyFacts,
    RequestFacts,
    UnreadFacts,
)
from hub.errors import ChartlineError
from hub.record.absence import AbsenceFacts
from hub.record.change import Said
from hub.record.inbox import Arrival, Form, InboxMessage
from hub.security.index import BlindIndex

KINDS: dict[str, type[Said]] = {
    "patient": PatientFacts,
    "appointment": AppointmentFacts,
    "merge": MergeFacts,
    "request": RequestFacts,
    "related": RelatedFacts,
    "reply": ReplyFacts,
    "receipt": ReceiptFacts,
    "absence": AbsenceFacts,
}
"What a fact is called in a row; the names are stored and never change."

ABOUT = ("ids", "external_id", "merged", "version", "appointment", "at")
"Fields that say whom and which version a fact is about."

_NAMES = {kind: name for name, kind in KINDS.items()}


class NotAFactError(ChartlineError):
    """A row that says it holds a fact holds something else."""

    code = "not-a-fact"


def arrival_of(connection: str, change: Said, index: BlindIndex) -> Arrival:
    """Return the row for a fact, or for what could not be made one; the same statement always makes the same row.

    It stands under the keyed hash of whom and which version it is about, since identifiers are not kept in clear.
    """
    if isinstance(change, UnreadFacts):
        return Arrival(connection, index.digest(change.raw).hex(), change.raw)
    said = change.model_dump()
    about = {
        name: said[name] for name in ("ids", "external_id", "merged", "version", "appointment", "at") if name in said
    }
    name = _NAMES[type(change)]
    key = index.digest(_json({"kind": name, "about": about}))
    return Arrival(connection, key.hex(), _json({"kind": name, "fact": said}), Form.FACT)


def read_row(
    connector: AnyConnector, row: InboxMessage, raw: bytes, *, timezone: ZoneInfo, region: str
) -> Sequence[Said]:
    """Return what a row says; `raw` is what it opened to.

    Raises:
        RejectedError: the connector does not understand the message.
        NotAFactError: the row was not written by `arrival_of`.
    """
    if row.form is Form.FACT:
        return [_fact(raw)]
    if not isinstance(connector, Reads):
        raise RejectedError("connector-cannot-read")
    return connector.read(raw, timezone=timezone, region=region)


def _fact(raw: bytes) -> Said:
    try:
        said = orjson.loads(raw)
        return KINDS[said["kind"]].model_validate(said["fact"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError):
        raise NotAFactError("the row holds no fact") from None  # the cause would quote it


def _json(plain: dict[str, Any]) -> bytes:
    return orjson.dumps(plain, default=_listed, option=orjson.OPT_SORT_KEYS)


def _listed(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)  # so that the bytes do not depend on the order of a set
    raise TypeError
