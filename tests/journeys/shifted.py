"""The public feed of appointments, with its dates moved to the days after March 5, 2035, and what becomes of each."""

import json
import random
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.corpus import corpus_path
from tests.journeys.diary import BEGIN, PRACTICE
from tests.journeys.mllp import frames
from tests.journeys.reckoning import DAY

FIRST, TO = date(2026, 3, 2), date(2035, 3, 9)
"The day of the feed's first visits, and the day that it becomes."

ZONES = {"32830": PRACTICE, "90210": ZoneInfo("America/Los_Angeles"), "46804": ZoneInfo("America/Indiana/Indianapolis")}
"The clocks of those of the five patients who have an address in the United States, by ZIP code."

_TIME = re.compile(rb"(?<=[|^])2026\d{10}(?=[|^\r])")
_OFF = re.compile(rb"\|SIU\^S(15|26)\|")


@dataclass(frozen=True, slots=True)
class Visit:
    """What the truth says of one appointment of the feed, shifted."""

    name: str
    number: str
    zone: ZoneInfo
    starts_at: datetime
    status: str
    off_at: datetime
    "When it is cancelled or taken for a no-show; far ahead where it is not."


@dataclass(frozen=True, slots=True)
class Delivery:
    """Messages that arrive at one moment."""

    at: datetime
    messages: tuple[bytes, ...]


def deliveries() -> list[Delivery]:
    """Return the feed as it arrives: shuffled, and all of it in order again a week later.

    Half of what ends visits comes for the first time in the course of it.
    """
    messages = [_shifted(raw) for raw in frames((corpus_path() / "hl7v2_feed" / "siu_feed.mllp").read_bytes())]
    late = _late(messages)
    again = BEGIN + 7 * DAY
    found = {BEGIN: [raw for raw in messages if raw not in late]}
    random.Random(7).shuffle(found[BEGIN])
    for raw, at in late.items():
        found.setdefault(at, []).append(raw)
    found[again] = [raw for raw in messages if late.get(raw, BEGIN) < again]
    return [Delivery(at, tuple(said)) for at, said in sorted(found.items())]


def visits() -> dict[str, Visit]:
    """Return the appointments by name."""
    messages = [_shifted(raw) for raw in frames((corpus_path() / "hl7v2_feed" / "siu_feed.mllp").read_bytes())]
    late = {_name(raw): at for raw, at in _late(messages).items()}
    truth = json.loads((corpus_path() / "hl7v2_feed" / "siu_feed_truth.json").read_text())
    return {visit.name: visit for visit in (_visit(one, late) for one in truth)}


def _visit(one: dict[str, dict[str, str]], late: dict[str, datetime]) -> Visit:
    name, patient = one["appointment"]["appointmentId"], one["patient"]
    wall = datetime.fromisoformat(one["appointment"]["startDateTime"].removesuffix("Z"))  # it has no zone: see README
    starts_at = (wall + (TO - FIRST)).replace(tzinfo=PRACTICE).astimezone(UTC)
    status = str(one["expected_status"])
    off_at = starts_at + 365 * DAY if status == "booked" else late.get(name, BEGIN)
    zone = ZONES.get(patient["address"]["zip"], PRACTICE)  # type: ignore[index]
    return Visit(name, "+1" + re.sub(r"\D", "", patient["phone"]), zone, starts_at, status, off_at)


def _late(messages: list[bytes]) -> dict[bytes, datetime]:
    """Return which messages come in the course of it, and when: at noon one or two days before the visit."""
    off = [raw for raw in messages if _OFF.search(raw)][::2]
    found = {}
    for number, raw in enumerate(off):
        match = re.search(rb"\d+\^\^\^(\d{14})\^", raw)
        assert match is not None
        day = _wall(match[1]).date() - timedelta(days=1 + number % 2)
        found[raw] = datetime(day.year, day.month, day.day, 12, tzinfo=PRACTICE).astimezone(UTC)
    return found


def _name(raw: bytes) -> str:
    return raw.split(b"\rSCH|")[1].split(b"^")[0].decode()


def _shifted(raw: bytes) -> bytes:
    def moved(found: re.Match[bytes]) -> bytes:
        at = _wall(found[0])
        if at.month > FIRST.month:  # MSH-7: all were written in one second, long after the visits
            return f"{BEGIN.astimezone(PRACTICE):%Y%m%d%H%M%S}".encode()
        return f"{at + (TO - FIRST):%Y%m%d%H%M%S}".encode()

    return _TIME.sub(moved, raw)


def _wall(written: bytes) -> datetime:
    return datetime.strptime(written.decode(), "%Y%m%d%H%M%S").replace(tzinfo=PRACTICE)
