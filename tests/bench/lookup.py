"""Whose number it is, asked of a record of a million patients, as a call asks it: off the loop, by blind index.

One in eight shares a number with the one before (families do), every number is written in one of four ways, and some
numbers are nobody's. The floor is the same key asked of a plain SQLite table in the same process, in the same minute.
"""

import asyncio
import random
import secrets
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import phonenumbers

from hub.db import Database, uuid7
from hub.record import patient, plain, schema
from hub.record.patient import Patient, PatientPhone
from hub.rules.matching import Match
from hub.security.index import BlindIndex
from tests.bench.figure import Figure

PATIENTS = 1_000_000
SHARED = 8
"One in so many gave the number of the one before."

ASKED = 4000
AT_ONCE = 5000
LIMIT_MS = 1.0
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


def number_of(place: int) -> str:
    """Return the number of the patient at a place: a possible one, E.164."""
    return f"+1{2_120_000_000 + place - (place % SHARED == SHARED - 1)}"


def written(number: str, way: int) -> str:
    """Return a number as people write it: E.164, ten digits, with dashes, with parentheses."""
    digits = number[2:]
    area, exchange, line = digits[:3], digits[3:6], digits[6:]
    return (number, digits, f"{area}-{exchange}-{line}", f"({area}) {exchange}-{line}")[way]


def e164(text: str) -> str:
    """Return a number as media reads it (media.line)."""
    parsed = phonenumbers.parse(text, "US")
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def people(index: BlindIndex) -> Iterator[tuple[Patient, PatientPhone]]:
    for place in range(PATIENTS):
        row = Patient(id=uuid7(), created_at=NOW, updated_at=NOW, version_at=NOW, told={}, sealed=bytes(200))
        yield row, PatientPhone(key=index.phone(number_of(place)), patient_id=row.id, use="mobile")


def filled(database: Database, floor: sqlite3.Connection, index: BlindIndex) -> list[UUID]:
    """Write the patients; return their ids by place."""
    floor.execute("CREATE TABLE phone (key BLOB, patient BLOB, PRIMARY KEY (key, patient)) WITHOUT ROWID")
    found, ids = people(index), []
    while part := list(islice(found, AT_ONCE)):
        ids += [row.id for row, _ in part]
        floor.executemany("INSERT INTO phone VALUES (?, ?)", [(phone.key, row.id.bytes) for row, phone in part])
        with database.write() as db:
            plain.add(db, [row for row, _ in part])
            plain.add(db, [phone for _, phone in part])
    floor.commit()
    return ids


async def asked(database: Database, index: BlindIndex, numbers: Sequence[str]) -> tuple[list[float], list[Match]]:
    """Return how long each look-up took (ms), from the text to the match, and what it found."""
    took, found = [], []
    for text in numbers:
        began = time.perf_counter()
        found.append(patient.match_of(await database.rows(patient.HITS, index.phone(e164(text)))))
        took.append((time.perf_counter() - began) * 1000)
    return took, found


def floors(connection: sqlite3.Connection, index: BlindIndex, numbers: Sequence[str]) -> list[float]:
    took = []
    for text in numbers:
        key = index.phone(e164(text))
        began = time.perf_counter()
        connection.execute("SELECT patient FROM phone WHERE key = ?", (key,)).fetchall()
        took.append((time.perf_counter() - began) * 1000)
    return took


def right(place: int, ids: Sequence[UUID], match: Match) -> bool:
    """Whether a match is everyone who gave the number of that place, and nobody else."""
    if place >= PATIENTS:
        return match.kind == "none"
    first = place - (place % SHARED == SHARED - 1)
    owners = [first, first + 1] if (first + 1) % SHARED == SHARED - 1 and first + 1 < PATIENTS else [first]
    kind = "one" if len(owners) == 1 else "many"
    return match.kind == kind and set(match.patients) == {ids[owner] for owner in owners}


def p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def figures() -> list[Figure]:
    """Measure."""
    dice = random.Random(7)
    index = BlindIndex(secrets.token_bytes(32))
    places = [dice.randrange(PATIENTS + PATIENTS // 50) for _ in range(ASKED)]
    numbers = [written(number_of(place), dice.randrange(4)) for place in places]
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / "chartline.db", secrets.token_bytes(32))
        floor: Any = sqlite3.connect(Path(directory) / "floor.db")
        try:
            schema.create(database)
            ids = filled(database, floor, index)
            asyncio.run(asked(database, index, numbers[:200]))  # the first reads of a file are the disk's
            took, found = asyncio.run(asked(database, index, numbers))
            bare = floors(floor, index, numbers)
        finally:
            database.close()
            floor.close()
    wrong = sum(not right(place, ids, match) for place, match in zip(places, found, strict=True))
    return [
        Figure("lookup.p99", p99(took), "ms", p99(bare), {}, f"at most {LIMIT_MS:g} ms", p99(took) <= LIMIT_MS),
        Figure("lookup.p50", statistics.median(took), "ms", statistics.median(bare)),
        Figure.at_most("lookup.wrong", wrong, f"of {ASKED} look-ups", 0),
    ]
