"""Statements of an outside system for the tests of the feeds, and one that tells them; nobody in them exists."""

from collections.abc import AsyncIterator
from datetime import date
from typing import ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    Checkpoint,
    Connector,
    Context,
    Identifier,
    MergeFacts,
    PatientFacts,
    Phone,
    ReceiptFacts,
    RelatedFacts,
    ReplyFacts,
    RequestFacts,
    Scope,
    Settings,
    Version,
)
from hub.record.absence import AbsenceFacts
from hub.record.change import Said
from tests.hub.feedhouse import NOON

ZONE = ZoneInfo("America/New_York")
VERSION = Version(at=NOON, tag="7")
MRN = Identifier(system="H", value="77", type="MR")
PATIENT = PatientFacts(
    ids=(MRN,),
    version=VERSION,
    family="Rivera",
    birth_date=date(1979, 5, 15),
    phones=(Phone(e164="+12075550142", use="home"),),
    cleared=frozenset({"given", "sex", "language", "state"}),
)
FACTS: list[Said] = [
    PATIENT,
    AppointmentFacts(ids=(MRN,), version=VERSION, status=AppointmentStatus.BOOKED, starts_at=NOON, patient=PATIENT),
    MergeFacts(survivor=PATIENT, merged=(MRN,), version=VERSION),
    RequestFacts(ids=(MRN,), version=VERSION, patient_ids=(MRN,), kind="refill", status="open"),
    ReplyFacts(external_id="SM1", at=NOON, sender="+12075550142", to="+12075550100", body="C"),
    ReceiptFacts(external_id="SM1", at=NOON, status="delivered"),
    RelatedFacts(ids=(MRN,), version=VERSION, patient_ids=(MRN,), given="Maria", phones=(Phone(e164="+12075550143"),)),
    AbsenceFacts(appointment=UUID(int=7), at=NOON),
]

Round = list[Change | Checkpoint | Exception]


class Told(Connector[Settings]):
    """An outside system that answers what the test says: one list a round."""

    name: ClassVar = "told"
    scopes: ClassVar = frozenset(Scope)

    def __init__(self, rounds: list[Round]) -> None:
        super().__init__(Settings())
        self.rounds = rounds
        self.cursors: list[bytes | None] = []

    async def changes(self, _: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        self.cursors.append(cursor)
        for said in self.rounds[len(self.cursors) - 1]:
            if isinstance(said, Exception):
                raise said
            yield said
