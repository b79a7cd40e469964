# ruff: noqa: ARG002 - connectors that say more than they are asked need every argument of the interface

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    ChartFacts,
    Checkpoint,
    CommunicationFacts,
    Connector,
    Context,
    Fact,
    Feeds,
    FindsPatients,
    Identifier,
    MergeFacts,
    PatientFacts,
    PatientRef,
    Phone,
    Reads,
    ReadsCharts,
    Receipt,
    RejectedError,
    ReplyFacts,
    RequestFacts,
    Scope,
    Section,
    Settings,
    Sms,
    Verifies,
    Version,
)
from connectors.scoping import guarded, within

AT = Version(at=datetime(2026, 11, 23, tzinfo=UTC), tag="1")
OWN = (Identifier(system="s", value="1"),)
PERSON = PatientFacts(
    ids=OWN,
    version=AT,
    family="Quillfeather",
    given="Orlena",
    birth_date=date(1961, 4, 17),
    sex="female",
    phones=(Phone(e164="+12125550111"),),
    language="es",
    postal_code="10001",
    state="NY",
    deceased=False,
    cleared=frozenset({"family", "phones"}),
)
VISIT = AppointmentFacts(
    ids=OWN,
    version=AT,
    status=AppointmentStatus.BOOKED,
    starts_at=AT.at,
    minutes=30,
    patient=PERSON,
    practitioner="Dr. Thornquist",
    location="Harbor Street",
    type="Office visit",
    reason="Knee pain",
)
FACTS: tuple[Fact, ...] = (
    PERSON,
    VISIT,
    MergeFacts(survivor=PERSON, merged=OWN, version=AT),
    RequestFacts(ids=OWN, version=AT, patient_ids=OWN, kind="refill", status="open"),
    ReplyFacts(external_id="m", at=AT.at, sender="+12125550111", to="+12125550100", body="C"),
    PatientRef(id="1", facts=PERSON),
    ChartFacts(sections={Section.ALLERGIES: ("Latex",)}, read_at=AT.at),
    Sms(to="+12125550111", sender="+12125550100", body="Your visit"),
    CommunicationFacts(patient_ids=OWN, medium="PHONE", inbound=True, sent_at=AT.at, topic="Phone call", body="said"),
)


def said(fact: Fact, scopes: frozenset[Scope], path: str = "") -> list[str]:
    """Return the fields that say something under a scope outside of `scopes`, at any depth."""
    found = []
    for name, field in type(fact).model_fields.items():
        value = getattr(fact, name)
        extra = field.json_schema_extra
        scope = extra.get("scope") if isinstance(extra, dict) else None
        default = field.get_default(call_default_factory=True)
        if scope is not None and scope not in scopes and value != default:
            found.append(f"{path}{name}")
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Fact):
                found += said(inner, scopes, f"{path}{name}.")
    return found


@given(st.sampled_from(FACTS), st.frozensets(st.sampled_from(Scope)))
def test_a_fact_never_holds_what_was_not_declared(fact: Fact, scopes: frozenset[Scope]) -> None:
    left = within(fact, scopes)
    if left is not None:
        assert said(left, scopes) == []
        assert type(fact).model_validate(left.model_dump()) == left


@given(st.sampled_from(FACTS))
def test_what_is_declared_stays(fact: Fact) -> None:
    assert within(fact, frozenset(Scope)) is fact


def test_a_visit_without_its_patient_is_still_a_visit() -> None:
    left = within(VISIT, frozenset({Scope.APPOINTMENTS}))
    assert left is not None
    assert left.patient is None
    assert left.starts_at == VISIT.starts_at
    assert left.reason is None


def test_a_deletion_of_what_is_not_declared_is_not_told_either() -> None:
    left = within(PERSON, frozenset({Scope.PATIENT_IDENTITY}))
    assert left is not None
    assert left.cleared == {"family"}
    assert left.phones == ()


class Plain(Settings):
    """Nothing to set."""


