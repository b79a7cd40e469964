"""What runs in the feeds process: facts as rows, the one writer, waking, asking, connections that follow the policy."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import date
from typing import ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Callback,
    Change,
    Checkpoint,
    Connector,
    Context,
    Identifier,
    MergeFacts,
    PatientFacts,
    Phone,
    ReceiptFacts,
    RejectedError,
    ReplyFacts,
    RequestFacts,
    ResetError,
    Scope,
    Settings,
    TransientError,
    Version,
)
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.settings import Hl7v2Settings
from hub.errors import UnavailableError
from hub.feeds import NotAFactError, NotStoredError, Writer, arrival_of, read_row
from hub.feeds.poll import Poller
from hub.feeds.running import Connections
from hub.feeds.waker import Waker
from hub.record import inbox
from hub.record.inbox import Arrival, Form, InboxMessage, State
from tests.connectors.hl7v2.sample import siu
from tests.connectors.stage import listening
from tests.hub.feedhouse import NOON, Postbox, postbox

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
FACTS: list[Change] = [
    PATIENT,
    AppointmentFacts(ids=(MRN,), version=VERSION, status=AppointmentStatus.BOOKED, starts_at=NOON, patient=PATIENT),
    MergeFacts(survivor=PATIENT, merged=(MRN,), version=VERSION),
    RequestFacts(ids=(MRN,), version=VERSION, patient_ids=(MRN,), kind="refill", status="open"),
    ReplyFacts(external_id="SM1", at=NOON, sender="+12075550142", to="+12075550100", body="C"),
    ReceiptFacts(external_id="SM1", at=NOON, status="delivered"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postbox]:
    with postbox(tmp_path_factory.mktemp("feeds")) as opened:
        yield opened


@pytest.fixture
def box(shared: Postbox) -> Postbox:
    shared.empty()
    return shared


# Facts as rows.


def row_of(arrival: Arrival) -> InboxMessage:
    return InboxMessage(
        id=UUID(int=1),
        connection=arrival.connection,
        control_id=arrival.control_id,
        digest=b"",
        form=arrival.form,
        received_at=NOON,
        state=State.STORED,
        sealed=b"",
    )


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_comes_back_from_its_row(box: Postbox, fact: Change) -> None:
    arrival = arrival_of("ehr", fact, box.instance.index)
    connector = Hl7v2(Hl7v2Settings(listen="127.0.0.1:0"))
    assert arrival.form is Form.FACT
    assert read_row(connector, row_of(arrival), arrival.raw, timezone=ZONE, region="US") == [fact]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_the_same_statement_makes_the_same_row(box: Postbox, fact: Change) -> None:
    again = type(fact).model_validate_json(fact.model_dump_json())
    assert arrival_of("ehr", again, box.instance.index) == arrival_of("ehr", fact, box.instance.index)


def test_a_new_version_makes_another_row_and_no_id_stands_in_clear(box: Postbox) -> None:
    index = box.instance.index
    newer = PATIENT.model_copy(update={"version": Version(at=NOON, tag="8")})
    first, second = arrival_of("ehr", PATIENT, index), arrival_of("ehr", newer, index)
    assert first.control_id != second.control_id
    assert len(first.control_id) == 32
    assert "77" not in first.control_id or b"77" in first.raw


def test_a_message_is_read_by_its_connector() -> None:
    row = row_of(Arrival("adt", "M0001", siu()))
    (said,) = read_row(Hl7v2(Hl7v2Settings(listen="127.0.0.1:0")), row, siu(), timezone=ZONE, region="US")
    assert isinstance(said, AppointmentFacts)
    with pytest.raises(RejectedError):
        read_row(Hl7v2(Hl7v2Settings(listen="127.0.0.1:0")), row, b"junk", timezone=ZONE, region="US")
    with pytest.raises(RejectedError, match="connector-cannot-read"):
        read_row(Told([]), row, siu(), timezone=ZONE, region="US")


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"kind":"dream","fact":{}}', b'{"kind":"patient","fact":{"x":1}}']
)
def test_a_row_that_holds_no_fact_says_so(raw: bytes) -> None:
    row = row_of(Arrival("ehr", "1", raw, Form.FACT))
    with pytest.raises(NotAFactError):
        read_row(Hl7v2(Hl7v2Settings(listen="127.0.0.1:0")), row, raw, timezone=ZONE, region="US")


# The writer.


@asynccontextmanager
async def writing(box: Postbox, stored: Callable[[set[str]], None] = lambda _: None) -> AsyncIterator[Writer]:
    instance = box.instance
    writer = Writer(instance.inbox, seal=instance.sealer, index=instance.index, clock=instance.clock, stored=stored)
    try:
        yield writer
    finally:
        await writer.close()


def arrival(number: int, connection: str = "adt") -> Arrival:
    return Arrival(connection, f"M{number}", b"MSH|%d" % number)


async def test_what_was_stored_is_in_the_file(box: Postbox) -> None:
    told: list[set[str]] = []
    async with writing(box, told.append) as writer:
        await writer.store(arrival(1))
        assert [row.control_id for row in box.rows()] == ["M1"]
        await writer.store(arrival(1))
    assert told == [{"adt"}]


async def test_many_that_wait_share_a_commit_and_keep_their_order(box: Postbox) -> None:
    told: list[set[str]] = []
    async with writing(box, told.append) as writer:
        await asyncio.gather(*(writer.store(arrival(number, ("adt", "lab")[number % 2])) for number in range(300)))
    assert [row.control_id for row in box.rows()] == [f"M{number}" for number in range(300)]
    assert 1 <= len(told) < 20
    assert set().union(*told) == {"adt", "lab"}


async def test_when_the_file_fails_nobody_is_told_that_it_is_stored(box: Postbox) -> None:
    async with writing(box) as writer:
        box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE inbox_message RENAME TO gone"))
        try:
            said = await asyncio.gather(*(writer.store(arrival(number)) for number in range(3)), return_exceptions=True)
        finally:
            box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE gone RENAME TO inbox_message"))
        assert [type(error) for error in said] == [NotStoredError] * 3
        assert NotStoredError.retry
        await writer.store(arrival(1))
    assert [row.control_id for row in box.rows()] == ["M1"]


async def test_one_that_cannot_be_stored_holds_up_no_other(box: Postbox) -> None:
    impossible = Arrival("adt", "M9", "no bytes")  # type: ignore[arg-type]
    async with writing(box) as writer:
        said = await asyncio.gather(
            *(writer.store(one) for one in (arrival(1), impossible, arrival(2))), return_exceptions=True
        )
    assert [type(error) for error in said] == [type(None), NotStoredError, type(None)]
    assert [row.control_id for row in box.rows()] == ["M1", "M2"]


async def test_a_caller_that_goes_away_is_no_trouble(box: Postbox) -> None:
    async with writing(box) as writer:
        leaving = asyncio.ensure_future(writer.store(arrival(1)))
        await asyncio.sleep(0)
        leaving.cancel()
        await writer.store(arrival(2))
    assert [row.control_id for row in box.rows()] == ["M1", "M2"]


async def test_closing_commits_what_waits_and_takes_no_more(box: Postbox) -> None:
    async with writing(box) as writer:
        waiting = [asyncio.ensure_future(writer.store(arrival(number))) for number in range(50)]
        await asyncio.sleep(0)
        await writer.close()
        await asyncio.gather(*waiting)
        with pytest.raises(NotStoredError):
            await writer.store(arrival(99))
    assert len(box.rows()) == 50


# The waker.


async def test_a_flow_is_woken_once_for_many_rows() -> None:
    woken: list[str] = []
    both = asyncio.Event()

    async def wake(connection: str) -> None:
        woken.append(connection)
        if len(woken) == 2:
            both.set()

    waker = Waker(wake, quiet_s=0.01)
    task = asyncio.ensure_future(waker.run())
    for _ in range(100):
        waker.note({"lab", "adt"})
    async with asyncio.timeout(5):
        await both.wait()
    task.cancel()
    assert woken == ["adt", "lab"]


async def test_a_wake_that_fails_is_tried_again_with_what_came_meanwhile() -> None:
    tried: list[str] = []
    done = asyncio.Event()

    async def wake(connection: str) -> None:
        tried.append(connection)
        if len(tried) < 3:
            waker.note({"lab"})
            raise UnavailableError("down")
        if connection == "lab":
            done.set()

    waker = Waker(wake, quiet_s=0, again_s=0.001)
    task = asyncio.ensure_future(waker.run())
    waker.note({"adt"})
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    assert tried[:2] == ["adt", "adt"]
    assert set(tried[2:]) == {"adt", "lab"}


# Polling.


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


Asked = tuple[Poller, Context, Told, list[set[str]]]
"What is asked, and the connections that were said to have new rows."


def patient(number: int) -> PatientFacts:
    return PatientFacts(ids=(Identifier(system="H", value=str(number)),), version=VERSION)


@asynccontextmanager
async def asking(box: Postbox, *rounds: Round) -> AsyncIterator[Asked]:
    told, stored = Told(list(rounds)), list[set[str]]()
    instance = box.instance
    poller = Poller(
        "ehr",
        told,
        instance.inbox,
        seal=instance.sealer,
        index=instance.index,
        clock=instance.clock,
        stored=stored.append,
        every_s=0,
    )
    async with httpx.AsyncClient() as http:
        yield poller, Context("ehr", http, instance.clock, ZONE, "US"), told, stored


def checkpoint(text: str) -> Checkpoint:
    return Checkpoint(cursor=text.encode())


async def test_what_was_told_and_the_cursor_are_committed_together(box: Postbox) -> None:
    rounds: list[Round] = [
        [patient(1), patient(2), checkpoint("a"), patient(3), TransientError("gone")],
        [patient(3), checkpoint("b")],
        [checkpoint("c")],
    ]
    async with asking(box, *rounds) as (poller, ctx, told, stored):
        with pytest.raises(TransientError):
            await poller.round(ctx)
        assert (len(box.rows()), box.read(inbox.cursor_of, "ehr"), stored) == (2, b"a", [{"ehr"}])
        await poller.round(ctx)
        assert (len(box.rows()), box.read(inbox.cursor_of, "ehr")) == (3, b"b")
        await poller.round(ctx)
        assert (len(stored), told.cursors) == (2, [None, b"a", b"b"])
    connector = Hl7v2(Hl7v2Settings(listen="127.0.0.1:0"))
    said = [
        read_row(connector, row, raw, timezone=ZONE, region="US")[0]
        for row, raw in zip(box.rows(), box.raws(), strict=True)
    ]
    assert said == [patient(1), patient(2), patient(3)]


async def test_when_the_commit_fails_the_cursor_stays(box: Postbox) -> None:
    async with asking(box, [patient(1), checkpoint("a")]) as (poller, ctx, _, stored):
        box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE feed_cursor RENAME TO gone"))
        try:
            with pytest.raises(Exception, match="feed_cursor"):
                await poller.round(ctx)
        finally:
            box.write(lambda db: db.connection().exec_driver_sql("ALTER TABLE gone RENAME TO feed_cursor"))
        assert (box.rows(), stored) == ([], [])


async def test_without_a_checkpoint_facts_are_kept_all_the_same(box: Postbox) -> None:
    async with asking(box, [patient(number) for number in range(1200)]) as (poller, ctx, _, stored):
        await poller.round(ctx)
    assert (len(box.rows()), len(stored), box.read(inbox.cursor_of, "ehr")) == (1200, 3, None)


async def test_a_cursor_that_is_no_longer_valid_begins_anew(box: Postbox) -> None:
    box.write(inbox.keep_cursor, "ehr", b"old", NOON)
    async with asking(box, [ResetError("old")], [patient(1), checkpoint("new")], [TransientError("x")]) as asked:
        poller, ctx, told, _ = asked
        with pytest.raises(TransientError):
            await poller.run(lambda: nullcontext(ctx))
    assert told.cursors == [b"old", None, b"new"]
    assert box.read(inbox.cursor_of, "ehr") == b"new"


class CallingBack(Told):
    """One that can say by itself that something changed."""

    def __init__(self, rounds: list[Round]) -> None:
        super().__init__(rounds)
        self.asked = asyncio.Event()

    def verify(self, callback: Callback) -> str:
        return callback.path

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        self.asked.set()
        async for said in super().changes(ctx, cursor):
            yield said


async def test_a_hint_ends_the_wait_and_one_that_came_during_a_round_is_not_lost(box: Postbox) -> None:
    rounds: list[Round] = [[checkpoint(name)] for name in "abc"]
    told, instance = CallingBack(rounds), box.instance
    poller = Poller(
        "ehr",
        told,
        instance.inbox,
        seal=instance.sealer,
        index=instance.index,
        clock=instance.clock,
        stored=lambda _: None,
        every_s=60,
        look_s=0.01,
    )
    async with httpx.AsyncClient() as http, asyncio.timeout(10):
        asking = asyncio.create_task(poller.run(lambda: nullcontext(Context("ehr", http, instance.clock, ZONE, "US"))))
        for number in (1, 2, 3):
            await told.asked.wait()
            told.asked.clear()
            assert len(told.cursors) == number
            box.write(inbox.hint, "ehr", NOON)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


# Connections that follow the policy.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connection(name: str, port: int, **more: str) -> str:
    settings = ", ".join([f'listen = "127.0.0.1:{port}"', *(f'{key} = "{value}"' for key, value in more.items())])
    return f'\n[[connection]]\nname = "{name}"\nconnector = "hl7v2"\nsettings = {{ {settings} }}\n'


async def sent(port: int, raw: bytes) -> bytes:
    """Send one message as soon as somebody listens, and return the answer."""
    async with asyncio.timeout(10):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        writer.write(b"\x0b" + raw + b"\x1c\r")
        answer = await reader.readuntil(b"\x1c\r")
        writer.close()
        await writer.wait_closed()
        return answer


async def unused(port: int) -> None:
    """Return once nobody listens; asks by binding, for asyncio 3.11 leaks a connection that meets a closing server."""
    async with asyncio.timeout(10):
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    return


@asynccontextmanager
async def running(box: Postbox) -> AsyncIterator[asyncio.Event]:
    """Follow the policy; the event is set when a connection that was asked told something new."""
    started, told = asyncio.Event(), asyncio.Event()
    async with writing(box) as writer:
        connections = Connections(box.instance, writer, lambda _: told.set())
        task = asyncio.ensure_future(connections.run(started.set))
        try:
            async with asyncio.timeout(10):
                await started.wait()
            yield told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_connections_come_change_and_go_with_the_policy(box: Postbox) -> None:
    first, second, third = free_port(), free_port(), free_port()
    box.publish(connection("adt", first))
    async with running(box):
        assert b"MSA|AA|M0001" in await sent(first, siu())
        box.publish(connection("adt", first) + connection("lab", second))
        assert b"MSA|AA" in await sent(second, siu())
        box.publish(connection("adt", third) + connection("lab", second))
        assert b"MSA|AA" in await sent(third, siu("S14"))
        await unused(first)
        box.publish(connection("lab", second))
        await unused(third)
        assert b"MSA|AA" in await sent(second, siu("S15"))
    await unused(second)
    assert [(row.connection, row.control_id) for row in box.rows()] == [
        ("adt", "M0001"),
        ("lab", "M0001"),
        ("adt", "M0001"),
        ("lab", "M0001"),
    ]


async def test_a_connection_that_cannot_start_holds_up_no_other(box: Postbox) -> None:
    good = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        box.publish(connection("adt", busy) + connection("lab", good) + connection("odd", 0, charset="EBCDIC"))
        async with running(box):
            assert b"MSA|AA" in await sent(good, siu())
            taken.close()
            assert b"MSA|AA" in await sent(busy, siu())
    assert {row.connection for row in box.rows()} == {"adt", "lab"}


async def test_while_the_policy_cannot_be_read_what_runs_goes_on(box: Postbox) -> None:
    first, second = free_port(), free_port()
    box.publish(connection("adt", first))
    async with running(box):
        assert b"MSA|AA" in await sent(first, siu())
        with box.instance.db.write() as db:
            db.connection().exec_driver_sql("ALTER TABLE policy RENAME TO gone")
        try:
            assert b"MSA|AA" in await sent(first, siu("S14"))
        finally:
            with box.instance.db.write() as db:
                db.connection().exec_driver_sql("ALTER TABLE gone RENAME TO policy")
        box.publish(connection("adt", first) + connection("lab", second))
        assert b"MSA|AA" in await sent(second, siu())


@asynccontextmanager
async def fhir_server() -> AsyncIterator[int]:
    """A FHIR server on loopback with one patient: it answers every search, and echoes the parameters as it must."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
                resource = {
                    "resourceType": "Patient",
                    "id": "p1",
                    "identifier": [{"system": "urn:oid:1.2.3", "value": "77"}],
                    "meta": {"versionId": "1", "lastUpdated": "2026-03-02T12:00:00Z"},
                }
                bundle = {
                    "resourceType": "Bundle",
                    "type": "searchset",
                    "meta": {"lastUpdated": "2026-03-02T16:59:00Z"},
                    "link": [{"relation": "self", "url": f"http://127.0.0.1{target}"}],
                    "entry": [{"resource": resource}] if "/Patient?" in target else [],
                }
                body = orjson.dumps(bundle)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()

    async with listening(answer) as port:
        yield port


async def test_a_connection_that_can_be_asked_is_asked(box: Postbox) -> None:
    async with fhir_server() as port:
        settings = f'{{ base_url = "http://127.0.0.1:{port}/fhir" }}'
        box.publish(f'\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = {settings}\n')
        async with running(box) as told:
            async with asyncio.timeout(10):
                await told.wait()
            assert box.read(inbox.cursor_of, "ehr") is not None
    (row,) = box.rows()
    assert (row.connection, row.form, row.state) == ("ehr", Form.FACT, State.STORED)
    (said,) = read_row(Told([]), row, box.raws()[0], timezone=ZONE, region="US")
    assert isinstance(said, PatientFacts)
    assert Identifier(system="urn:oid:1.2.3", value="77") in said.ids
