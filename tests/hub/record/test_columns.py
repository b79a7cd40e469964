"""The page that says which columns are sealed, indexed and plain; and nothing readable where nothing should be."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary, MetaData
from sqlmodel import SQLModel, select, text

from hub.record import consent, pop, queue, schema, task
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.inbox import InboxBase
from hub.record.message import Message
from hub.record.patient import Patient
from hub.record.schema import File
from hub.security.sealed import Table
from tests.hub.record.conftest import Record
from tests.hub.record.floor import add_agent, add_call, practice
from tests.hub.record.say import (
    ANA,
    HOME,
    MOBILE,
    START,
    mrn,
    person,
    refill,
    tell,
    tell_patient,
    tell_visit,
    union,
    visit,
)
from tests.hub.record.test_message import LINE, receive, reply, send

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "columns.md"
KINDS = {"sealed", "index", "hash", "key", "plain"}


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield table, column and kind of each column that the page names."""
    table = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("### "):
            table = line[4:]
        elif table and (found := re.fullmatch(r"\| ((?:`\w+` ?)+) \| (\w+) \| (.+) \|", line)):
            for column in re.findall(r"`(\w+)`", found[1]):
                yield table, column, found[2]


def metadata() -> list[MetaData]:
    return [schema.metadata_of(file) for file in File]


def test_every_column_of_both_files_is_on_the_page_once() -> None:
    named = [(table, column) for table, column, _ in rows()]
    assert len(named) == len(set(named))
    assert set(named) == {
        (table.name, column.name) for tables in metadata() for table in tables.sorted_tables for column in table.columns
    }


def test_each_kind_is_what_the_column_is() -> None:
    columns = {
        (table.name, column.name): column
        for tables in metadata()
        for table in tables.sorted_tables
        for column in table.columns
    }
    for table, name, kind in rows():
        assert kind in KINDS
        column = columns[table, name]
        assert (kind == "sealed") == (name == "sealed"), (table, name)
        if kind in {"sealed", "index"}:
            assert isinstance(column.type, LargeBinary), (table, name)
        if kind == "index" and name != "digest":
            assert column.index or column.primary_key, (table, name)


@pytest.mark.parametrize("declared", [SQLModel.metadata, InboxBase.metadata])
def test_nothing_else_is_called_sealed_or_holds_one_twice(declared: MetaData) -> None:
    for table in declared.sorted_tables:
        assert [column.name for column in table.columns].count("sealed") <= 1


WHO = {**ANA, "family": "Riverabanks", "given": "Anabellina", "postal_code": "10001-9876"}
WHAT: dict[str, Any] = {
    "practitioner": "Dr. Oseitutu",
    "location": "Room Two",
    "type": "Follow-up",
    "reason": "Left knee",
}
CANARIES = [WHO["family"], WHO["given"], WHO["postal_code"], "1980-02-03", MOBILE[1:], HOME[1:], "2125550199"]
CANARIES += [*WHAT.values(), "4711-canary", "call me about", "RIVERA A", "female"]


SEALED_IN: dict[Table, Any] = {
    Table.PATIENT: Patient,
    Table.APPOINTMENT: Appointment,
    Table.CALL: Call,
    Table.MESSAGE: Message,
    Table.TASK: task.Task,
}


def test_no_column_but_the_sealed_shows_what_a_record_says_and_every_sealed_row_is_on_the_trail(record: Record) -> None:
    with record.database.write() as db:
        owner = tell_patient(db, record, person(number="4711-canary", **WHO))
        tell_patient(db, record, person(number="2", given=WHO["given"], family=WHO["family"]))
        booked = tell_visit(
            db, record, visit(number="4711-canary", patient=person(ids=(mrn("4711-canary"),)), **WHAT)
        ).row
        tell(db, record, refill(number="4711-canary"))
        send(db, record, owner.id, visit_id=booked.id)
        receive(db, record, reply(record, body="call me about Friday"))
        receive(db, record, reply(record, sender="+12125550199", external_id="in-2", body="call me about Left knee"))
        consent.stop(db, record.index.phone(HOME), "reminder", START)
        add_agent(db, record)
        row = add_call(db, record, number=MOBILE)
        queue.enter(db, row.id, "appointments", 0, record.now, "media-a")
        (offer,) = queue.pair(db, practice(), record.now)
        pop.open(db, offer, key=record.pop_key, now=record.now)
        pop.tried(db, offer.id, owner.id, by="one", now=record.now)
        asked = task.ask(db, "callback", key=f"callback:{row.id}", now=record.now, call_id=row.id)
        task.note(db, asked.id, "Anabellina: call me about Friday", subject=owner.id, by="one", seal=record.seal)
        tell(db, record, union("4711-canary", "2"))
    with record.database.read() as db:
        cells = [
            (table.name, column.name, str(value))
            for table in SQLModel.metadata.sorted_tables
            for column in table.columns
            for (value,) in db.connection().execute(text(f'SELECT "{column.name}" FROM "{table.name}"'))
            if value is not None
        ]
        sealed_rows = {
            (kind, object_id)
            for kind, model in SEALED_IN.items()
            for (object_id,) in db.execute(select(model.id).where(model.sealed.is_not(None)))
        }
        noted = {item for each in record.noted(db) for items in each.objects.values() for item in items}
    assert sealed_rows <= noted
    assert {kind for kind, _ in sealed_rows} == set(SEALED_IN)
    filled = {table for table, _, _ in cells}
    assert {"patient", "appointment", "message", "call", "task", "intent", "pop", "opt_out", "chart_request"} <= filled
    assert ("staff", "email", "agent101@example.org") in cells
    shown = [(table, name) for table, name, value in cells for canary in CANARIES if canary in value]
    assert shown == []
    assert not any(LINE[1:] in value for table, _, value in cells if table == "message")


def test_no_file_of_the_record_shows_it_either(record: Record) -> None:
    with record.database.write() as db:
        tell_patient(db, record, person(**WHO))
    for path in record.database.path.parent.iterdir():
        content = path.read_bytes()
        assert b"Riverabanks" not in content
        assert b"SQLite format 3" not in content[:16]