class Talker(Connector[Plain]):
    """Says everything it can, whatever it declared."""

    name: ClassVar = "talker"
    scopes: ClassVar = frozenset({Scope.PATIENT_IDENTITY, Scope.CHART_SUMMARY})
    Settings: ClassVar = Plain

    def __init__(self, settings: Plain) -> None:
        super().__init__(settings)
        self.heard: list[Any] = []

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        return [PERSON, VISIT]

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        yield PERSON
        yield VISIT
        yield Checkpoint(cursor=b"1")

    async def find_patients(self, ctx: Context, phone: str) -> Sequence[PatientRef]:
        return [PatientRef(id="1", facts=PERSON)]

    async def chart(self, ctx: Context, patient_ids: Sequence[Identifier], sections: frozenset[Section]) -> ChartFacts:
        return ChartFacts(sections={Section.ALLERGIES: ("Latex",), Section.COVERAGE: ("Tidewater",)}, read_at=AT.at)

    async def set_status(self, ctx: Context, ids: Sequence[Identifier], to: str, **how: Any) -> Receipt:
        self.heard.append(to)
        return Receipt(external_id="1")

    async def log(self, ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        self.heard.append(communication)
        return Receipt(external_id="1")

    async def send(self, ctx: Context, sms: Sms, *, key: str) -> Receipt:
        self.heard.append(sms)
        return Receipt(external_id="1")


class Writer(Talker):
    scopes: ClassVar = frozenset({Scope.PATIENT_IDENTITY, Scope.COMMUNICATION_WRITE})


CONTACT = CommunicationFacts(
    patient_ids=OWN,
    medium="SMSWRIT",
    inbound=True,
    sent_at=AT.at,
    topic="Appointment reminder",
    body="private",
    phone="+12125550111",
    seconds=61,
)


@pytest.fixture
def ctx() -> Context:
    return Context("talk", httpx.AsyncClient(), lambda: AT.at, ZoneInfo("UTC"), "US")


async def test_every_way_in_is_held_to_the_scopes(ctx: Context) -> None:
    talker = guarded(Talker(Plain()))
    (read,) = talker.read(b"", timezone=ZoneInfo("UTC"), region="US")
    told = [change async for change in talker.changes(ctx, None)]
    (found,) = await talker.find_patients(ctx, "+12125550111")
    assert isinstance(read, PatientFacts)
    assert read.phones == found.facts.phones == ()
    assert told == [read, Checkpoint(cursor=b"1")]


async def test_a_section_that_nobody_asked_for_is_dropped(ctx: Context) -> None:
    chart = await guarded(Talker(Plain())).chart(ctx, OWN, frozenset({Section.ALLERGIES}))
    assert chart.sections == {Section.ALLERGIES: ("Latex",)}


async def test_every_way_out_needs_its_scope(ctx: Context) -> None:
    talker = guarded(Talker(Plain()))
    contact = CommunicationFacts(patient_ids=OWN, medium="PHONE", inbound=True, sent_at=AT.at, topic="x")
    with pytest.raises(RejectedError, match="scope-not-declared"):
        await talker.set_status(ctx, OWN, "confirmed", if_version=None, key="k")
    with pytest.raises(RejectedError, match="scope-not-declared"):
        await talker.log(ctx, contact, key="k")
    with pytest.raises(RejectedError, match="scope-not-declared"):
        await talker.send(ctx, Sms(to="+12125550111", sender="1", body="x"), key="k")
    assert talker.heard == []


async def test_a_contact_is_written_without_the_text_that_was_not_declared(ctx: Context) -> None:
    writer = guarded(Writer(Plain()))
    await writer.log(ctx, CONTACT, key="k")
    assert writer.heard == [CONTACT.model_copy(update={"body": None, "phone": None})]


def test_the_guard_adds_no_capability_and_takes_none() -> None:
    talker = guarded(Talker(Plain()))
    assert isinstance(talker, Reads)
    assert isinstance(talker, Feeds)
    assert isinstance(talker, FindsPatients)
    assert isinstance(talker, ReadsCharts)
    assert not isinstance(talker, Verifies)

    class Mute(Connector[Plain]):
        name: ClassVar = "mute"
        scopes: ClassVar = frozenset()

    assert not isinstance(guarded(Mute(Plain())), Reads)


async def test_the_practice_may_grant_less_than_was_declared(ctx: Context) -> None:
    writer = guarded(Writer(Plain()), granted=frozenset({Scope.PATIENT_IDENTITY}))
    with pytest.raises(RejectedError, match="scope-not-declared"):
        await writer.log(ctx, CONTACT, key="k")
    assert writer.heard == []


async def test_a_grant_adds_nothing_to_what_was_declared(ctx: Context) -> None:
    writer = guarded(Writer(Plain()), granted=frozenset(Scope))
    await writer.log(ctx, CONTACT, key="k")
    assert writer.heard == [CONTACT.model_copy(update={"body": None, "phone": None})]


class Sales(Talker):
    """A system that takes no part in treatment."""

    kind: ClassVar = "crm"
    scopes: ClassVar = frozenset(Scope)


async def test_a_crm_is_told_what_its_agreement_names_and_no_more(ctx: Context) -> None:
    bare = guarded(Sales(Plain()))
    await bare.log(ctx, CONTACT, key="k")
    assert bare.heard == [CONTACT.model_copy(update={"topic": "", "body": None, "phone": None})]
    agreed = guarded(Sales(Plain()), fields=frozenset({"communication.topic", "communication.phone"}))
    await agreed.log(ctx, CONTACT, key="k")
    assert agreed.heard == [CONTACT.model_copy(update={"body": None})]


async def test_a_crm_is_asked_for_a_number_only_where_its_agreement_says_so(ctx: Context) -> None:
    with pytest.raises(RejectedError, match="field-not-agreed"):
        await guarded(Sales(Plain())).find_patients(ctx, "+12125550111")
    (found,) = await guarded(Sales(Plain()), fields=frozenset({"patient.phone"})).find_patients(ctx, "+12125550111")
    assert found.facts.phones


async def test_a_crm_tells_nothing_into_the_record(ctx: Context) -> None:
    told = [change async for change in guarded(Sales(Plain())).changes(ctx, None)]
    assert told == [Checkpoint(cursor=b"1")]
