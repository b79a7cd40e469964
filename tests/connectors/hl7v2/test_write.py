"""Writing back: what is said, to whom, and what comes of it; python-hl7 and our own listener receive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import hl7.mllp
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import ValidationError as Hl7apyError
from hl7apy.parser import parse_message
from pydantic import ValidationError

from connectors import host
from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    FindsPatients,
    Identifier,
    RejectedError,
    Scope,
    SetsStatus,
    TransientError,
)
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.build import control_id_of
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.mllp import Listener
from connectors.hl7v2.settings import Hl7v2Settings
from tests.connectors.hl7v2.peer import Talk, context_of, receiving
from tests.connectors.hl7v2.sample import NEW_YORK, connector
from tests.connectors.stage import NOW, ZONE, Clock

IDS = (
    Identifier(system="SCHED", value="P100", type="PLAC"),
    Identifier(system="urn:oid:1.2.3", value="F200", type="FILL"),
)
KEY = "01890a5d-ac96-774b-bcce-b302099a8057"  # UUID of version 7, made on 2023-06-30 at 03:34:18 UTC


async def written(
    to: AppointmentStatus | str = "confirmed", ids: tuple[Identifier, ...] = IDS, **settings: Any
) -> Message:
    """Return the message in which `to` goes out."""
    said: list[Message] = []

    async def treat(talk: Talk) -> None:
        said.append(await talk.next())
        await talk.answer(said[-1])

    async with receiving(treat) as receiver:
        made = connector(send=f"mllp://127.0.0.1:{receiver.port}", **settings)
        receipt = await made.set_status(context_of(made), ids, to, if_version=None, key=KEY)
    assert receipt.external_id == said[0].control_id == control_id_of(KEY)
    return said[0]


async def test_a_confirmation_is_a_request_to_change_the_appointment() -> None:
    message = await written(receiving_application="EHR", receiving_facility="HARBOR", sending_facility="PIER")
    assert message.raw == (
        b"MSH|^~\\&|CHARTLINE|PIER|EHR|HARBOR|20230629233418-0400||SRM^S03^SRM_S01|"
        + control_id_of(KEY).encode()
        + b"|P|2.5.1\r"
        b"ARQ|P100^SCHED|F200^^1.2.3^ISO||||Confirmed|||||||||^Chartline||||^Chartline\r"
        b"RGS|1|U\r"
    )


async def test_a_confirmation_may_be_a_notification() -> None:
    message = await written(write="siu", codes={"confirmed": "CONF"})
    assert message.type == ("SIU", "S14")
    sch = message.segment("SCH")
    assert sch is not None
    assert (sch.value(1), sch.value(2), sch.value(6), sch.value(25)) == ("P100", "F200", "CONF", "CONF")


@pytest.mark.parametrize(
    ("to", "asked_by", "told_by", "code"),
    [
        ("confirmed", "S03", "S14", "Confirmed"),
        (AppointmentStatus.BOOKED, "S03", "S14", "Booked"),
        (AppointmentStatus.ARRIVED, "S03", "S14", "Arrived"),
        (AppointmentStatus.CHECKED_IN, "S03", "S14", "Started"),
        (AppointmentStatus.FULFILLED, "S03", "S14", "Complete"),
        (AppointmentStatus.CANCELLED, "S04", "S15", "Cancelled"),
        (AppointmentStatus.NOSHOW, "S03", "S26", "Noshow"),
        (AppointmentStatus.ENTERED_IN_ERROR, "S06", "S17", "Deleted"),
    ],
)
async def test_a_status_has_its_event_and_its_code(to: str, asked_by: str, told_by: str, code: str) -> None:
    asked, told = await written(to), await written(to, write="siu")
    assert (asked.type, told.type) == (("SRM", asked_by), ("SIU", told_by))
    arq, sch = asked.segment("ARQ"), told.segment("SCH")
    assert arq is not None
    assert sch is not None
    assert (arq.value(6), sch.value(25)) == (code, code)


@pytest.mark.parametrize("to", ["confirmed", *sorted(set(AppointmentStatus) - {AppointmentStatus.PROPOSED})])
async def test_what_our_own_reader_makes_of_a_notification_is_what_was_meant(to: str) -> None:
    message = await written(to, write="siu")
    (fact,) = connector(listen="127.0.0.1:0").read(message.raw, timezone=NEW_YORK, region="US")
    assert isinstance(fact, AppointmentFacts)
    assert fact.ids == IDS
    assert fact.status == (AppointmentStatus.BOOKED if to == "confirmed" else to)
    assert fact.confirmed is (True if to == "confirmed" else None)


@pytest.mark.parametrize("level", [VALIDATION_LEVEL.TOLERANT, VALIDATION_LEVEL.STRICT])
@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8.2"])
@pytest.mark.parametrize("write", ["srm", "siu"])
async def test_hl7apy_finds_no_fault(write: str, version: str, level: int) -> None:
    for to in ("confirmed", AppointmentStatus.CANCELLED):
        message = await written(to, write=write, version=version)
        read = parse_message(message.raw.decode(), validation_level=level)
        if (write, version) in {("siu", "2.3.1"), ("siu", "2.4")}:
            with pytest.raises(Hl7apyError, match="Missing required child"):  # the time, which is not ours
                read.validate()
        else:
            assert read.validate() is True


async def test_where_the_placers_id_is_not_known_ours_stands_in_its_place() -> None:
    message = await written(ids=IDS[1:])
    arq = message.segment("ARQ")
    assert arq is not None
    assert (arq.field(1), arq.field(2)) == ("F200^CHARTLINE", "F200^^1.2.3^ISO")
    message = await written(ids=IDS[:1])
    arq = message.segment("ARQ")
    assert arq is not None
    assert (arq.field(1), arq.field(2)) == ("P100^SCHED", "")


async def test_an_id_that_does_not_say_whose_it_is_counts_as_the_fillers() -> None:
    message = await written(ids=(Identifier(system="", value="77"),), write="siu")
    sch = message.segment("SCH")
    assert sch is not None
    assert (sch.field(1), sch.field(2)) == ("", "77")


@pytest.mark.parametrize(
    ("to", "ids", "reason"),
    [
        (AppointmentStatus.PROPOSED, IDS, "status-not-writable"),
        ("moved", IDS, "status-not-writable"),
        ("confirmed", (), "appointment-id-missing"),
    ],
)
async def test_what_cannot_be_said_is_refused_before_anything_goes_out(
    to: str, ids: tuple[Identifier, ...], reason: str
) -> None:
    made = connector(send="mllp://127.0.0.1:1")
    with pytest.raises(RejectedError, match=reason):
        await made.set_status(context_of(made), ids, to, if_version=None, key=KEY)


async def test_the_same_key_is_the_same_message_whenever_and_wherever_it_is_built() -> None:
    assert (await written()).raw == (await written()).raw


async def test_a_key_of_another_kind_is_sent_at_the_present() -> None:
    async def treat(talk: Talk) -> None:
        message = await talk.next()
        assert message.header.value(7) == NOW.astimezone(ZONE).strftime("%Y%m%d%H%M%S%z")
        await talk.answer(message)

    async with receiving(treat) as receiver:
        made = connector(send=f"mllp://127.0.0.1:{receiver.port}")
        await made.set_status(context_of(made), IDS, "confirmed", if_version="7", key="k")


async def test_enhanced_mode_asks_for_both_and_waits_for_the_second() -> None:
    async def treat(talk: Talk) -> None:
        message = await talk.next()
        assert message.header.field(15) == message.header.field(16) == "AL"
        await talk.answer(message, "CA")
        await talk.answer(message, "AE", "ERR||ARQ^1^2|204|E")

    async with receiving(treat) as receiver:
        made = connector(send=f"mllp://127.0.0.1:{receiver.port}", accept_ack="AL", application_ack="AL")
        with pytest.raises(RejectedError, match="unknown-key-identifier"):
            await made.set_status(context_of(made), IDS, "confirmed", if_version=None, key=KEY)


def test_the_capability_is_there_only_where_the_settings_say_where() -> None:
    assert not isinstance(connector(), SetsStatus | FindsPatients)
    assert isinstance(connector(send="mllp://127.0.0.1:1"), SetsStatus)
    assert not isinstance(connector(send="mllp://127.0.0.1:1"), FindsPatients)
    assert isinstance(connector(query="mllp://127.0.0.1:1"), FindsPatients)


async def test_the_host_holds_it_to_its_scopes() -> None:
    written_ = {"listen": "127.0.0.1:0", "send": "mllp://127.0.0.1:1"}
    made = host.build("hl7v2", written_, lambda _: "", granted=[Scope.APPOINTMENTS])
    assert isinstance(made, SetsStatus)
    with pytest.raises(RejectedError, match="appointment-status-write"):
        await made.set_status(context_of(made), IDS, "confirmed", if_version=None, key=KEY)


@pytest.mark.parametrize(
    "settings",
    [
        {"send": "127.0.0.1:2575"},
        {"send": "http://127.0.0.1:2575"},
        {"send": "mllp://127.0.0.1"},
        {"send": "mllp://127.0.0.1:99999"},
        {"send": "mllp://user:word@127.0.0.1:2575"},
        {"send": "mllp://127.0.0.1:2575/path"},
        {"send": "mllp://[::1:2575"},
        {"send": "mllp://"},
        {"query": "mllps://engine example:1"},
        {"send": "mllp://10.0.0.1:2575"},
        {"query": "mllp://engine.example.org:2575"},
        {"send": "mllps://engine.example.org:1", "client_certificate": "x"},
        {"send": "mllps://engine.example.org:1", "accept_ack": "ER", "application_ack": "NE"},
        {"version": "2.2"},
        {"codes": {"lost": "L"}},
        {"codes": {"confirmed": "A\rMSH|"}},
        {"sending_application": "A\rMSH|"},
        {"phone_field": "PID|13"},
    ],
)
def test_settings_that_would_not_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        connector(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"send": "mllps://engine.example.org:2576"},
        {"send": "mllp://10.0.0.1:2575", "plaintext": True},
        {"send": "MLLP://LOCALHOST:2575"},
        {"query": "mllp://[::1]:2575"},
        {"accept_ack": "AL", "application_ack": "NE"},
    ],
)
def test_settings_that_work_are_taken(settings: dict[str, Any]) -> None:
    assert connector(**settings)


@asynccontextmanager
async def python_hl7(seen: list[str]) -> AsyncIterator[int]:
    """Receive with python-hl7, as its documentation shows it."""
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                seen.append(str(message["MSH.F10"]))
                writer.writemessage(message.create_ack(ack_code="AA" if len(seen) % 5 else "AE"))
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def begin(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        talks.add(asyncio.create_task(talk(reader, writer)))

    server = await hl7.mllp.start_hl7_server(begin, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*talks)


async def test_python_hl7_takes_many_at_once_in_order() -> None:
    seen: list[str] = []
    keys = [str(UUID(int=number)) for number in range(15)]
    async with python_hl7(seen) as port:
        made = connector(send=f"mllp://127.0.0.1:{port}", version="2.4")
        ctx = context_of(made)
        calls = [made.set_status(ctx, IDS, "confirmed", if_version=None, key=key) for key in keys]
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert seen == [control_id_of(key) for key in keys]
    assert [type(one) for one in ended].count(TransientError) == 3  # every fifth was answered AE


async def test_our_own_listener_takes_it_and_stores_it_once() -> None:
    stored: dict[str, bytes] = {}

    async def deliver(raw: bytes, *, key: str) -> None:
        stored[key] = raw

    settings = Hl7v2Settings.model_validate({"listen": "127.0.0.1:0"})
    listener = Listener(settings, deliver, name="adt", clock=Clock())
    await listener.open()
    try:
        for _ in range(2):  # two processes, or one that began again
            made = connector(send=f"mllp://127.0.0.1:{listener.port}", accept_ack="AL", application_ack="NE")
            await made.set_status(context_of(made), IDS, "confirmed", if_version=None, key=KEY)
    finally:
        await listener.close()
    assert list(stored) == [control_id_of(KEY)]


def test_a_source_has_only_what_its_settings_give_it() -> None:
    bare = Hl7v2(Hl7v2Settings(listen="127.0.0.1:0"))
    whole = Hl7v2(
        Hl7v2Settings.model_validate(
            {"listen": "127.0.0.1:0", "send": "mllp://127.0.0.1:1", "query": "mllp://127.0.0.1:2"}
        )
    )
    assert [name for name in Hl7v2.by_settings if hasattr(bare, name)] == []
    assert [name for name in Hl7v2.by_settings if not hasattr(whole, name)] == []
